// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the strings are source text.
// The mutations of `npm run test:mutants`: each breaks one rule in one place, and names the tests that must fail then.

export interface Mutation {
  readonly file: string;
  /** The rule that the mutation breaks. */
  readonly rule: string;
  /** The text to replace; it occurs exactly once in the file. */
  readonly find: string;
  readonly replace: string;
  /** Test files, relative to the root. */
  readonly tests: readonly string[];
  /** A pattern of test names: it runs a part of a large file, or leaves out tests that hang with the mutation. */
  readonly only?: string;
}

/** Returns the text with the mutation. Fails when it does not apply: the code was changed and the mutation was not. */
export function mutated(text: string, { file, rule, find, replace }: Mutation): string {
  const places = text.split(find).length - 1;
  if (places !== 1) throw new Error(`${file}: ${rule}: its text occurs ${places} times, expected once: ${find}`);
  return text.replace(find, () => replace);
}

type Change = readonly [rule: string, find: string, replace: string];

function mutate(file: string, tests: Pick<Mutation, "tests" | "only">, changes: readonly Change[]) {
  return changes.map(([rule, find, replace]): Mutation => ({ file, rule, find, replace, ...tests }));
}

/** One test of the space that a store takes. */
function space(only: string): Pick<Mutation, "tests" | "only"> {
  return { tests: ["test/system/faults/space.test.ts"], only };
}

/** The tests of one subject of the conformance suite, in memory. */
function subject(name: string): Pick<Mutation, "tests" | "only"> {
  return { tests: ["test/conformance/memory.test.ts"], only: `memory: ${name}` };
}

/** The check of a store in a SQLite file, whose rows are broken by hand. */
const checkOfFile = { tests: ["test/engines/fsck.test.ts"], only: "on sqlite" };

const checkouts = { tests: ["test/system/runner/git/checkout.test.ts"] };
const mirrors = { tests: ["test/system/runner/git/repository.test.ts"] };
const patches = { tests: ["test/system/runner/git/patch.test.ts"] };
const runnerArtifacts = { tests: ["test/system/runner/artifacts.test.ts"] };
const collector = { tests: ["test/system/collector/collectFiles.test.ts"], only: "exists here|outside of" };
const client = { tests: ["test/unit/client.test.ts"] };
const dispatcher = { tests: ["test/unit/sql.test.ts"] };
const mailbox = { tests: ["test/unit/actor/mailbox.test.ts"] };
const longReads = { tests: ["test/unit/actor/longReads.test.ts"] };
const metrics = { tests: ["test/unit/http/metrics.test.ts"] };
const joining = { tests: ["test/unit/joining.test.ts"] };
const json = { tests: ["test/unit/model/json.test.ts", "test/unit/model/jsonText.test.ts"] };
const sqliteDriver = { tests: ["test/engines/sqlite/transaction.test.ts"] };
const heldRows = { tests: ["test/engines/postgres/heldRows.test.ts"] };
const postgresDriver = { tests: ["test/engines/postgres/transaction.test.ts"] };
const migrator = { tests: ["test/engines/migrate/migrator.test.ts"] };
const othersTables = { tests: ["test/engines/migrate/othersTables.test.ts"], only: "sqlite" };
const backup = { tests: ["test/engines/sqlite/backup.test.ts"] };
/** Many of these tests kill processes over and over, so each mutation names the one that fails without any of that. */
const restore = { tests: ["test/system/backup/restore.test.ts"] };

const telemetry = { tests: ["test/system/tracing/opentelemetry.test.ts"], only: "sqlite|trace" };
const channels = { tests: ["test/system/tracing/channels.test.ts"], only: "sqlite|database thread|port|goes away" };

const kyselyTables = { tests: ["test/engines/migrate/kysely.test.ts"] };
const kyselySessions = { tests: ["test/unit/kysely/sessions.test.ts"] };
/** One test of reading with Kysely, on one engine. */
function kysely(engine: string, only: string): Pick<Mutation, "tests" | "only"> {
  return { tests: ["test/system/kysely/openKysely.test.ts"], only: `Kysely on ${engine} (?:${only})` };
}
const besideWrites = { tests: ["test/system/kysely/besideWrites.test.ts"] };

export const mutations: readonly Mutation[] = [
  // SQL of users
  ...mutate("docs/kysely.ts", kyselyTables, [
    ["a column that may be null says so", "isNullable: column.notnull === 0 && column.pk === 0", "isNullable: false"],
    ["a CHECK that lists texts becomes a union", 'exec(definition)?.[1] ?? ""', 'exec("")?.[1] ?? ""'],
  ]),
  ...mutate("src/kysely/sessions.ts", kyselySessions, [
    ["no more connections than the most", "this.#all.size < this.#options.max", "true"],
    ["a connection that has ended is not used again", "if (!session.isEnded) return session;", "return session;"],
    ["closing fails those who wait", "for (const turn of this.#waiting.splice(0)) turn.resolve(undefined);", ""],
    [
      "a connection that has ended leaves its place, also while it is held",
      "this.#create(() => this.#forget(session))",
      "this.#create(() => undefined)",
    ],
  ]),
  ...mutate("src/sqlite/reads.ts", kysely("sqlite", "refuses|cannot be talked"), [
    ["only statements that read are prepared", "if (!readingStatement.test(sql)) throw onlyReads();", ""],
  ]),
  ...mutate("src/postgres/reads.ts", kysely("postgres", "cannot be talked"), [
    ["a COMMIT of the user is noticed", 'if (this.#client?.getTransactionStatus() !== "T") throw onlyReads();', ""],
    [
      "what a statement sets is undone",
      'if (!this.isLost) await this.#send("ROLLBACK");',
      'if (!this.isLost) await this.#send("COMMIT");',
    ],
  ]),
  ...mutate("src/postgres/reads.ts", kysely("postgres", "takes times"), [
    ["a number is sent as a time where one is expected", "if (type === timestamptz) return timeOf(Number(value));", ""],
    ["a number is sent as milliseconds where an interval is expected", "type === interval ?", "type === 0 ?"],
  ]),
  ...mutate("src/kysely/readProcess.ts", { ...besideWrites, only: "was killed" }, [
    ["a process that reads ends by itself in time", "if (!watchdog.isArmed) watchdog.arm(timeoutMs);", ""],
  ]),
  ...mutate("src/kysely/sqliteSession.ts", { ...besideWrites, only: "a stream keeps" }, [
    ["a stream that is left lets the WAL go", 'await this.#ask({ type: "stop" });', "void 0;"],
  ]),
  // Tracing
  ...mutate("src/tracing.ts", channels, [
    ["a group is told before its calls, with what it did", "trace.group = group;", ""],
    ["the thread that opened the store hears of calls", "for (const call of calls) {", "for (const call of []) {"],
    ["COMMIT is told", "this.#open.committedAtMs = traceNow();", ""],
  ]),
  ...mutate("src/actor/mailbox.ts", channels, [
    ["a client that goes away ends its calls for those who listen", "traceDropped(entry);", ""],
  ]),
  ...mutate("src/opentelemetry/spans.ts", telemetry, [
    [
      "a transaction belongs to a trace that is recorded",
      "contexts.find(({ traceFlags }) => (traceFlags & TraceFlags.SAMPLED) !== 0) ?? first",
      "first",
    ],
    ["a transaction is linked to all its calls", "links: contexts.map((linked) => ({ context: linked })),", ""],
    ["the active span comes before the trace context", "trace.getSpan(active) !== undefined ||", ""],
    ["the context of a call is that of its span", "if (isSpanContextValid(own))", "if (given === undefined)"],
  ]),
  ...mutate("src/actor/admission.ts", channels, [
    [
      "a stranger's text is no name of an operation",
      "this.#dispatcher.knows(name) ? (name as string) : unknownOperation",
      "String(name)",
    ],
  ]),
  ...mutate("src/http/remoteCalls.ts", channels, [
    [
      "a trace context passes the server of remote stores",
      "key, request, own, traceparent, tokenId];",
      "key, request, own, undefined, tokenId];",
    ],
  ]),
  ...mutate("src/remote/repeatable.ts", channels, [
    ["a key leaves the trace context as it is", "...newKey(), undefined, ...rest];", "...newKey()];"],
  ]),
  // Long reads
  ...mutate("src/actor/mailbox.ts", longReads, [
    [
      "a long read begins when the writes before it are committed",
      "else if (writers.has(entry.client)) following.push(entry);",
      "",
    ],
    [
      "a long read does not overtake a write that was put back",
      "if (blocked.has(entry.client)) kept.add(entry);",
      "if (entry.done) kept.add(entry);",
    ],
    [
      "closing waits for long reads",
      "if (!this.#running && this.#reads.size === 0 && !this.#queues.hasWork())",
      "if (!this.#running && !this.#queues.hasWork())",
    ],
  ]),
  ...mutate("src/actor/longReads.ts", longReads, [
    [
      "a page never waits for a read of the whole store",
      "else if (this.#pages.size > 0 && [...this.#places].every(readsWhole)) returnAll(this.#pages);",
      "",
    ],
    ["a read that has ended two readers does not get a third", "const deathsMax = 2;", "const deathsMax = 9;"],
    [
      "a read that found nothing yet waits in the mailbox",
      "if (outcome !== undefined && isDone) owner.onRead",
      "if (outcome !== undefined) owner.onRead",
    ],
    ["an atomic envelope runs in a group", " || envelope.isAtomic", ""],
  ]),
  ...mutate("src/packed.ts", { tests: ["test/system/faults/readers.test.ts"], only: "is moved to the client" }, [
    ["a packed result is moved, and not copied", 'if (answers[index] === "packed")', "if (answers.length === 0)"],
    ["a result is packed", "if (ok !== true) return answer;", "if (ok !== false) return answer;"],
  ]),
  ...mutate("src/sqlite/openReader.ts", { tests: ["test/system/faults/readers.test.ts"], only: "file is lost" }, [
    [
      "a reader opens no other file than the store has open",
      "file !== undefined && file !== found[index]",
      "file === null",
    ],
  ]),
  // The log archive
  ...mutate("src/archive/blockReader.ts", subject("log archive"), [
    ["a check sees where an object ends", ".byteLength !== 1)", ".byteLength > 1)"],
    [
      "an archive that fails is no finding",
      'error.code === "corrupt") return error.message',
      "true) return error.message",
    ],
  ]),
  ...mutate("src/operations/fsck/logChecks.ts", subject("log archive"), [
    ["a deep check reads what a block holds", 'depth: "content"', 'depth: "end"'],
  ]),
  ...mutate("src/operations/logStorage.ts", subject("log archive"), [
    ["a read fetches as many blocks as it needs", "if (bytes >= wantedBytes) break;", "if (count > 0) break;"],
    [
      "a position within a block is found in that block",
      "before.end_offset > from ? before.start_offset : from",
      "before.end_offset > from + 1 ? before.start_offset : from",
    ],
  ]),
  ...mutate("src/archive/blockFormat.ts", { tests: ["test/unit/archive/blockFormat.test.ts"] }, [
    ["a damaged block is refused", "crc32(frame) !== checksum", "false"],
  ]),
  ...mutate("src/operations/logMoves.ts", { tests: ["test/system/faults/logArchive.test.ts"] }, [
    [
      "the object of a move that is taken over is removed",
      "if (uri !== null) yield* discardLog(due.attempt_id, uri, limits.logMoveMs, context);",
      "",
    ],
  ]),
  // Authority
  ...mutate("src/operations/authority.ts", subject("authority"), [
    ["a token of a session reaches no other", "belongs.session_id !== token.session_id)", "false)"],
    ["a token of repositories reaches no other", "!repositoryIds.includes(belongs.repository_id)", "false"],
    ["another account's session is not commanded", "belongs.account_id !== token.account_id)", "false)"],
    [
      "a limited token has to name a row",
      "isLimited(token) && named.length === 0 && ownTokenFields[operation] === undefined",
      "false",
    ],
    ["a token names no other one", "input[own] !== id && !granted", "false && !granted"],
  ]),
  ...mutate("src/operations/sessionState.ts", subject("authority"), [
    ["the end of a session ends its tokens", "if (!isOpen(state)) yield* endTokensOf(session.id, context);", ""],
  ]),
  ...mutate("src/joining.ts", subject("authority"), [
    ["appends under two tokens are not joined", "[0, 1, 6].every", "[0, 1].every"],
  ]),
  ...mutate("src/http/remoteCalls.ts", { tests: ["test/system/http/authority.test.ts"] }, [
    ["a remote store has the authority of its token", "authorityOf(identity, name as OperationName)", "undefined"],
  ]),
  // Operations
  ...mutate("src/operations/sessions.ts", subject("references"), [
    [
      "the token of a session exists",
      "undefined : yield* keepToken(input.tokenId);",
      "undefined : { id: input.tokenId, account_id: null };",
    ],
  ]),
  ...mutate("src/operations/commandState.ts", subject("counters"), [
    ["a command that is asked to stop is counted", 'counted("command", before.state, row.state);', ""],
    ["the end of an attempt counts its log", 'counted("log", "open", "sealed");', ""],
  ]),
  ...mutate("src/operations/sessionDeletion.ts", subject("counters"), [
    ["deleted commands are counted", 'for (const { state } of rows) counted("command", state, undefined);', ""],
  ]),
  ...mutate("src/dispatch.ts", { tests: ["test/unit/operations/counters.test.ts"] }, [
    [
      "a job that runs again counts anew",
      "counts: () => context?.counts ?? [],",
      "counts: () => [...(context?.counts ?? []), ...(context?.counts ?? [])],",
    ],
  ]),
  ...mutate("src/operations/pruneFeed.ts", subject("retention: the change feed"), [
    ["a consumer holds up what it has not read", "seq <= unheldUpTo || at <= heldSince", "true"],
    ["the hold of a consumer ends", "seq <= unheldUpTo || at <= heldSince", "seq <= unheldUpTo"],
    ["the floor rises with what goes", "SET value = ${String(last.seq)} WHERE", "SET value = value WHERE"],
  ]),
  ...mutate("src/operations/feedRead.ts", subject("retention: the change feed"), [
    ["a consumer lags behind what was pruned", "?.seq ?? floor;", "?.seq ?? 0;"],
  ]),
  ...mutate("src/operations/feedRead.ts", { tests: ["test/unit/operations/changeFeed.test.ts"] }, [
    ["a search for rare changes is bounded", "Math.min(last, after + scanRowsMax) : last", "last : last"],
  ]),
  ...mutate("src/operations/feedRead.ts", subject("changes"), [
    ["a time is inclusive where a span begins", "sql`at >= ${value}`", "sql`at > ${value}`"],
    ["an export ends where the feed ended", "Math.min(newest, end ?? newest)", "newest"],
  ]),
  ...mutate("src/operations/consumers.ts", subject("consumers"), [
    [
      "a checkpoint under a lease that is over moves nothing",
      "fence = ${fence} AND lease_expires_at > ${now}",
      "fence = ${fence}",
    ],
    ["a checkpoint needs the last fence", "AND fence = ${fence} AND", "AND"],
    [
      "only the holder moves a consumer that is held",
      "AND (lease_expires_at IS NULL OR lease_expires_at <= ${now})",
      "",
    ],
    ["a checkpoint under a lease never goes back", "CASE WHEN seq < ${seq} THEN", "CASE WHEN TRUE THEN"],
    [
      "a release wakes those who wait",
      "if (release || fence === undefined) context.wake",
      "if (ttlMs < 0) context.wake",
    ],
  ]),
  ...mutate(
    "src/operations/consume.ts",
    { tests: ["test/system/faults/consumers.test.ts"], only: "sqlite: two threads" },
    [["a wait ends with the lease of another", "{ againMs: leftMs }", "{}"]],
  ),
  ...mutate("src/operations/consume.ts", subject("consumers"), [
    ["one holder at a time", "if (!isHolder && isLeased(row, context)) {", "if (ttlMs < 0) {"],
    ["only a lease acknowledges", "isHolder ? Math.max(row.seq, handled ?? 0)", "handled ? handled"],
    ["each holder has a fence of its own", "isHolder ? row.fence : row.fence + 1", "row.fence"],
    ["the position moves past what others change", "if (isHolder || (nextSeq > row.seq && isDue))", "if (isHolder)"],
    ["the last acknowledgement lets others in", "if (isHolder) context.wake(consumerTopic(consumer));", ""],
  ]),
  ...mutate("src/dispatch.ts", { tests: ["test/unit/operations/changeFeed.test.ts"] }, [
    ["a consumer sees what was written before", "((together || readsChanges) && writes)", "(together && writes)"],
    ["each of equal consumers asks anew", "isRead(call) && call.operation.readsChanges", "call.operation.readsChanges"],
  ]),
  ...mutate("src/operations/events.ts", subject("events"), [
    ["the secrets of an event are masked", "maskingOf(secretNames).data(detail)", "detail"],
    ["an event is small", "if (bytes <= bytesMax) return;", "if (bytes <= bytesMax + 1) return;"],
  ]),
  ...mutate("src/operations/serving.ts", subject("debug requests"), [
    [
      "leases of bridges move on with a clock that was set ahead",
      "UPDATE debug_sessions SET bridge_expires_at = bridge_expires_at + ${ahead}",
      "UPDATE debug_sessions SET bridge_expires_at = bridge_expires_at",
    ],
    [
      "a clock that was set back moves leases of bridges",
      "UPDATE debug_sessions SET bridge_expires_at = bridge_expires_at - ${back}",
      "UPDATE debug_sessions SET bridge_expires_at = bridge_expires_at",
    ],
  ]),
  ...mutate("src/operations/serving.ts", subject("commands: failures"), [
    [
      "a clock that was set back moves the pause before another attempt",
      "UPDATE sessions SET due_at = due_at - ${back}",
      "UPDATE sessions SET due_at = due_at",
    ],
  ]),
  ...mutate("src/operations/serving.ts", subject("consumers"), [
    [
      "leases of consumers get a grace period",
      "UPDATE feed_consumers SET lease_expires_at = ${until}",
      "UPDATE feed_consumers SET lease_expires_at = lease_expires_at",
    ],
    [
      "a clock that was set back moves leases of consumers",
      "UPDATE feed_consumers SET lease_expires_at = lease_expires_at - ${back}",
      "UPDATE feed_consumers SET lease_expires_at = lease_expires_at",
    ],
  ]),
  ...mutate("src/operations/pruneSessions.ts", subject("retention: what goes"), [
    [
      "a session with a pinned artifact stays",
      "active_commands > 0 OR EXISTS (",
      "active_commands > 0 OR FALSE AND EXISTS (",
    ],
    ["a pruned log counts its bytes as dropped", "dropped_bytes = next_offset", "dropped_bytes = dropped_bytes"],
  ]),
  ...mutate("src/operations/pruneTables.ts", subject("retention: what goes"), [
    ["what another row names stays", "filter((row) => row.kept === 0)", "filter((row) => row.kept <= 1)"],
  ]),
  ...mutate("src/operations/upkeepLease.ts", { tests: ["test/unit/operations/upkeepLease.test.ts"] }, [
    [
      "one server prunes at a time",
      "return lease.owner !== owner && leftMs > 0",
      "return lease.owner === owner && leftMs > 0",
    ],
    ["a lease from before the clock was set back does not hold", " && leftMs <= lease.ttlMs;", ";"],
  ]),
  ...mutate("src/model/cursors.ts", subject("lists"), [
    ["a cursor belongs to its list", "|| !cursor.subarray(0, tagBytes).equals(tagOf(list, input))", ""],
  ]),
  ...mutate("src/operations/paging.ts", subject("lists"), [
    [
      "a cursor before the first row of a range does not widen it",
      "position.at >= since.getTime()",
      "position.at >= 0",
    ],
    ["a page reads a bounded number of rows", "conditions.length === 0", "conditions.length >= 0"],
    ["what another filter leaves out is left out", "joined}) IS TRUE`", "joined}) IS NOT NULL`"],
  ]),
  ...mutate("src/operations/forcedEnd.ts", subject("lists"), [
    ["a session shows a command that was ended by force", "    ...last,\n", ""],
  ]),
  ...mutate("src/model/commands.ts", subject("commands: enqueue"), [
    ["a secret variable has no value", "if (!Object.hasOwn(variables, name)) continue;", "continue;"],
  ]),
  ...mutate("src/operations/changeDetail.ts", subject("changes: what an update has changed"), [
    ["the change feed holds no credentials", 'if (kind === "url") return cut(maskUrl(value));', ""],
  ]),
  ...mutate("src/model/directories.ts", subject("directories"), [
    ["a directory has one path", ".overwrite((path) => normalizeDirectory(path) ?? path)", ""],
  ]),
  ...mutate("src/model/directories.ts", { tests: ["test/unit/model/directories.test.ts"] }, [
    ["a server without a share is no directory", "[^\\\\/]*[\\\\/]+[^\\\\/])/i;", ")/i;"],
  ]),
  ...mutate("src/place.ts", { tests: ["test/unit/place.test.ts"] }, [
    ["advice holds no unknown parameter", ".filter(([name]) => harmlessParameters.includes(name))", ""],
    ["blanks and line ends around an address are dropped", "const text = trimmed(url);", "const text = url;"],
    ["a variable that is blank is not set", 'return trimmed(variable) === ""', 'return variable === ""'],
    [
      "no parameter of unknown meaning is printed",
      "harmlessParameters.includes(name) ? value",
      "!/pass/.test(name) ? value",
    ],
    ["a password that ends too early is refused", "if (/[@#]/.test(rest)) return", "if (rest === text) return"],
  ]),
  ...mutate("src/cli/logText.ts", { tests: ["test/unit/cli/logText.test.ts"] }, [
    ["a character may be split between chunks", "decoder.decode(data, { stream: true })", "decoder.decode(data)"],
    ["JSON loses no byte", "...(same ? {} :", "...(true ? {} :"],
  ]),
  ...mutate("src/cli/help.ts", { tests: ["test/unit/cli/program.test.ts"], only: "an unknown command" }, [
    ["--help hides no unknown command", "if (next === undefined) return", "if (next === null) return"],
  ]),
  ...mutate("src/model/masking.ts", { tests: ["test/unit/model/masking.test.ts"] }, [
    ["a password reaches to the last @", "isPlace && !hasPassword", "isPlace"],
    ["a colon that begins no port begins a password", "isPlace && !hasPassword", "!hasPassword"],
    ["URLs within arguments are masked", ".map(maskUrls)", ""],
  ]),
  ...mutate("src/operations/repositories.ts", subject("repositories"), [
    ["an upsert that changes nothing writes nothing", "!isDifferent(input, before)", "false"],
    ["a rename moves the key of the name", "name_key = ${key},", ""],
  ]),
  ...mutate("src/operations/reservation.ts", subject("worktrees"), [
    [
      "a repository has at most maxWorktrees worktrees",
      "count >= repository.max_worktrees",
      "count > repository.max_worktrees",
    ],
    [
      "a reservation ends leases that have expired",
      "candidate === undefined && isFull && (",
      "candidate === null && isFull && (",
    ],
    ["needsSync compares commits", "recorded !== wanted)", "recorded === wanted)"],
    ["an unknown fact needs work", "recorded === null || recorded === undefined ||", "recorded === undefined ||"],
    ["a grant that needs a sync forgets the commit", "forgetsCommit: needsSync", "forgetsCommit: false"],
    [
      "nobody need retry when all worktrees are quarantined",
      "retryable: count > details.quarantined",
      "retryable: true",
    ],
    ["needsScrub tells of a dirty worktree", 'before?.state === "dirty" ? 1 : 0', "0"],
    ["a grant raises the fencing token", "fence: before.fence + 1", "fence: before.fence"],
    [
      "a clean worktree goes before a dirty one",
      "ORDER BY state DESC, last_used_at LIMIT 1",
      "ORDER BY last_used_at LIMIT 1",
    ],
    [
      "a session with a live lease gets no second worktree",
      "(bound.lease_expires_at as number) > context.now.getTime()",
      "(bound.lease_expires_at as number) < context.now.getTime()",
    ],
    ["a session keeps the worktree of its command", " || session.active_commands > 0", ""],
    ["a lease whose time has passed is not the next to expire", "AND lease_expires_at > ${now}", ""],
  ]),
  ...mutate("src/operations/worktreeState.ts", subject("worktrees"), [
    [
      "a stale fencing token is refused",
      "row.fence !== fence || row.lease_expires_at === null",
      "row.lease_expires_at === null",
    ],
    [
      "a worktree in which a command may run keeps its holder",
      "worktree_fence = worktrees.fence AND active_commands > 0",
      "FALSE",
    ],
    ["what was being made is quarantined", 'row.state === "leased" ? "dirty" : "quarantined"', '"dirty"'],
  ]),
  ...mutate("src/operations/worktreeCounts.ts", subject("worktrees"), [
    [
      "a removed worktree leaves the count",
      "UPDATE repositories SET worktree_count = worktree_count - 1",
      "UPDATE repositories SET worktree_count = worktree_count",
    ],
  ]),
  ...mutate("src/operations/worktreeCounts.ts", subject("places"), [
    [
      "a removed worktree makes room in its place",
      "UPDATE repository_places SET worktree_count = worktree_count - 1",
      "UPDATE repository_places SET worktree_count = worktree_count",
    ],
    [
      "a new worktree takes room in its place",
      "repository_places.worktree_count + 1",
      "repository_places.worktree_count",
    ],
    [
      "a worktree that moves takes room in its new place",
      "yield* leavePlace(before);\n  yield* enterPlace(row);",
      "yield* leavePlace(before);",
    ],
  ]),
  ...mutate("src/operations/reservation.ts", subject("places"), [
    ["a worktree is granted in its place alone", "AND place = ${place} AND ${condition}", "AND ${condition}"],
    ["a runner reserves in its place", "place: place ?? runner.place", 'place: place ?? ""'],
    ["a path is unique within a place alone", "WHERE place = ${place} AND ${hasPath(path)}", "WHERE ${hasPath(path)}"],
    [
      "a call waits for its own place",
      "[freeWorktreeKind(repository.id, place)]",
      '[freeWorktreeKind(repository.id, "")]',
    ],
  ]),
  ...mutate("src/operations/worktreeState.ts", subject("places"), [
    ["an expired lease of another place is left alone", " AND place = ${place}", ""],
  ]),
  ...mutate("src/operations/worktreeEviction.ts", subject("places"), [
    ["evict looks in its place alone", "AND place = ${place} AND state IN", "AND state IN"],
    ["evictUnused looks in its place alone", "AND place = ${holder.place} AND", "AND"],
    ["a named worktree of another place is refused", "place !== undefined && place !== row.place", "false"],
  ]),
  ...mutate("src/operations/fsck/placeChecks.ts", checkOfFile, [
    ["the count of a place is checked", "worktree_count = 0 OR worktree_count <> ${placeCount}", "FALSE"],
  ]),
  ...mutate("src/operations/worktreeLease.ts", subject("worktrees"), [
    ["a fact outlives only its lease", "before.commit_fence === before.fence", "true"],
    ["only a holder vouches for facts", "!isByHolder ||", ""],
    [
      "a worktree that was never created is removed",
      'state === "creating" && releases[',
      'state === "idle" && releases[',
    ],
    ["another release is not a repetition", "stateAfterRelease(ended_from, to) === state", "true"],
    ["the end of a lease is a use", "last_used_at: context.now.getTime()", "last_used_at: before.last_used_at"],
  ]),
  ...mutate(
    "src/operations/worktreeLease.ts",
    { tests: ["test/engines/postgres/locks.test.ts"], only: "on the same session" },
    [
      [
        "the repository is locked before the session",
        "WHERE sessions.id = ${sessionId} AND worktrees.state = 'creating')",
        "WHERE sessions.id = ${sessionId} AND worktrees.state = 'removed')",
      ],
    ],
  ),
  ...mutate(
    "src/operations/worktreeState.ts",
    { tests: ["test/engines/postgres/locks.test.ts"], only: "keeps the worktree" },
    [
      [
        "a claim that comes first keeps the worktree",
        "(session === undefined || session.active_commands > 0)",
        "session === undefined",
      ],
    ],
  ),
  ...mutate("src/operations/worktreeEviction.ts", subject("worktrees"), [
    ["a pinned worktree is not evicted", "state IN ('idle', 'dirty') AND NOT pinned", "state IN ('idle', 'dirty')"],
    ["a worktree in use is not evicted as unused", "AND last_used_at <= ${after(context.now, -input.unusedForMs)}", ""],
  ]),
  ...mutate("src/operations/worktrees.ts", subject("worktrees"), [
    ["only a lease that nobody has taken is renewed", "${fence} AND lease_expires_at IS NOT NULL", "${fence}"],
    [
      "a repeated release changes nothing",
      "isSameRelease(before, input.to) ? before",
      "isSameRelease(before, input.to) ? leaseLost(before, input.fence)",
    ],
  ]),
  ...mutate("src/operations/commands.ts", subject("commands"), [
    ["a runner that drains claims nothing", 'requireState(runner, "runner", ["online"])', "void requireState"],
    [
      "a stale runner reports nothing",
      "before.fence !== input.fence || before.lease_expires_at === null",
      "before.lease_expires_at === null",
    ],
    ["another result is refused", "row.exit_code === result.exit_code &&", ""],
    [
      "only a cancelled command ends cancelled",
      'before.state === "running" && result.state === "cancelled"',
      "before.fence < 0",
    ],
    ["commands start in order", "ORDER BY sequence LIMIT 1`", "ORDER BY sequence DESC LIMIT 1`"],
  ]),
  ...mutate("src/operations/commandState.ts", subject("commands"), [
    ["a result needs the whole log", " AND next_offset >= ${logOffset ?? 0}", ""],
    [
      "a claim raises the fencing token",
      "fence: before.fence + 1,\n      runner_id",
      "fence: before.fence,\n      runner_id",
    ],
    ["a heartbeat confirms a claim", "confirmed_fence = fence", "confirmed_fence = confirmed_fence"],
    ["a command that ends seals its log", "log_state = 'sealed'", "log_state = 'open'"],
  ]),
  ...mutate("src/operations/sessionState.ts", subject("commands"), [
    [
      "at most maxParallel commands run",
      "row.active_commands < row.max_parallel",
      "row.active_commands <= row.max_parallel",
    ],
  ]),
  ...mutate("src/operations/commandExpiry.ts", subject("(maintenance|commands)"), [
    ["a command has maxAttempts attempts", "attemptsUsed < row.max_attempts", "attemptsUsed < 0"],
    ["a lost claim does not use up an attempt", "row.attempt - row.lost_claims", "row.attempt"],
    ["a log shows that a claim arrived", "attempt.next_offset === 0", "true"],
    ["lost claims have a bound", "lostClaimsMax = 3", "lostClaimsMax = 4"],
    ["a cancelled command is not lost", 'row.state === "cancelling" ? "cancelled" : "lost"', '"lost"'],
  ]),
  ...mutate("src/operations/sessionActivity.ts", subject("activity"), [
    ["activity is written at most once a second", "const activityMs = 1_000", "const activityMs = 0"],
    ["activity counts after the clock was set back", " OR last_activity_at > ${now})", ")"],
    [
      "activity moves the expiry",
      "idle_ttl_ms === null ? null : after(now, idle_ttl_ms)",
      "new Date(last_activity_at)",
    ],
  ]),
  ...mutate("src/operations/debugState.ts", subject("activity"), [
    [
      "a write to a debug session is activity",
      "if (row.due_session_id !== null)",
      "if (row.due_session_id === undefined)",
    ],
  ]),
  ...mutate("src/operations/worktrees.ts", subject("activity"), [
    ["a renewal is activity", "row !== undefined && row.due_session_id !== null", "row?.due_session_id === undefined"],
  ]),
  ...mutate("src/operations/artifactState.ts", subject("artifacts"), [
    ["an artifact whose time is over is over", "expires_at <= now.getTime()", "expires_at < 0"],
    ["the same content keeps an artifact longer", "if (!isLonger) return before", "if (true) return before"],
    ["a file is no folder", "name < ${`${name}0`}", "name < ${name}"],
    ["a folder is no file", "if (above !== undefined)", "if (above === null)"],
    [
      "each artifact of a deleted session is in the feed",
      'for (const row of rows) {\n    context.counted("artifact"',
      'for (const row of [] as typeof rows) {\n    context.counted("artifact"',
    ],
  ]),
  ...mutate("src/operations/artifacts.ts", subject("artifacts"), [
    ["a pin can be removed again", "yield* pinned ? lockLiveArtifact", "yield* true ? lockLiveArtifact"],
  ]),
  ...mutate("src/operations/fileState.ts", subject("files"), [
    ["nothing is recorded where a collector may remove a file", "if (row.fence > 0)", "if (row.fence > 1)"],
    [
      "a deleted artifact's file is discarded once",
      "WHERE NOT (state <> 'ready') AND ${condition}",
      "WHERE ${condition}",
    ],
  ]),
  ...mutate("src/operations/files.ts", subject("files"), [
    [
      "a file that another artifact has is not handed out",
      'if (kind !== "log" && (yield* isNamed(row.uri, place))) {',
      "if (false) {",
    ],
    [
      "only the collector that has a file acknowledges it",
      "if (row === undefined || row.fence !== fence) continue;\n      yield* change",
      "if (row === undefined) continue;\n      yield* change",
    ],
    ["a file that is handed out is not handed out again", "due_at = ${dueAt}", "due_at = ${now}"],
    ["files that are named do not end a claim", "(left && files.length === 0 ? input : undefined)", "undefined"],
  ]),
  ...mutate("src/operations/files.ts", subject("patches"), [
    ["a file that a patch has is not handed out", "|| (yield* first(patch)) !== undefined", ""],
  ]),
  ...mutate("src/operations/patchState.ts", subject("patches"), [
    [
      "a session refers to a patch only at the recorded uri",
      "uri === undefined || uri === known.uri ? yield* usePatch(known, context) : undefined",
      "yield* usePatch(known, context)",
    ],
    ["the file of a patch is handed out when it goes", "if (!/^data:/i.test(uri))", "if (false)"],
    ["a data URI is no file to remove", "if (!/^data:/i.test(uri))", "if (true)"],
    ["use puts the end of a patch off", "{ last_used_at: context.now.getTime() }, context, 0", "{}, context, 0"],
    ["a patch is not recorded where a collector removes one", "yield* reclaimFile({ uri }, context);", ""],
  ]),
  ...mutate("src/operations/patches.ts", subject("patches"), [
    ["a hash stands for one content", "if (known.size_bytes !== null) {", "if (false) {"],
    ["a patch of a session is not deleted", "if (user !== undefined)", "if (false)"],
  ]),
  ...mutate("src/operations/pruneTables.ts", subject("patches"), [
    ["retention keeps the patch of a session", "kept: isPatchNamed", "kept: sql`FALSE`"],
  ]),
  ...mutate("src/operations/environments.ts", subject("environments"), [
    ["an environment is not built twice at once", "known.lease_expires_at > at)", "known.lease_expires_at < 0)"],
    ["a later builder has a new fence", "fence: known.fence + 1, ...lease", "fence: known.fence, ...lease"],
    ["a ready environment is used, not built", 'if (known?.state === "ready") {', "if (known === null) {"],
    ["the use of an environment is noted", "yield* bindSession(session, environment.id, context);", ""],
    ["a session uses environments of its repository", "session.repository_id !== repositoryId", "false"],
    [
      "nothing is built where a collector removes",
      "yield* reclaimFile({ uri: built.uri, place: before.place }, context);",
      "",
    ],
    ["what a session uses is not deleted", "if (user !== undefined)", "if (false)"],
    ["a pinned environment is not deleted", "if (pinned === 1)", "if (false)"],
  ]),
  ...mutate(
    "src/operations/environments.ts",
    {
      tests: ["test/system/faults/environments.test.ts"],
      only: "two threads on a SQLite file: when the builder is killed",
    },
    [["a call that waits takes over when the lease ends", "{ againMs });", "{});"]],
  ),
  ...mutate("src/operations/environmentState.ts", subject("environments"), [
    [
      "only the builder reports",
      "row.fence !== fence || row.lease_expires_at === null",
      "row.lease_expires_at === null",
    ],
    [
      "a use lasts until the last command has ended",
      "AND (ended_at IS NULL OR active_commands > 0)",
      "AND (ended_at IS NULL OR active_commands > 0) AND ended_at IS NULL",
    ],
    [
      "those who wait learn of a failure",
      "context.wake(environmentTopic(row.id));\n  return row;\n});\n\n/** Ends the building of an environment with",
      "return row;\n});\n\n/** Ends the building of an environment with",
    ],
    [
      "a place counts what it has",
      "size_bytes = environment_places.size_bytes + excluded.size_bytes",
      "size_bytes = excluded.size_bytes",
    ],
    ["what was built is handed out in its place", 'kind: "environment", place, uri', 'kind: "environment", uri'],
  ]),
  ...mutate("src/operations/environmentEviction.ts", subject("environments"), [
    ["eviction ends when the rest fits", "sizeBytes -= size_bytes ?? 0;", ""],
    ["pinned environments are not evicted", "AND NOT pinned`, condition", "`, condition"],
    ["the least recently used goes first", "ORDER BY ${order}, id", "ORDER BY ${order} DESC, id"],
    ["the age is that of what was built", "`ready_at <= ${after", "`last_used_at <= ${after"],
    ["what is too old goes before what has to fit", "if (ids.has(row.id)) continue;", ""],
    ["eviction says when more may have to go", "left: Number(ids.size === limit)", "left: 0"],
  ]),
  ...mutate("src/operations/files.ts", subject("environments"), [
    [
      "files of a place are for its collectors",
      "WHERE kind = ${kind} AND place = ${place} AND due_at",
      "WHERE kind = ${kind} AND due_at",
    ],
    [
      "what another environment has is not handed out",
      "if ((yield* first(environment)) !== undefined) return true;",
      "",
    ],
  ]),
  ...mutate("src/operations/runnerReplacement.ts", subject("environments"), [
    [
      "a former runner builds no environment",
      "yield* expireEnvironmentLeases(context, { limit, runnerId: formerId, reason });",
      "",
    ],
  ]),
  ...mutate("src/operations/serving.ts", subject("environments"), [
    [
      "builders keep their leases when the clock jumps",
      "UPDATE environments SET lease_expires_at = lease_expires_at + ${ahead}",
      "UPDATE environments SET lease_expires_at = lease_expires_at",
    ],
    [
      "leases of builders do not grow when the clock is set back",
      "UPDATE environments SET lease_expires_at = lease_expires_at - ${back}",
      "UPDATE environments SET lease_expires_at = lease_expires_at",
    ],
  ]),
  ...mutate("src/operations/pruneTables.ts", subject("environments"), [
    ["retention keeps what is pinned or used", "kept: isEnvironmentKept", "kept: sql`FALSE`"],
  ]),
  ...mutate("src/collector/localFiles.ts", collector, [
    ["links out of a folder are not followed", "requireWithin(await realpath(held)", "requireWithin(dirname(path)"],
    [
      "a file on a disk that is not mounted is not taken for removed",
      "await requireWithin(await realpath(await existingPart(dirname(path))), basename(path), folders);",
      "",
    ],
  ]),
  ...mutate("src/operations/artifacts.ts", subject("activity"), [
    ["the removal of a pin is use", "if (!pinned) yield* keepSessionActive", "if (false) yield* keepSessionActive"],
  ]),
  ...mutate("src/model/artifacts.ts", subject("artifacts"), [
    ["names have one form", 'name.normalize("NFKC")', "name"],
  ]),
  ...mutate("src/model/fields.ts", subject("names"), [
    ["names have one form", '.normalize("NFKC")', ""],
    ["blanks in names are single", '.replace(/\\p{Zs}+/gu, " ")', ""],
  ]),
  ...mutate("src/model/repositories.ts", subject("names"), [["ß equals SS", ".toLowerCase().toUpperCase()", ""]]),
  ...mutate("src/operations/commandState.ts", subject("stops"), [
    [
      "a runner is asked to stop at the timeout",
      'row.state === "cancelling" || isOverTime(row, now)',
      'row.state === "cancelling"',
    ],
    ["an end by force fences the runner off", 'op === "force" ? { fence: before.fence + 1 } : {}', "{}"],
  ]),
  ...mutate("src/operations/commands.ts", subject("stops"), [
    [
      "only a timeout makes a cancelled command timed_out",
      "&& isStopped && row.cancel_requested_at === null",
      "&& isStopped",
    ],
  ]),
  ...mutate("src/operations/forcedEnd.ts", subject("stops"), [
    ["nobody gets the worktree of a command ended by force", 'state: "quarantined", op', 'state: "dirty", op'],
  ]),
  ...mutate("src/operations/maintenance.ts", subject("stops"), [
    ["a runner has time to stop", "after(context.now, -context.limits.stopGraceMs)", "context.now"],
  ]),
  ...mutate("src/model/commands.ts", subject("stops"), [
    [
      "a cancelled command has not failed",
      'state === "failed" || state === "timed_out"',
      'state === "cancelled" || state === "failed" || state === "timed_out"',
    ],
  ]),
  ...mutate("src/operations/serving.ts", subject("maintenance"), [
    [
      "keys get a grace period",
      "UPDATE idempotency_keys SET expires_at = ${until}",
      "UPDATE idempotency_keys SET expires_at = expires_at",
    ],
    ["a clock that was set back moves leases", "aheadMs > limits.clockJumpMs", "aheadMs > limits.clockJumpMs * 1e9"],
    ["the last service counts", "Math.max(servedAtMs, Math.min", "Math.min(servedAtMs, Math.min"],
  ]),
  ...mutate("src/operations/runners.ts", subject("runners"), [
    ["a heartbeat names what to cancel", "else if (renewed.mustStop)", "else if (!renewed.mustStop)"],
    ["a runner that is gone registers again", "${runnerId} AND state IN ('online', 'draining')", "${runnerId}"],
    ["a claim is a sign of life", "? row : yield* reviveRunner", "? row : row ?? reviveRunner"],
  ]),
  ...mutate("src/operations/claimSearch.ts", subject("commands"), [
    ["the longest wait goes first", "bound.ready_at <= free.ready_at", "bound.ready_at > free.ready_at"],
  ]),
  ...mutate("src/operations/claimSearch.ts", subject("labels"), [
    [
      "the longest wait goes first, whatever it requires",
      "if (free !== undefined && free.ready_at <= ready_at)",
      "if (free !== undefined)",
    ],
    [
      "a worktree does not make up for a label",
      "if (row === undefined || covers(has, row.ready_requires)) return row;",
      "return row;",
    ],
    ["a named session requires its labels", "return covers(has, row.ready_requires) ? row : undefined;", "return row;"],
    ["a claim waits for what the runner can do", "has === undefined ? [] : [coveredKind(has)]", "[]"],
  ]),
  ...mutate("src/operations/labelSets.ts", subject("labels"), [
    ["a runner gets what it covers", "sets.filter(({ requires }) => covers(has, requires))", "sets"],
    ["the sets of labels have a bound", "count <= bounds.labelSets", "count <= bounds.labelSets + 1"],
    ["sets of commands that run count", "ended_at IS NULL`)}", "state = 'queued'`)}"],
  ]),
  ...mutate("src/model/labels.ts", subject("labels"), [
    ["a value must be the same", " || (value !== undefined && has[key] !== value)", ""],
  ]),
  ...mutate("src/operations/sessionLabels.ts", subject("sessions: labels"), [
    ["labels that go are not found", "Object.keys(before).filter((key) => before[key] !== after[key]);", "[];"],
    ["an update has a version", "requireVersion(before, expectedVersion);", ""],
    ["labels in the feed hide secrets", "text(`${key}=${labels[key]}`).slice(key.length + 1)", "labels[key]"],
    ["a list needs all labels", "[and(...conditions)]", "undefined"],
  ]),
  ...mutate("src/operations/commandExplain.ts", subject("commands: explain"), [
    ["a silent runner is not online", "expires_at > ${now}", "expires_at IS NOT NULL"],
    ["only sessions before count", "(ready_at, id) < (${readyAt}, ${id})", "(ready_at, id) > (${readyAt}, ${id})"],
    ["sets that the runner covers count", '["", ...(yield* coveredSets(has))', "[...(yield* coveredSets(has))"],
    ["a holder needs the labels", "isAlive && missing.length === 0 ?", "isAlive ?"],
  ]),
  ...mutate("src/operations/commands.ts", subject("commands: failures"), [
    ["a retry needs a command that nobody wants to end", 'row.state === "running" && (session.state', "(session.state"],
    ["retries have an end", " && row.failed_attempts < row.retries;", ";"],
    [
      "a repeated report of a retried failure changes nothing",
      "if (yield* wasRetried(before, input.fence, result)) return finishedAnswer(before, session);",
      "",
    ],
    ["a claim makes ready what is due", "if (hasDue) yield* promoteDue(context.limits.reapRows, context);", ""],
  ]),
  ...mutate("src/model/commands.ts", subject("commands: failures"), [
    [
      "the pause has a bound",
      "Math.min(retry_delay_ms * 2 ** failed_attempts, retryDelayMsMax)",
      "retry_delay_ms * 2 ** failed_attempts",
    ],
    ["the pause doubles", "retry_delay_ms * 2 ** failed_attempts,", "retry_delay_ms,"],
  ]),
  ...mutate("src/operations/commandExpiry.ts", subject("commands: failures"), [
    [
      "failures do not use up attempts",
      "row.attempt - row.lost_claims - row.failed_attempts",
      "row.attempt - row.lost_claims",
    ],
    ["a lost command stops its session", "!isRequeued && hasFailed(state), context", "false, context"],
  ]),
  ...mutate("src/operations/maintenance.ts", subject("commands: failures"), [
    ["the reaper wakes what is due", "yield* promoteDue(limit, context)", "0"],
  ]),
  ...mutate("src/operations/sessionState.ts", subject("commands: failures"), [
    ["a session goes on unless it is to stop", ' || session.on_failure !== "stop"', ""],
    ["what was due counts from its time", "Math.max(queued_at, not_before ?? 0)", "queued_at"],
    [
      "a session is not ready before its time",
      "head.not_before > now.getTime() ? head.not_before : null",
      "head.not_before < 0 ? head.not_before : null",
    ],
  ]),
  ...mutate("src/actor/parking.ts", subject("labels"), [
    ["a command wakes a runner with more labels", "?? this.#entriesServing(kind)", "?? []"],
  ]),
  ...mutate("src/operations/runners.ts", subject("labels"), [
    ["new labels wake a claim that waits", "before.labels !== input.labels || before", "before"],
    ["another place wakes a reservation that waits", " || before.place !== input.place", ""],
  ]),
  ...mutate("src/operations/sessionState.ts", subject("commands"), [
    ["a step of priority is worth a minute", "priorityStepMs = 60_000", "priorityStepMs = 120_000"],
    [
      "what was queued in the future counts from now",
      "Math.min(Math.max(queued_at, not_before ?? 0), now.getTime())",
      "Math.max(queued_at, not_before ?? 0)",
    ],
  ]),
  ...mutate("src/operations/serving.ts", subject("commands"), [
    ["the clock moves sessions that wait", "SET ready_at = ready_at - ${back}", "SET ready_at = ready_at"],
  ]),
  ...mutate("src/operations/rows.ts", subject("sizes"), [
    ["a page ends at bytes", "return sum > max &&", "return sum < 0 &&"],
  ]),
  ...mutate("src/dispatch.ts", subject("(sizes|bounds)"), [
    ["the lists of a transaction are bounded", "this.#resultBytes > resultBytes", "this.#resultBytes < 0"],
    ["the statements of a transaction are bounded", "this.#statements > transactionStatements", "this.#statements < 0"],
    ["a transaction that runs again counts again", "[this.#statements, this.#resultBytes] = [0, 0];", ""],
  ]),
  ...mutate("src/operations/maintenance.ts", subject("bounds"), [
    ["a pass of the reaper is bounded", "commands > context.limits.queuedCommands", "commands < 0"],
    ["a cut pass goes on at once", "isFull || sessions.isCut", "isFull"],
  ]),
  ...mutate("src/operations/rowWrite.ts", { tests: ["test/unit/operations/rowWrite.test.ts"] }, [
    ["a row that was saved meanwhile is noticed", "if (count !== 1)", "if (count > 1)"],
    ["a time is one of PostgreSQL too", 'if (column.endsWith("_at")) return new Date(value);', ""],
  ]),
  ...mutate("src/operations/rowWrite.ts", subject("answers"), [
    ["a row is answered as it is stored", "return { ...before, ...written } as Row;", "return before;"],
    ["an id that exists is noticed", "size)) < size) return false;", "size)) < 0) return false;"],
    ["each row is inserted once", "rows.slice(start, start + size)", "rows.slice(0, size)"],
  ]),
  ...mutate("src/operations/commandState.ts", subject("answers"), [
    [
      "the id that exists is named",
      "place.session_id !== session_id || place.sequence !== sequence",
      "place.sequence === sequence",
    ],
  ]),
  ...mutate("src/operations/sessionState.ts", subject("answers"), [
    [
      "the head of a queue stays at its head",
      "if (added !== undefined && queued_commands === 0)",
      "if (added !== undefined)",
    ],
  ]),
  ...mutate("src/sqlite/statements.ts", { tests: ["test/engines/sqlite/statements.test.ts"] }, [
    ["a value does not prepare a statement again", 'const parameter = "+?";', 'const parameter = "?";'],
  ]),
  ...mutate("src/model/quickCheck.ts", { tests: ["test/unit/model/quickCheck.test.ts"] }, [
    ["an integer is safe", "Number.isSafeInteger(value) :", "Number.isFinite(value) :"],
    ["a bound counts", "return size >= min && size <= max;", "return size >= min || size <= max;"],
    ["unknown fields are refused", "if (!known?.has(key)) return unsure;", "void key;"],
    [
      "refinements count",
      "|| payload.issues.length > 0) return unsure;\n  }\n  return payload",
      ") return unsure;\n  }\n  return payload",
    ],
    [
      "a check may change the value",
      "return payload.value;\n}\n\nfunction accept(",
      "return accepted;\n}\n\nfunction accept(",
    ],
  ]),
  ...mutate("src/model/json.ts", { tests: ["test/unit/model/json.test.ts"] }, [
    ["no path leads through a Set", "at !== value && annotated.has(at)", "at === null"],
  ]),
  ...mutate("src/actor/mailbox.ts", mailbox, [
    [
      "a call that fails or finds something wakes the next one",
      "if (kind !== undefined) this",
      "if (kind === null) this",
    ],
  ]),
  ...mutate("src/actor/ports.ts", { tests: ["test/system/faults/floods.test.ts"], only: "sqlite" }, [
    ["a port is received in turns", 'port.off("message", listener);\n    }', "}"],
    ["a peer of garbage is cut off", "if (++refused !== refusedMax) return;", "if (refused >= 0) return;"],
    ["an accepted message counts", "    refused = 0;\n", ""],
  ]),
  ...mutate("src/actor/mailbox.ts", subject("waiting"), [
    ["a topic wakes one of its kind", "this.#wakeNext(kindOf(topic));", "void topic;"],
  ]),
  ...mutate("src/operations/sessionState.ts", subject("waiting"), [
    ["a session without a worktree is for any runner", "return wake(readyTopic(id, ready_requires));", "return;"],
    ["a session with a worktree is for its holder", "wake(heldTopic(holder.lease_runner_id, id))", "void holder"],
  ]),
  ...mutate("src/operations/feedRead.ts", subject("waiting"), [
    [
      "a watcher of a session hears only of it",
      "if (sessionId !== undefined) return [sessionChangesTopic",
      "if (sessionId === null) return [sessionChangesTopic",
    ],
  ]),
  ...mutate("src/operations/runnerReplacement.ts", subject("runners that replace"), [
    ["only a run of the same name is replaced", "former.name !== runner.name", "former.name === null"],
    ["a replaced run is gone", "state = 'gone',", "state = 'stalled',"],
    ["a claim of a replaced run ends", "wake(runnerTopic(formerId));", ""],
    ["the leases of a replaced run end at once", "yield* expireNow(formerId, now);", ""],
  ]),
  ...mutate("src/operations/logAppend.ts", subject("logs"), [
    ["a repeated append stores nothing", "if (end <= next_offset) return", "if (end < next_offset) return"],
    ["a log has no gap", "if (offset > next_offset) {", "if (offset < 0) {"],
    ["an overlapping append stores the new bytes only", "data.subarray(next_offset - offset)", "data.subarray(0)"],
    ["the first half of a log is kept", "Math.floor(attempt.limit_bytes / 2)", "0"],
  ]),
  ...mutate("src/operations/logStorage.ts", subject("logs"), [
    ["an unfinished line is a line", "return last !== undefined && last.data.at(-1) !== 10;", "return false;"],
  ]),
  ...mutate("src/operations/logAppend.ts", joining, [
    ["streams are not joined", "next.stream === last.stream &&", ""],
    ["only what continues is joined", "next.fence === last.fence &&", ""],
  ]),
  ...mutate("src/operations/idempotency.ts", subject("idempotency"), [
    ["a key stands for one input", "stored?.request_sha256 !== request", "stored === undefined"],
    ["a key stands for a time", "idempotency_keys.expires_at <= ${now}", "FALSE"],
  ]),
  ...mutate("src/operations/tokens.ts", subject("tokens"), [
    ["only tokens:write issues tokens", '["tokens:write", ...parseScopes(input.scopes)]', "parseScopes(input.scopes)"],
  ]),
  ...mutate("src/operations/tokenState.ts", subject("tokens"), [
    [
      "an expired token is refused",
      "row.expires_at !== null && row.expires_at <= now.getTime()",
      "row.expires_at === 0",
    ],
    [
      "a token of a disabled account is refused",
      "if (row.account_disabled_at !== null)",
      "if (row.account_disabled_at === 0)",
    ],
  ]),
  ...mutate("src/operations/feedRead.ts", { tests: ["test/unit/operations/changeFeed.test.ts"] }, [
    ["a pruned feed is not skipped in silence", "if (after < floor)", "if (after < 0)"],
  ]),
  ...mutate("src/operations/feedRead.ts", subject("changes"), [
    ["the feed repeats nothing", "seq > ${after} AND", "seq >= ${after} AND"],
  ]),
  ...mutate("src/operations/debugRequests.ts", subject("debug requests"), [
    ["a request is handed out once", 'row.state !== "queued" || (row.stop_epoch', "(row.stop_epoch"],
    ["what depends on a stop waits behind a move", "isMoving ||= isMove(row.command);", ""],
    [
      "a stop that is over is a conflict",
      "if (!standsAt(threads, stopEpoch, threadId ?? null)) stopIsOver(",
      "if (threads === undefined) stopIsOver(",
    ],
    [
      "a move is one of the thread that has stopped",
      "threadId ?? (isMove(command) ? stoppedId : undefined) ??",
      "threadId ??",
    ],
    ["open requests have a bound", "open.length >= bounds.debugRequests", "open.length < 0"],
    [
      "the answer to a move ends the stop",
      "const hasMoved = success && isMove(row.command)",
      "const hasMoved = success && row.command === null",
    ],
    ["an id is that of one request", 'if (!isSame) fail("conflict"', 'if (isSame === null) fail("conflict"'],
    ["an answer comes once", "if (row.ended_at !== null) return row;", ""],
  ]),
  ...mutate("src/operations/debugRequestState.ts", subject("debug requests"), [
    ["requests end with the adapter", "const isOver = isRestarted || (", "const isOver = isRestarted && ("],
    ["requests end with their stop", "if (queued.length === 0) return [];", "return [];"],
    ["requests end with their thread", "if (queued.length === 0) return;", "return;"],
    ["a bridge is told of what is over", "cancel_due = ${isAbandoned && taken_at !== null}", "cancel_due = ${false}"],
  ]),
  ...mutate("src/operations/debugState.ts", subject("debug requests"), [
    ["a lost bridge ends its debug session", "bridge_expires_at <= ${context.now}", "bridge_expires_at < 0"],
    [
      "a call of a bridge renews its lease",
      "SET bridge_expires_at = ${after(now, ttlMs)}",
      "SET bridge_expires_at = bridge_expires_at",
    ],
  ]),
  ...mutate("src/operations/commandExpiry.ts", subject("debug requests"), [
    ["requests fail with the runner", "yield* failRequestsOfCommand(row.id, context);", ""],
  ]),
  ...mutate("src/operations/debugHistory.ts", subject("debug requests"), [
    ["the history has a bound", "- limits.debugHistory;", "- 1_000_000;"],
    ["what was set is masked", "maskingOf(defaultSecretNames).data(", "("],
  ]),
  ...mutate("src/model/debugRequestCaps.ts", subject("debug requests"), [
    [
      "variables with secret names are masked",
      "if (content !== undefined && paths.some(",
      "if (content === null && paths.some(",
    ],
    ["a value that is assigned to a secret is masked", "assigns ? { ...args, value: masked } : args", "args"],
  ]),
  ...mutate("src/client.ts", subject("debug requests"), [
    [
      "a call that is given up is taken back",
      "if (operation.givenUp !== undefined &&",
      "if (operation.givenUp === null &&",
    ],
  ]),
  ...mutate("src/outgoing.ts", subject("debug requests"), [
    ["a key stands for one row", "return { ...input, [idOfKey]: idFrom(", "return { ...input, never: idFrom("],
  ]),
  ...mutate("src/runner/debuggers/requests.ts", { tests: ["test/system/runner/debuggers/dapDebugger.test.ts"] }, [
    ["an answer has its place among the events", "await reports.send(() => debug.reply(", "await (debug.reply("],
    ["an adapter learns that nobody waits", "for (const id of cancelled) waiting.get(id)?.abort();", ""],
  ]),
  ...mutate("src/operations/debugEvents.ts", subject("debug"), [
    ["an event is applied once", "if (yield* wasApplied(before, input, context))", "if (false)"],
  ]),
  ...mutate("src/operations/debugEvents.ts", subject("debug threads"), [
    ["an old event is a repetition", "if (seq <= last_event - limits.debugEvents) return true;", ""],
    [
      "a stop without a name is one of all threads",
      "input.all === true || threadId === undefined",
      "input.all === true",
    ],
    [
      "a late hit counts",
      "const hits = yield* countHits(before, ids, context);\n  const isLate",
      "const hits: string[] = [];\n  const isLate",
    ],
    ["the hint leaves the focus", "input.keepsFocus === true && before", "before"],
  ]),
  ...mutate("src/operations/debugBindings.ts", subject("debug breakpoints"), [
    ["an older report is no news", "early.position > as_of", "early.position > 0"],
    ["an early hit counts", "(isLater ? early.hit_count : 0)", "0"],
    ["a breakpoint of the adapter goes", 'removed && origin === "adapter"', "false"],
    [
      "attributes that are not named stay",
      "{ ...JSON.parse(stored).json, ...JSON.parse(changed).json }",
      "JSON.parse(changed).json",
    ],
  ]),
  ...mutate("src/model/sourcePaths.ts", subject("debug breakpoints"), [
    ["a drive has no case", "drive.toLowerCase()", "drive"],
  ]),
  ...mutate("src/model/debugThreads.ts", subject("debug threads"), [
    ["a late event undoes nothing", "return seq === 0 || seq > lastEvent;", "return true;"],
    ["a thread keeps its stop", "(stopEpoch !== null && !haveRun)", "false"],
    ["a thread that stops again has run", "(stopEpoch !== null && !haveRun)", "stopEpoch !== null"],
    ["what was read before is refused", "if (row.changed_epoch > stopEpoch)", "if (false)"],
    ["an ended thread does not come back", "changedEpoch: epoch + 1,", "changedEpoch: epoch,"],
  ]),
  ...mutate("src/operations/debugStops.ts", subject("debug threads"), [
    ["a place counts a hit once", "awaits_place: 0, hit_breakpoint_ids", "hit_breakpoint_ids"],
    ["frames of a thread that stands still stay", "debug_threads.stop_epoch = debug_stops.stop_epoch)`", "FALSE)`"],
  ]),
  ...mutate("src/model/tokenText.ts", subject("tokens"), [
    ["a token has a checksum", "checksumOf(head) !== text.slice(-lengths.checksum)", "head === text"],
  ]),
  ...mutate("src/model/json.ts", json, [
    ["JSON restores safe kinds only", "if (unrestorable !== undefined) throw refused(unrestorable);", ""],
    ["text is bounded before it is parsed", "if (excess !== undefined) throw hostile(excess);", ""],
  ]),
  ...mutate("src/model/jsonText.ts", json, [
    ["keys with escapes are read as strings", "if (escapedKeys.length === 0) return parsed;", "return parsed;"],
  ]),

  // The path of a call
  ...mutate("src/recording.ts", subject("transactions"), [
    ["a transaction that is over records nothing", "if (closed)", "if (closed === undefined)"],
  ]),
  ...mutate("src/client.ts", client, [
    [
      "the steps of a call share one deadline",
      "leftMs = Math.max(0, endsAtMs - realTime.elapsed())",
      "leftMs = timeoutMs",
    ],
  ]),
  ...mutate("src/outgoing.ts", subject("logs"), [
    ["bytes are copied before they are sent", "wire[index] = new Uint8Array(value);", "wire[index] = value;"],
  ]),
  ...mutate("src/outgoing.ts", subject("retention: steps"), [
    ["a key stands for all steps of a call", "hashRequest(request)", "hashRequest(input)"],
  ]),
  ...mutate("src/pages.ts", subject("pages"), [
    [
      "all keeps the filters of a list",
      "nextInput = { ...(input as object), cursor: nextCursor }",
      "nextInput = { cursor: nextCursor }",
    ],
  ]),
  ...mutate("src/operations/feedRead.ts", subject("changes"), [
    ["a cursor after the newest change is refused", "if (after > newest)", "if (after < 0)"],
  ]),
  ...mutate("src/operations/logTimeline.ts", subject("log timeline"), [
    [
      "what is written at the beginning of a bucket is in it",
      "(times[split] as number) <= part.at",
      "(times[split] as number) < part.at",
    ],
    [
      "the first bucket has what was written before",
      "if (since === undefined) edges[0] =",
      "if (count < 0) edges[0] =",
    ],
    [
      "the last bucket ends with the log",
      "if (until === undefined) edges[times.length - 1]",
      "if (count < 0) edges[times.length - 1]",
    ],
    [
      "lines of a bucket are those that ended in it",
      "lines: end.start_line - line",
      "lines: end.start_line - line + 1",
    ],
    [
      "a position is of the chunk that begins a bucket",
      "high: part.start_offset, following: part,",
      "high: part.start_offset, following,",
    ],
    ["no more buckets than asked for", "<= count;", "<= count + 1;"],
  ]),
  ...mutate("src/operations/logStorage.ts", subject("log timeline"), [
    [
      "the times of an archived log are in its index",
      "if (block === undefined || block.times === null)",
      "if (block !== undefined)",
    ],
  ]),
  ...mutate("src/operations/logTimeline.ts", { tests: ["test/engines/logTimes.test.ts"], only: "on sqlite" }, [
    ["a pruned log has no buckets", 'state !== "pruned" && ', ""],
  ]),
  ...mutate("src/archive/timeMarks.ts", { tests: ["test/unit/archive/blockFormat.test.ts"] }, [
    ["the index has few times", "while (this.#marks.length > marksMax) {", "while (this.#marks.length < 0) {"],
    [
      "the first chunk of a span is marked",
      "<= this.#spanOf(last.at)) return;",
      "<= this.#spanOf(last.at) + 1) return;",
    ],
  ]),
  ...mutate("src/operations/logRead.ts", subject("logs"), [
    ["follow goes on with the next attempt", "while (read.page.ended && read.page.attempt > 0)", "while (false)"],
    ["a command that is queued again has not ended", "next === undefined && commandEnded", "next === undefined"],
    ["a call that waits names the attempt and the offset", "waitsForMore && isFixed ?", "waitsForMore ?"],
  ]),
  ...mutate("src/actor/queues.ts", mailbox, [
    [
      "the results of a client are bounded in a group",
      "resultsSoFar + entry.resultBytes > resultBytes",
      "resultsSoFar < 0",
    ],
  ]),
  ...mutate("src/iteration.ts", subject("pages"), [
    ["all ends when its signal fires", "if (signal?.aborted)", "if (signal === null)"],
  ]),
  ...mutate("src/iteration.ts", { ...client, only: "an iteration answers its calls in order" }, [
    ["calls of next are answered in their order", "await earlierAnswered;", ""],
  ]),
  ...mutate("src/iteration.ts", client, [
    ["an iteration that is left cancels the call that waits", "      aborter.abort();\n", ""],
    ["an iteration that is left answers the calls that wait", "left.resolve(undefined);", ""],
    ["a signal has no listener of an iteration that has ended", 'signal?.removeEventListener("abort", abort);', ""],
  ]),
  ...mutate("src/courier.ts", client, [
    ["a lost write has an unknown outcome", '? "not_run" : "unknown"', '? "not_run" : "not_run"'],
    ["a call that waits travels alone", "parcel.atomic || parcel.waits", "parcel.atomic"],
    ["a call that was given up is not sent", "if (parcel.settled) continue;", ""],
    ["a settled call frees its bytes", "this.#bytes -= parcel.bytes;", ""],
  ]),
  ...mutate("src/courier.ts", { ...client, only: "settles every call when the server is lost" }, [
    [
      "a lost backend fails what is in flight",
      'this.#fail(parcel, "closed", reason, lostOutcome(parcel))',
      "void parcel",
    ],
  ]),
  ...mutate("src/joining.ts", joining, [
    ["a call with its own deadline is not joined", "next.guarded || next.separate || run[0]?.guarded", "next.separate"],
  ]),
  ...mutate("src/joining.ts", subject("idempotency"), [
    ["a call with a key is not joined", "if (one?.[2] !== undefined || other?.[2] !== undefined) return false;", ""],
  ]),
  ...mutate("src/dispatch.ts", subject("transactions"), [
    [
      "reads of the feed share no transaction with a write",
      "((together || readsChanges) && writes) || (!reads && atOneMoment)",
      "!reads && atOneMoment",
    ],
  ]),
  ...mutate("src/dispatch.ts", dispatcher, [
    ["an undeclared code is a fault", "const fault = declared", "const fault = declared || call !== undefined"],
  ]),
  ...mutate("src/keyed.ts", subject("idempotency"), [
    [
      "a key that found nothing yet is free",
      "result instanceof NotYet || hasNextStep(call, result)",
      "hasNextStep(call, result)",
    ],
    ["an envelope with a key runs once", "if (this.#isStored && writes) return this.#replies[index];", ""],
  ]),
  ...mutate("src/sql.ts", dispatcher, [
    ["a missing yield* fails the body", "if (next.done) assertAllRan(this.#count);", ""],
  ]),

  ...mutate("src/operations/tokenState.ts", subject("tokens"), [
    [
      "an expired token gives up its name",
      "name_freed_at IS NULL AND expires_at <= ${now}`);",
      "name_freed_at IS NULL AND expires_at IS NULL`);",
    ],
    ["only an expired token gives up its name", "AND expires_at <= ${now}`);", "AND expires_at IS NOT NULL`);"],
  ]),

  // The database thread
  ...mutate("src/actor/mailbox.ts", mailbox, [
    [
      "topics touched while a group runs wake its calls",
      "this.#touchedTopics.add(topic).add(kindOf(topic))",
      "void topic",
    ],
    [
      "topics that were touched before a group began wake none of its calls",
      "else if (this.#running) for (const topic of topics)",
      "else for (const topic of topics)",
    ],
    ["a call in a group is not cancelled", 'if (entry.place === "group")', "if (entry.place === undefined)"],
    [
      "a call that was cancelled in its group is not parked",
      "if (entry.cancelled) {",
      "if (entry.cancelled === undefined) {",
    ],
    [
      "a call that was cancelled in its group does not run later",
      "for (const entry of entries) if (entry.cancelled) this.#answer",
      "for (const entry of entries) if (entry.cancelled === undefined) this.#answer",
    ],
    ["a call that was parked comes back in the normal lane", '      entry.lane = "normal";\n', ""],
    ["a closing mailbox parks nothing", "leftMs <= 0 || this.#closing ||", "leftMs <= 0 ||"],
    ["a client that has gone parks nothing", " || !this.#queues.has(client)", ""],
    ["reads behind a blocked write of their client wait", "if (writes(entry)) blocked.add(entry.client);", ""],
    [
      "calls keep their order when the lock is busy",
      "return group.filter((entry) => unrun.has(entry));",
      "return [...unrun];",
    ],
    ["a cancel of a call that has run sends its answer", "this.#outbox.sendWaiting(entry.envelope);", ""],
    [
      "a call that was given up before it began does not run",
      "isDropped: (index) => (group[index] as Entry).cancelled,",
      "",
    ],
  ]),
  ...mutate("src/actor/entry.ts", mailbox, [
    [
      "a call that is cancelled in the queue counts until its turn",
      'if (entry.place !== "queue") uncount(entry);',
      "uncount(entry);",
    ],
  ]),
  ...mutate("src/actor/admission.ts", mailbox, [
    ["an envelope id is used once at a time", "if (client.envelopes.has(id))", "if (client.envelopes.size < 0)"],
    ["nothing inside atomically waits", "envelope.isAtomic && call.waitMs > 0", "call.waitMs < 0"],
    ["an urgent call keeps its order on its entity", "client.ordinary.has(entity)", "false"],
  ]),
  ...mutate("src/actor/queues.ts", mailbox, [
    ["urgent calls leave the others their share", "urgent: 4,", "urgent: 4_000,"],
    ["background calls come last", "background: 1 }", "background: 100 }"],
    ["clients take turns by time", "  client.virtualMs += ms;\n", ""],
    ["an idle client saves up no time", "Math.max(client.virtualMs, this.#virtualMs)", "client.virtualMs"],
    ["a debt is not kept for long", "Math.min(Math.max(", "Math.max(Math.max("],
    ["a call that is put back can be cancelled", '    for (const entry of remaining) entry.place = "queue";\n', ""],
    ["a call that was given up is not put back", ".filter(({ done }) => !done)", ""],
    ["a cancelled call does not run", "while (queue.head?.done) uncount(queue.shift() as Entry);", ""],
  ]),
  ...mutate("src/actor/fifo.ts", mailbox, [
    [
      "what is put back keeps its place",
      "[...items, ...this.#items.slice(this.#head)]",
      "[...this.#items.slice(this.#head), ...items]",
    ],
  ]),
  ...mutate("src/actor/parking.ts", mailbox, [
    ["a call that is no longer parked counts no longer", "    entry.client.parked--;\n", ""],
  ]),
  ...mutate("src/actor/parking.ts", { ...mailbox, only: "a parked call whose time is up" }, [
    [
      "a parked call is answered when its time is up",
      "else this.#options.giveUp(entry, atTimeout);",
      "this.remove(entry);",
    ],
  ]),

  // Drivers
  ...mutate("src/actor/upkeep.ts", { tests: ["test/unit/actor/upkeep.test.ts"] }, [
    ["the steps of the upkeep take a small share of the time", "(tookMs * (100 -", "(0 * (100 -"],
    ["the upkeep waits while many calls wait", "if (isBusy()) {", "if (false) {"],
  ]),
  ...mutate("src/sqlite/freePages.ts", space("follows its content"), [
    ["a file gives its free pages back", "incremental_vacuum(1)", "freelist_count"],
    ["some free pages stay for the next writes", "Math.floor(free - kept)", "free"],
  ]),
  ...mutate("src/sqlite/walWatch.ts", space("log that nobody writes"), [
    ["a log that nobody writes is cut", "wal_checkpoint(TRUNCATE)", "wal_checkpoint(PASSIVE)"],
  ]),
  ...mutate("src/sqlite/walWatch.ts", space("event of a large log"), [
    ["a file whose log is kept does not shrink", "pendingBytes <= 2 * checkpointBytes;", "pendingBytes >= 0;"],
  ]),
  ...mutate("src/sqlite/walPins.ts", space("event of a large log"), [
    ["the lock of a reader names its process", "before.has(key)", "!before.has(key)"],
  ]),
  ...mutate("src/sqlite/compact.ts", space("without auto_vacuum"), [
    ["a compacted file shrinks by itself", 'db.pragma("auto_vacuum = INCREMENTAL");', ""],
  ]),
  ...mutate("src/sqlite/transaction.ts", sqliteDriver, [
    [
      "a write that may be committed never runs again",
      'reason.outcome === "unknown" && !isRead(job)',
      "reason === undefined",
    ],
    ["a call that fails after it wrote is undone", "if (effect.wrote && !effect.savepoints) return undoNeeded;", ""],
    ["a failed COMMIT may have committed", 'code === "storage_full" ? "rolled_back" : "unknown"', '"rolled_back"'],
  ]),
  ...mutate("src/sqlite/servers.ts", { tests: ["test/engines/sqlite/servers.test.ts"] }, [
    ["a server answers one that has come", "this.#mustAnswer ||= seen === undefined;", ""],
    ["servers that know each other write nothing", "this.#mustAnswer = false;", ""],
    ["a row without an answer goes away", "++seen.passes === patience", "false"],
  ]),
  ...mutate("src/sqlite/transaction.ts", { tests: ["test/system/faults/fileLost.test.ts"], only: "file is deleted" }, [
    [
      "reads of a group go on when its writes are refused",
      "refusal === undefined || isRead(job)",
      "refusal === undefined",
    ],
  ]),
  ...mutate("src/sqlite/openFile.ts", { tests: ["test/system/faults/fileLost.test.ts"] }, [
    ["a lost file stays lost", "if (this.#error !== undefined) return this.#error;", ""],
    ["the WAL belongs to the file", 'const suffixes = ["", "-wal", "-shm"]', 'const suffixes = [""]'],
  ]),
  ...mutate("src/sqlite/readOnly.ts", { tests: ["test/system/cli/readOnly.test.ts"], only: "only in a WAL" }, [
    ["a file is not read without the changes in its WAL", "if (sizeOf(`${path}-wal`) > 0)", "if (false)"],
  ]),
  ...mutate(
    "src/sqlite/space.ts",
    { tests: ["test/system/faults/inputOutput.test.ts"], only: "a limit of file sizes" },
    [["a limit of file sizes is met at the end of the file", "0, probeBytes, endBytes)", "0, probeBytes, 0)"]],
  ),
  ...mutate("src/sqlite/transaction.ts", dispatcher, [
    ["a read writes nothing", 'if (access === "read") throw', "if (access === undefined) throw"],
  ]),
  ...mutate("src/postgres/transaction.ts", postgresDriver, [
    ["a call that fails after it wrote is undone", "if (effect.wrote) throw new TransactionLost(failure, index);", ""],
    ["a read writes nothing", 'if (access === "read") throw', "if (access === undefined) throw"],
  ]),

  // Migrations and backups
  ...mutate("src/schema/statements.ts", { tests: ["test/unit/schema/statements.test.ts"] }, [
    ["a trigger is one statement", "inTrigger(current)", "false"],
  ]),
  ...mutate("src/schema/ledger.ts", migrator, [
    ["a newer schema is refused", "if (newer[0] !== undefined)", "if (newer[0] === null)"],
    ["an edited migration is noticed", "if (edited[0] !== undefined)", "if (edited[0] === null)"],
    [
      "a migration breaks no foreign key",
      "if (violations.length === 0) return;",
      "if (violations.length >= 0) return;",
    ],
  ]),
  ...mutate("src/migrate/upgrade.ts", migrator, [
    ["data is dropped only when asked", "if (losses.length > 0 && !allowDataLoss)", "if (losses.length < 0)"],
    ["down goes back, the last one first", "migrations.slice(to, from).toReversed()", "migrations.slice(to, from)"],
  ]),
  ...mutate("src/migrate/losses.ts", migrator, [
    ["a dropped column is a loss", "if (values > 0) losses.push", "if (values < 0) losses.push"],
  ]),
  ...mutate("src/sqlite/migrator.ts", migrator, [
    ["a failed migration leaves no backup", "for (const backup of backups) removeBackup(backup);", ";"],
    [
      "a failed migration is rolled back",
      'if (db.inTransaction) db.exec("ROLLBACK");',
      'if (db.inTransaction) db.exec("COMMIT");',
    ],
  ]),
  ...mutate("src/sqlite/verify.ts", { ...restore, only: "a damaged backup" }, [
    ["a backup has the hash of its manifest", "if (actual.sha256 !== sha256)", 'if (actual.sha256 === "")'],
  ]),
  ...mutate("src/files/privateFile.ts", backup, [
    [
      "a backup is readable by its owner only",
      "O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600",
      "O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644",
    ],
    ["a backup replaces no file", "linkSync(partial, path);", "renameSync(partial, path);"],
  ]),
  ...mutate("src/sqlite/integrity.ts", backup, [
    ["a damaged copy is refused", 'faults[0]?.integrity_check !== "ok"', "faults[0] === undefined"],
    ["a copy has the rows of its source", "if (rows !== count)", "if (rows === -1)"],
  ]),
  ...mutate("src/sqlite/restore.ts", { ...restore, only: "keeps the old one as a checked backup" }, [
    ["a restore keeps the old database", "if (keep) target", "if (keep === undefined) target"],
    ["a restore keeps the mode of the database", "(rightsOf(path) as Rights)", "{ ...ownerAbove(path), mode: 0o600 }"],
  ]),
  ...mutate("src/sqlite/restore.ts", { ...restore, only: "cannot be synced after the rename" }, [
    [
      "a restore that is not synced says so",
      "if (unsynced !== undefined) throw unsyncedError(unsynced, path, kept);",
      "",
    ],
  ]),
  ...mutate("src/sqlite/pruneBackups.ts", { tests: ["test/system/backup/prune.test.ts"] }, [
    ["pruning keeps the newest whole backup", "path !== keeper && isPast(", "isPast("],
    ["a backup in use is not removed", 'db.exec("BEGIN EXCLUSIVE");', ";"],
    ["a file that lies about its store is not removed", "if (storeIdOf(db) !== storeId)", 'if (storeId === "")'],
    ["the rest of a killed removal is found", "`${path}.${createWriterTag()}.partial`", "`${path}.gone`"],
  ]),
  ...mutate("src/schema/manifest.ts", { tests: ["test/system/backup/prune.test.ts"] }, [
    ["backups of other databases are not pruned", "&& manifest.source === source", ""],
  ]),
  ...mutate("src/sqlite/revocations.ts", { tests: ["test/system/backup/revocations.test.ts"] }, [
    ["a restore revives no token", "if (!keep || revocations.length === 0)", "if (revocations.length >= 0)"],
    [
      "a token that replaced another one is kept",
      'if (op === "rotate") addSuccessors',
      'if (op === "disable") addSuccessors',
    ],
  ]),
  ...mutate("src/sqlite/restore.ts", { ...restore, only: "the WAL of a database that is gone" }, [
    ["a stray WAL is not read into a restored file", '["-wal", "-shm", "-journal"]) rmSync', "[] as string[]) rmSync"],
  ]),

  // Starting threads, and reading migrations
  ...mutate("src/threadOptions.ts", { tests: ["test/system/programText.test.ts"] }, [
    ["a thread keeps what loads modules", "if (!loading.has(name)) continue;", "continue;"],
    ["NODE_OPTIONS counts too", "if (textLeft === text && ", "if ("],
  ]),
  ...mutate("src/schema/migrationFiles.ts", { tests: ["test/unit/schema/migrationFiles.test.ts"] }, [
    ["line ends do not change a migration", '.replaceAll("\\r\\n", "\\n")', ""],
  ]),
  ...mutate("src/testing/stub.ts", { tests: ["test/unit/testing/stubAgainstStore.test.ts"] }, [
    ["a closed stub takes no calls", "closed = true;", ""],
    ["a stub refuses what cannot be sent", "refuseUnsendable(sentName,", "((..._: unknown[]) => {})(sentName,"],
  ]),
  ...mutate("src/recording.ts", { tests: ["test/unit/testing/stubAgainstStore.test.ts"] }, [
    ["a transaction does not wait", "if (waitMsOf(call) > 0)", "if (waitMsOf(call) < 0)"],
    ["a function that records is not async", 'typeof returned?.then !== "function"', "returned !== null"],
  ]),
  ...mutate("src/model/json.ts", { tests: ["test/unit/model/realms.test.ts"] }, [
    ["objects of another realm are stored whole", "recognized ? value : recognizable(value)", "value"],
    [
      "a Date of another realm is one",
      "if (types.isDate(value)) return !Number",
      "if (value instanceof Date) return !Number",
    ],
  ]),
  ...mutate("src/model/debugCaps.ts", { tests: ["test/unit/model/realms.test.ts"] }, [
    ["what a Map holds counts in the size of a body", "JSON.stringify(whole, spelledOut)", "JSON.stringify(whole)"],
  ]),
  ...mutate("src/actor/mailbox.ts", { ...subject("test clock") }, [
    ["a move of the test clock wakes calls that wait", "this.#parking.wakeAll();", "undefined"],
    [
      "a call waits by the clock of the store",
      "entry.parkUntilMs - clock.elapsed()",
      "entry.parkUntilMs - realTime.elapsed()",
    ],
  ]),

  // A WAL that has grown large
  ...mutate("src/sqlite/walWatch.ts", { tests: ["test/system/faults/wal.test.ts"] }, [
    ["a pinned log is told once", "++pinnedPasses === 2", "++pinnedPasses >= 2"],
    ["the log is watched again", "this.#running = undefined;", ""],
    ["the log is cut again", "this.#db.pragma(`journal_size_limit = ${Math.max(", "String(`${Math.max("],
  ]),
  ...mutate("src/sqlite/walCheckpoint.ts", { tests: ["test/system/faults/wal.test.ts"] }, [
    ["another thread copies the log", 'db.pragma("wal_checkpoint(PASSIVE)");', ""],
  ]),
  ...mutate("src/operations/usage.ts", subject("usage"), [
    ["memory is a maximum", "Math.max(memory, memoryBytes ?? 0)", "memory + (memoryBytes ?? 0)"],
    ["the sums of a transaction are added", "commands + 1,", "1,"],
    ["old days go", "sql`day < ${before}`", "sql`day > ${before}`"],
  ]),
  ...mutate("src/operations/commands.ts", subject("usage"), [
    ["what was reported is summed", "if (input.usage !== undefined) noteUse(", "if (input.usage === null) noteUse("],
  ]),
  // Tables of others in the same database
  ...mutate("src/migrate/differences.ts", othersTables, [
    ["tables of others are no drift", "actual.filter((object) => ours.has(object.of))", "actual"],
    ["an index of others on our table is drift", "ours.has(object.of)", "ours.has(object.name)"],
  ]),
  ...mutate("src/schema/ledger.ts", othersTables, [
    [
      "keys between tables of others are their own",
      "ours.includes(child) || (countsOthers &&",
      "true || (countsOthers &&",
    ],
    ["keys of others to our rows hold", "(countsOthers && ours.includes(parent))", "(countsOthers && ours.length < 0)"],
  ]),
  // Times that move with the clock
  ...mutate(
    "src/operations/serving.ts",
    { tests: ["test/conformance/actor.test.ts"], only: "set ahead|very many keys" },
    [
      ["what remains is what remained", "if (aheadByMs > 0) yield* moveAhead", "if (aheadByMs < 0) yield* moveAhead"],
      ["a new server knows of the jump", "if (uptime === undefined || start !== uptime.start)", "if (uptime !== null)"],
      ["few keys move with the clock", "LIMIT 1 OFFSET ${count}", "LIMIT 1 OFFSET 1000"],
      [
        "a server records the machine's time",
        "if (inserted > 0) yield* change(setMeta",
        "if (inserted < 0) yield* change(setMeta",
      ],
    ],
  ),
  // Rows that somebody holds on PostgreSQL
  ...mutate("src/operations/commands.ts", heldRows, [
    ["a locked session is not an absent one", "if (session instanceof Held) return session;", ""],
  ]),
  ...mutate("src/operations/reservation.ts", heldRows, [
    [
      "a locked worktree is not an absent one",
      "return held && (yield* bestWorktree(search, forUpdate));",
      "return undefined;",
    ],
  ]),
  ...mutate("src/postgres/session.ts", { tests: ["test/engines/postgres/schemas.test.ts"] }, [
    ["a store is found in the whole search path", "schema.name ?? ours ?? current", "schema.name ?? current"],
  ]),
  ...mutate("src/postgres/session.ts", { tests: ["test/engines/postgres/settings.test.ts"] }, [
    ["bytes are read as they were written", `bytea_output: "'hex'",`, ""],
    ["hidden rows are an error", 'row_security: "off",', ""],
  ]),
  ...mutate(
    "src/postgres/connection.ts",
    { tests: ["test/engines/postgres/failover.test.ts"], only: "connections that" },
    [
      [
        "nobody stays at a server that does not write",
        "> retryDelayMsMax) this.drop(client);",
        "< 0) this.drop(client);",
      ],
    ],
  ),
  ...mutate("src/postgres/pooler.ts", { tests: ["test/engines/postgres/pooler.test.ts"] }, [
    ["a pooler keeps sessions together", "if (isKept) return;", "return;"],
  ]),
  ...mutate("src/actor/writeProbe.ts", { tests: ["test/engines/postgres/lasting.test.ts"], only: "a right that" }, [
    ["a write says nothing about other tables", "if (failed === undefined && this.#lasts) return;", ""],
  ]),
  ...mutate("src/actor/mailbox.ts", { tests: ["test/engines/postgres/clockJumps.test.ts"] }, [
    ["a time that jumped reaches no body", "(isFollowed ? { mayBegin:", "(isFollowed && false ? { mayBegin:"],
  ]),
  ...mutate("src/postgres/transaction.ts", heldRows, [
    ["a call is answered when it has committed", "const settle = hooks.onPart ?? (", "const settle = ("],
    [
      "a held turn to commit says that the store is busy",
      "if (isLockTimeout(error)) throw",
      "if (error === null) throw",
    ],
  ]),
  ...mutate("src/actor/writeFailure.ts", heldRows, [
    ["a held row says nothing about the store", 'return outcome === "unknown" ||', "return true ||"],
  ]),
  ...mutate("src/actor/mailbox.ts", heldRows, [
    ["nothing is written before the clock is followed", ' || code === "deadline_exceeded") throw', ") throw"],
  ]),
  ...mutate("src/courier.ts", { tests: ["test/unit/testing/fakeTimers.test.ts"], only: "installed before or after" }, [
    ["a call that waits is sent at once", "if (parcel.waits) this.#flush();\n      else if", "if"],
  ]),
  ...mutate("src/operations/fsck/check.ts", subject("fsck"), [
    [
      "a step goes on where the one before has ended",
      "findingsMax ? undefined : found.at(-1)",
      "findingsMax ? found.at(-1) : undefined",
    ],
    ["a place is one of the walk", "value.length === start.length &&", ""],
  ]),
  ...mutate("src/operations/fsck/recordChecks.ts", checkOfFile, [
    [
      "a counter that differs from its rows is found",
      "broken: sql`stored <> counted`",
      "broken: sql`stored < counted`",
    ],
  ]),
  ...mutate("src/operations/fsck/logChecks.ts", checkOfFile, [
    ["a log may lack its middle", "AND NOT (${followsHole} AND start_offset > ${endBefore})`", "`"],
  ]),
  ...mutate("src/operations/fsck/sessionChecks.ts", checkOfFile, [
    [
      "a session that is being deleted still counts what is gone",
      "(ended_at IS NULL OR next_sequence = 1 OR EXISTS",
      "(TRUE OR EXISTS",
    ],
    ["a session is ready from no later time than its first command", " OR ready_at > ${headCountsFrom}", ""],
  ]),
  ...mutate("src/operations/fsck/repair.ts", checkOfFile, [
    ["a repair is a change of the row", "version = version + 1,", "version = version,"],
  ]),
  ...mutate("src/remote/outbox.ts", { tests: ["test/system/remote/exchange.test.ts"] }, [
    ["a call that was sent is not taken back", "requests === 0 && cancel === undefined &&", "cancel === undefined &&"],
    ["messages are confirmed by their numbers", "this.#queue.splice(0, count);", "this.#queue.splice(0);"],
  ]),
  ...mutate("src/remote/openEnvelope.ts", { tests: ["test/system/remote/exchange.test.ts"] }, [
    ["a read that is lost has not run", "this.#sent.has(slot) && !isRead(slot)", "this.#sent.has(slot)"],
  ]),
  ...mutate("src/remote/repeatable.ts", { tests: ["test/system/remote/faults.test.ts"] }, [
    ["a write gets a key", "!isHarmless(name, input) &&", "false &&"],
  ]),
  ...mutate("src/http/remoteSession.ts", { tests: ["test/unit/http/remoteSession.test.ts"] }, [
    ["a message that is sent again runs once", "messages.slice(this.#nextMessage - first)", "messages"],
    ["a large reply is split", "running.isAtomic ? [reply] : partsOf(reply)", "[reply]"],
    ["answers that the client has are forgotten", "number > heard", "number > 0"],
    ["a client that reads nothing loses its session", "this.keptBytes > keptBytesMax", "false"],
    ["a server that ends takes no more", 'if (this.#options.closing?.aborted) return ["over", "ending"];', ""],
  ]),
  ...mutate("src/http/remoteSession.ts", { tests: ["test/system/remote/exchange.test.ts"] }, [
    ["a wait that the server has ended is asked for again", "!running.isCancelled && isAborted(unpacked)", "false"],
    ["a token is verified while its client listens", "onBeat();", ""],
  ]),
  ...mutate("src/http/access.ts", { tests: ["test/system/http/openapi.test.ts"] }, [
    ["a secret is in no URL", 'access === "read" && !hasSecret', 'access === "read"'],
  ]),
  ...mutate("src/http/identity.ts", { tests: ["test/system/http/storeHandler.test.ts"] }, [
    ["a token is made under its own authority", "return { ...own(field, tokenId), ", "return { ...input, "],
    ["another token is rotated by an admin alone", "!isAdmin && input[field] !== tokenId", "false"],
    ["a scope is needed", "if (!covers(scopes, needed)) throw", "if (!covers(scopes, needed) && false) throw"],
    ["a field needs its scope too", "field !== undefined && !covers(scopes, scope)", "false"],
    ["a token that was valid once is no guess", "if (!wereValid.includes(result.code)) wrong.add", "wrong.add"],
    ["what a client writes into X-Forwarded-For is not read", "forwarded.at(-proxies)", "forwarded.at(0)"],
  ]),
  ...mutate("src/http/artifactUpload.ts", { tests: ["test/system/http/artifacts.test.ts"] }, [
    ["an upload has the hash that was announced", "sha256 !== undefined && content.sha256 !== sha256", "false"],
    [
      "the lifetime of an upload is that of its artifact",
      "...present({ ttlMs }) }, present({ actor",
      "}, present({ actor",
    ],
    ["the rest of a body that is not needed is read", "for await (const _ of pieces);", ";"],
    [
      "an upload that was cut is announced again",
      "callOptions: { idempotencyKey: _, tokenId: __, ...callOptions }",
      "callOptions",
    ],
    ["a part of a killed server is removed", "found.mtimeMs > partMs", "found.mtimeMs > partMs * 9"],
    ["nothing of a body that has ended early stays", "await rm(part, { force: true });\n    if (known", "if (known"],
  ]),
  ...mutate("src/http/artifactContent.ts", { tests: ["test/system/http/artifacts.test.ts"] }, [
    ["what is no file has none", "if (stats.isFile()) return", "return"],
    [
      "a file that has become shorter is no whole one",
      "if (bytesRead === 0) throw new Error",
      "if (false) throw new Error",
    ],
  ]),
  ...mutate(
    "src/http/artifactUpload.ts",
    { tests: ["test/system/http/serveStore.test.ts"], only: "before it sends a body" },
    [["a body that was not sent is not waited for", "if (!awaitsContinue || request.bodyUsed) for await", "for await"]],
  ),
  ...mutate("src/http/page.ts", { tests: ["test/system/page/files.test.ts"] }, [
    ["the policy of the page refuses what it does not name", `    "default-src 'none'",\n`, ""],
    ["a tag names one form of the bytes", `isZipped ? file.etag.replace(/"$/, '-gz"') : file.etag`, "file.etag"],
    ["who refuses gzip gets the bytes as they are", "(?!\\s*;\\s*q=0(?:\\.0*)?\\s*(?:,|$))", ""],
  ]),
  ...mutate("src/page/ansi.ts", { tests: ["test/unit/page/logText.test.ts"] }, [
    ["characters that reverse text are shown as marks", 'text.replace(directions, "\\ufffd")', "text"],
    ["control strings hide no text from a search", "strings.test(lines) || ", ""],
  ]),
  ...mutate("src/page/logText.ts", { tests: ["test/unit/page/logText.test.ts"] }, [
    ["a long line is cut between characters", "return cut === from && isWholeLine ? at : cut;", "return at;"],
    ["a source does not go on in a line of another one", "if (source !== this.#source) this.#isOpen = false;", ""],
    ["a color outlasts its line", "style = piecesOf(this.line(before), style).end;", "style = {};"],
  ]),
  ...mutate("src/runner/access.ts", { tests: ["test/system/remote/runner.test.ts"] }, [
    ["a runner begins with its scopes alone", "if (lacked.length > 0) throw", "if (lacked.length > 9) throw"],
  ]),
  ...mutate("src/http/metricsHandler.ts", { tests: ["test/system/http/metrics.test.ts"] }, [
    ["metrics need their scope", "if (!covers((await identityOf()).scopes, metricsScope))", "if (false)"],
  ]),
  ...mutate("src/http/remoteSession.ts", { tests: ["test/system/http/metrics.test.ts"], only: "remote stores" }, [
    [
      "a client cannot make up names that are counted",
      'typeof name === "string" && Object.hasOwn(operationScopes, name)',
      "true",
    ],
    ["the calls of an atomic envelope are one", 'isAtomic ? (["atomically"] as const) : calls', "calls"],
  ]),
  ...mutate("src/http/cached.ts", metrics, [
    ["requests share an answer that is on its way", "if (current === undefined) {", "{"],
  ]),
  ...mutate("src/http/callMeter.ts", metrics, [["the end of a stream is counted once", "if (!isOpen) return;", ""]]),
  ...mutate("src/http/metrics.ts", metrics, [
    ["a failure that is a bug is not hidden", "if (!(error instanceof StoreError)) throw error;", "void error;"],
  ]),
  ...mutate("src/http/exposition.ts", metrics, [
    ["a bucket counts those below it too", "count += inPart;", "count = inPart;"],
  ]),
  ...mutate("src/model/distributions.ts", { tests: ["test/unit/actor/figures.test.ts"] }, [
    [
      "a value at a bound is within it",
      "value > (this.#upTo[part] as number)",
      "value >= (this.#upTo[part] as number)",
    ],
    ["what was given away does not change", "counts: [...this.#counts]", "counts: this.#counts"],
  ]),
  ...mutate("src/dispatch.ts", subject("maintenance"), [
    ["a group that runs again counts once", "    this.measured = undefined;\n    this.moved = undefined;\n", ""],
  ]),
  ...mutate("src/http/wrongTokens.ts", { tests: ["test/system/http/storeHandler.test.ts"] }, [
    ["wrong tokens are bounded", "if (from.count >= this.#max) throw", "if (false) throw"],
    ["what wrong tokens cost the store is bounded", "if (from.waiting >= waitingMax) throw", "if (false) throw"],
    ["wrong tokens that come at once are bounded", "if (from.running < this.#max) break;", "break;"],
  ]),
  ...mutate("src/runner/execution.ts", { tests: ["test/system/runner/startRunner.test.ts"] }, [
    ["a hook that was not waited for spoils the worktree", 'distrust("broken");', 'distrust("dirty");'],
    ["a failure of a hook keeps the exit code", '{ ...result, outcome: "failed", reason: failure }', "result"],
    ["a command whose worktree is lost is given back", "if (isLost) return { giveBack: worktreeLostReason };", ""],
    [
      "the reason to stop is that of the program's end",
      "if (this.#stopReason !== undefined) return stoppedEnding(result, this.#stopReason);",
      "if (signal.aborted) return stoppedEnding(result, signal.reason as StopReason);",
    ],
  ]),
  ...mutate("src/runner/callHook.ts", { tests: ["test/unit/runner/callHook.test.ts"] }, [
    ["a hook has time after its signal", "timer ??= realTime.setTimeout(() => ", "void (() => "],
    ["a lost lease ends the wait for a hook", "listen(lost, onLost);", "void onLost;"],
  ]),
  ...mutate("src/runner/process/stopping.ts", { tests: ["test/system/runner/runCommand.test.ts"] }, [
    ["a lost lease kills at once", 'reason === "lost" ? this.#lose() : this.stop()', "this.stop()"],
    ["a lost lease kills also what was asked to end", "this.#on(lost, () => this.#lose());", "void lost;"],
    ["children have the time of grace", "while (realTime.elapsed() < (this.#killAtMs ?? 0) &&", "while (false &&"],
  ]),
  ...mutate("src/runner/process/output.ts", { tests: ["test/system/runner/runCommand.test.ts"] }, [
    ["the rest of a stream is bounded", "if (this.#bytesLeft <= 0) return;", ""],
    ["output waits until it is taken", "await take(data as Uint8Array);", "void take(data as Uint8Array);"],
  ]),
  ...mutate("src/runner/process/guardian.ts", { tests: ["test/system/runner/guard.test.ts"] }, [
    ["the guardian kills when its input ends", 'slay "\\${group%%:*}"', 'true "\\${group%%:*}"'],
    ["the guardian kills what is overdue", 'forget "$pid"; slay "$pid"', 'forget "$pid"; true "$pid"'],
    ["the guardian ignores SIGTERM", "trap '' HUP INT TERM", "true"],
  ]),
  ...mutate("src/runner/logs/logWriter.ts", { tests: ["test/unit/runner/logWriter.test.ts"] }, [
    ["a gap that stays is a failure", "followsStored ? undefined : 0", "0"],
    [
      "bytes of an unknown outcome are sent again",
      '!error.retryable && error.outcome !== "unknown"',
      "!error.retryable",
    ],
    ["everything after a failure is sent again", "this.#pending.rewind();", ""],
  ]),
  ...mutate("src/runner/logs/masking.ts", { tests: ["test/unit/runner/masking.test.ts"] }, [
    [
      "the beginning of a secret is held back",
      "holds ? this.#openFrom(bytes, 0) : bytes.byteLength",
      "bytes.byteLength",
    ],
    [
      "the longest of several secrets is replaced",
      "right.byteLength - left.byteLength",
      "left.byteLength - right.byteLength",
    ],
  ]),
  ...mutate("src/runner/debuggers/node/bridge.ts", { tests: ["test/system/runner/debuggers/nodeDebugger.test.ts"] }, [
    ["a stop is known before the program goes on", "this.#paused !== undefined) await", "false) await"],
    ["a program that a client lets go on is not reported to go on again", "this.#silentResumptions++;", ""],
  ]),
  ...mutate("src/runner/debuggers/node/workers.ts", { tests: ["test/system/runner/debuggers/nodeDebugger.test.ts"] }, [
    ["workers run", 'await worker.send("Runtime.runIfWaitingForDebugger");', ""],
    ["a worker that has ended is no thread", "void worker.closed.then(", "void Promise.race([]).then("],
  ]),
  ...mutate("src/runner/debuggers/dap/connection.ts", { tests: ["test/system/runner/debuggers/dapDebugger.test.ts"] }, [
    ["requests of a debug adapter are refused", "return this.#refuse(message);", "return;"],
    [
      "an answer comes before the events after it",
      "await new Promise<void>((resolve) => realTime.setImmediate(() => resolve()));",
      "",
    ],
  ]),
  ...mutate("src/runner/debuggers/dap/bridge.ts", { tests: ["test/system/runner/debuggers/dapDebugger.test.ts"] }, [
    ["a stop is known before it is left", 'if (moves || command === "stackTrace") await', "if (false) await"],
    ["a stop is known before the program goes on", 'if (state === "running") await', "if (false) await"],
    ["an adapter is asked for what it knows", "if (lacked !== undefined) return refusal", "if (false) return refusal"],
  ]),

  // Git and artifacts of the runner
  ...mutate("src/runner/git/removeTree.ts", checkouts, [
    ["a tree is removed only under its lease", "requireHeld(run);", ""],
    ["leftovers alone are removed", "if (removing.test(name)) await", "await"],
  ]),
  ...mutate("src/runner/git/git.ts", checkouts, [
    ["git is guarded", "...present({ guard, holdings })", "...present({ holdings })"],
    ["a lease that has run out counts as lost", " || holding.remainingMs() === 0", ""],
  ]),
  ...mutate("src/runner/git/scrub.ts", checkouts, [
    [
      "a scrub leaves no settings of the last commands",
      "if (!lasting.includes(name))",
      "if (name.startsWith(lasting[0] as string))",
    ],
    [
      "a scrub writes files that git was told to overlook",
      "if (tracked.hidesChanges) {",
      "if (tracked.hidesChanges && false) {",
    ],
    [
      "a scrub removes repositories among tracked files",
      "for (const nested of await nestedRepositories(path, tracked)) await remove(nested);",
      "",
    ],
    ["a scrub empties submodules", "await remove(join(path, module));", ""],
    ["a scrub removes nested repositories", '"-ffdx"', '"-fdx"'],
    [
      "a scrub moves no branch",
      '"checkout", "--quiet", "--force", "--detach", commitSha',
      '"reset", "--quiet", "--hard", commitSha',
    ],
  ]),
  ...mutate("src/runner/git/checkout.ts", checkouts, [
    ["no link leads a removal out of the root", "if (!isBelow(await realParent(root), real))", "if (real === root)"],
    [
      "the repository is never removed",
      "if (repository === real || isBelow(real, repository))",
      "if (repository === real)",
    ],
    [
      "a lock that was left behind stops nothing",
      'await removeAside(join(parts.ownDir, "index.lock"), parts.path, run);',
      "",
    ],
    ["hidden changes are no clean worktree", "!tracked.hidesChanges && ", ""],
    ["a worktree that is not scrubbed keeps ignored files", "if (needsScrub) await scrub", "if (true) await scrub"],
  ]),
  ...mutate("src/runner/git/worktreeParts.ts", checkouts, [
    [
      "a link is believed only if it leads into this repository",
      'if (dirname(ownDir) !== (await realpath(join(gitDir, "worktrees")))) return undefined;',
      "",
    ],
    ["a worktree that was being made is none", "!isLinked || (await isBeingMade(ownDir))", "!isLinked"],
  ]),
  ...mutate("src/runner/git/git.ts", checkouts, [
    ["no hook runs", '"core.hooksPath": "/dev/null",', ""],
    ["no monitor of files runs", '"core.fsmonitor": "false",', ""],
    ["a git that sees another at work tries again", "attempt >= attemptsMax ||", "attempt >= 1 ||"],
  ]),
  ...mutate("src/runner/git/git.ts", mirrors, [
    ["a fetch that sees another git at work tries again", "|bad object worktrees\\/.*\\/HEAD", ""],
    ["messages have no credentials", "super(maskUrls(reason));", "super(reason);"],
  ]),
  ...mutate("src/runner/git/repository.ts", mirrors, [
    ["a commit that is fetched is kept", "[`+${commitSha}:${kept}`]", "[commitSha]"],
    ["a server that gives no commit by its id is asked for its branches", "if (isNotAdvertised(error))", "if (false)"],
  ]),
  ...mutate("src/runner/git/patch.ts", patches, [
    [
      "a patch is the one that the session names",
      "expected !== undefined && actual !== expected",
      "expected === undefined",
    ],
    ["a patch has a bound", "if (bytes > bytesMax)", "if (bytes === -1)"],
  ]),
  ...mutate("src/runner/artifacts/selectFiles.ts", runnerArtifacts, [
    ["no link leads to an artifact", "if ((await realpath(dirname(path))) !== dirname(path))", "if (path === folder)"],
    ["only regular files are artifacts", "else if (!found.isFile())", "else if (found.isFIFO())"],
    [
      "a file that changed is noticed, whatever its time says",
      "return [dev, ino, size, mtimeNs, ctimeNs];",
      "return [dev, ino, size, mtimeNs];",
    ],
  ]),
  ...mutate("src/runner/artifacts/sink.ts", runnerArtifacts, [
    ["a sink stores what was announced", 'if (hash.digest("hex") !== sha256)', "if (hash === undefined)"],
    ["artifacts are private", '"wx", 0o600', '"wx", 0o644'],
  ]),
  ...mutate("src/runner/artifacts/collectArtifacts.ts", runnerArtifacts, [
    [
      "a file that the store may know of is left to its collector",
      "uri === undefined || ended?.uri !== null",
      "uri === undefined",
    ],
  ]),
];
