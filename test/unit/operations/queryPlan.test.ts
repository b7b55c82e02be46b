// No statement of a hot operation reads a table from end to end, or sorts: the statements that operations really prepare, explained on the
// real schema.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import Database from "better-sqlite3";
import { newId } from "../../../src/index.ts";
import { operations } from "../../../src/operations/table.ts";
import { fixtures, openTestStore, testClock } from "../../../src/testing/index.ts";
import { memoryDatabase } from "../../support/memoryDriver.ts";

/** Each statement with the operations that ran when it was first prepared. */
const statements = new Map<string, string>();
const called = new Set<string>();

/** Operations that claim no bound: people ask for figures of the whole store. */
const cold = ["maintenance.stats"];

/** Statements that may sort, because what they sort is short. */
const sortsFew: readonly RegExp[] = [
  // The sessions whose trees one runner leases.
  /FROM worktrees JOIN sessions .* WHERE worktrees\.lease_runner_id = \?/s,
];

function explain(db: Database.Database, text: string): string[] {
  const values = (text.match(/\?/g) ?? []).map(() => null);
  return (db.prepare(`EXPLAIN QUERY PLAN ${text}`).all(values) as { detail: string }[]).map(({ detail }) => detail);
}

/**
 * SQLite skips the scan of children that an INSERT into a parent table plans, unless the transaction has broken a
 * foreign key so far. It cannot have: none is deferred. https://www.sqlite.org/opcode.html#FkIfZero
 */
const skipped = (step: string, text: string) =>
  /^\s*INSERT INTO \w+ \([^)]*\)\s+VALUES/.test(text) && /^SCAN \w+$/.test(step);

/** A walk along an index is meant where it stops by itself: the order is the index's, and a LIMIT ends it. */
function faultOf(step: string, text: string): string | undefined {
  if (/^USE TEMP B-TREE/.test(step)) return sortsFew.some((few) => few.test(text)) ? undefined : step;
  if (!/^SCAN /.test(step) || skipped(step, text) || /^SCAN (\d+ )?CONSTANT ROW/.test(step)) return undefined;
  // A table's own order is that of an index too: its INTEGER PRIMARY KEY.
  const ordered = /ORDER BY seq /.test(text) || /USING (COVERING )?INDEX/.test(step);
  return ordered && /LIMIT/.test(text) ? undefined : step;
}

/** Every operation once or more, so that each of its statements is prepared. */
async function exercise(): Promise<void> {
  const clock = testClock();
  const original = Database.prototype.prepare;
  let current = "open";
  Database.prototype.prepare = function (this: Database.Database, text: string) {
    if (current !== "open" && !statements.has(text)) statements.set(text, current);
    return original.call(this, text);
  } as typeof original;
  try {
    const plain = await openTestStore({ clock, limits: { logBytes: 262_144 } });
    // Names what runs; calls are made one after the other.
    const store = new Proxy(plain, {
      get: (target, entity: keyof typeof operations) =>
        !(entity in operations)
          ? Reflect.get(target, entity)
          : new Proxy(target[entity], {
              get: (verbs, verb: string) => {
                current = `${entity}.${verb}`;
                called.add(current);
                return Reflect.get(verbs, verb);
              },
            }),
    });
    const given = fixtures(store);
    const commitSha = given.commitSha;
    const argv = ["a"];
    const { repository } = await given.repository({ settings: { a: 1 } });
    const repositoryId = repository.id;
    await store.repositories.upsert({ name: repository.name, description: "d", defaultBranch: "b", maxWorktrees: 3 });
    await store.repositories.find({ name: repository.name });
    for (const call of [
      store.worktrees.get({ worktreeId: repositoryId }),
      store.sessions.get({ sessionId: repositoryId }),
      store.commands.get({ commandId: repositoryId }),
    ]) {
      await call.catch(() => undefined);
    }
    const { runner } = await given.runner();
    const runnerId = runner.id;

    const registered = await store.worktrees.register({ repositoryId, path: "/registered", clean: true });
    const { session } = await given.session({
      repositoryId,
      idleTtlMs: 5_000,
      reserve: { runnerId, environmentHash: "e" },
      commands: [{ argv, maxAttempts: 2 }, { argv }],
    });
    const held = { worktreeId: registered.id, fence: session.worktreeFence as number };
    await store.worktrees.renew(held);
    await store.worktrees.update({ ...held, sizeBytes: 1 });
    const claim = await store.commands.claim({ runnerId });
    assert.equal(claim?.session.id, session.id);
    const log = { commandId: claim?.command.id as string, fence: claim?.fence as number };
    await store.runners.heartbeat({
      runnerId,
      worktrees: [{ id: held.worktreeId, fence: held.fence }],
      commands: [{ id: log.commandId, fence: log.fence }],
    });
    for (let n = 0; n < 20; n++)
      await store.logs.append({ ...log, offset: n * 16_384, data: new Uint8Array(16_384).fill(n === 3 ? 10 : 65) });
    for (const position of [{}, { offset: 5 }, { line: 1 }, { lastLines: 1 }, { attempt: 1 }])
      await store.logs.read({ commandId: log.commandId, ...position });
    await store.commands.wait({ commandId: log.commandId, timeoutMs: 1 }).catch(() => undefined);
    const following = store.logs.follow({ commandId: log.commandId });
    await following.next();
    await following.return();
    clock.advance(60_001);
    await store.maintenance.reap();
    const { claim: second } = await given.claim();
    await store.commands.cancel({ commandId: second.command.id });
    await store.commands.finish({ commandId: second.command.id, fence: second.fence, outcome: "cancelled" });
    const { command } = await given.command();
    await store.commands.cancel({ commandId: command.id });
    await store.commands.enqueue({ sessionId: second.session.id, commands: [{ argv }] });

    const leased = await given.lease({ repositoryId });
    await store.worktrees.quarantine({ worktreeId: leased.worktree.id, fence: leased.fence });
    await store.worktrees.restore({ worktreeId: leased.worktree.id });
    const evicted = await store.worktrees.evict({ repositoryId, owner: "o" });
    await store.worktrees.completeEvict({ worktreeId: evicted?.id as string, fence: evicted?.fence as number });
    const { worktree: idle } = await given.worktree();
    await store.worktrees.evict({ repositoryId: idle.repositoryId, worktreeId: idle.id, owner: "o" });
    const { repository: full } = await given.repository({ maxWorktrees: 1 });
    await store.worktrees.reserve({ repositoryId: full.id, owner: "o", ttlMs: 1_000 });
    await store.worktrees
      .reserve({ repositoryId: full.id, owner: "o", commitSha, environmentHash: "e" })
      .catch(() => undefined);

    const { session: other } = await given.session();
    await store.worktrees.reserve({ repositoryId: other.repositoryId, sessionId: other.id, owner: "o", ttlMs: 1_000 });
    clock.advance(1_001);
    await store.worktrees.reserve({ repositoryId: other.repositoryId, sessionId: other.id, owner: "o" });
    await store.sessions.touch({ sessionId: other.id, start: true });
    await store.sessions.wait({ sessionId: other.id, timeoutMs: 1 }).catch(() => undefined);
    await store.sessions.complete({ sessionId: other.id });
    const { session: third } = await given.session();
    await store.sessions.cancel({ sessionId: third.id });
    clock.jump(3_600_000);
    await store.maintenance.reap();
    clock.advance(7_200_000);
    await store.maintenance.reap();

    for (const filter of [
      {},
      { entity: "session" },
      { sessionId: session.id },
      { entity: "session", sessionId: session.id },
    ])
      await store.changes.since(filter);
    const watching = store.changes.watch();
    await watching.next();
    await watching.return();
    const cursor = `1_${newId()}`;
    for (const page of [{}, { cursor }]) {
      await store.repositories.list(page);
      await store.repositories.list({ includeArchived: true, ...page });
      for (const filter of [{}, { state: "online" as const }]) await store.runners.list({ ...filter, ...page });
      for (const filter of [
        {},
        { repositoryId },
        { state: "idle" as const },
        { repositoryId, state: "idle" as const },
      ]) {
        await store.worktrees.list({ ...filter, ...page });
      }
      for (const filter of [
        {},
        { repositoryId },
        { state: "pending" as const },
        { requestedBy: "r" },
        { repositoryId, state: "pending" as const },
      ]) {
        await store.sessions.list({ ...filter, ...page });
      }
      for (const filter of [
        {},
        { sessionId: session.id },
        { state: "queued" as const },
        { sessionId: session.id, state: "queued" as const },
      ]) {
        await store.commands.list({ ...filter, ...page });
      }
    }
    const { debugSessionId, adapterRun, sourcePath, view } = await given.debugStop();
    const debugged = view.debugSession.sessionId;
    const found = { id: 1, verified: true, line: 4, source: { path: sourcePath } };
    for (const [index, reason] of ["changed", "removed", "new"].entries()) {
      const body = { reason, breakpoint: { ...found, id: index === 2 ? 9 : 1 } };
      await store.debug.applyEvent({ debugSessionId, adapterRun, seq: 10 + index, event: "breakpoint", body });
    }
    await store.debug.setBreakpoints({ debugSessionId, sourcePath, breakpoints: [{ line: 9 }, { line: 3 }] });
    await store.debug.setBreakpoints({ debugSessionId, sourcePath, breakpoints: [{ line: 3 }] });
    await store.debug.close({ debugSessionId });
    for (const page of [{}, { cursor }]) await store.debug.list({ sessionId: debugged, ...page });
    for await (const _ of store.debug.follow({ debugSessionId }));
    await store.debug.open({ sessionId: debugged, name: view.debugSession.name, adapter: "a", restartRun: 1 });
    await store.sessions.cancel({ sessionId: debugged });
    await store.sessions.delete({ sessionId: debugged });
    const logged = await given.log();
    await store.commands.finish({ commandId: logged.command.id, fence: logged.fence, outcome: "succeeded" });
    await store.sessions.complete({ sessionId: logged.session.id });
    await store.sessions.delete({ sessionId: logged.session.id });
    await store.runners.drain({ runnerId: logged.runner.id });
    await store.repositories.archive({ repositoryId });

    const { account } = await given.account();
    await store.accounts.create({ name: account.name, kind: "human" }).catch(() => undefined);
    await store.tokens.bootstrapAdmin();
    const { token, secret } = await given.token({ accountId: account.id });
    await store.tokens.verify({ token: secret });
    const rotated = await store.tokens.rotate({ tokenId: token.id });
    await store.tokens.revoke({ tokenId: rotated.token.id });
    const { session: place } = await given.claim();
    const content = { sizeBytes: 1, sha256: "0".repeat(64), uri: "file:///x" };
    const { artifact } = await given.artifact();
    await store.artifacts.record({ sessionId: place.id, name: "a", ...content });
    const begun = await store.artifacts.begin({ sessionId: place.id, name: "b" });
    await store.artifacts.commit({ artifactId: begun.artifact.id, ...content });
    await store.artifacts.pin({ artifactId: artifact.id });
    await store.artifacts.get({ artifactId: artifact.id });
    await store.artifacts.delete({ artifactId: begun.artifact.id });
    await store.accounts.disable({ accountId: account.id });
    await store.accounts.get({ accountId: account.id });
    await store.accounts.find({ name: account.name });
    for (const _ of [1, 2]) await store.accounts.create({ name: "keyed", kind: "agent" }, { idempotencyKey: "k" });
    await store.worktrees.evict({ repositoryId, owner: "o" }, { idempotencyKey: "k" });
    await store.commands.claim({ runnerId, sessionId: place.id }, { idempotencyKey: "k" }).catch(() => undefined);
    for (const page of [{}, { cursor }]) {
      for (const filter of [{}, { includeDisabled: true }]) await store.accounts.list({ ...filter, ...page });
      for (const filter of [{}, { accountId: account.id }]) await store.tokens.list({ ...filter, ...page });
      for (const filter of [
        {},
        { sessionId: place.id },
        { commandId: artifact.commandId as string },
        { kind: "log" as const },
        { state: "ready" as const },
      ]) {
        await store.artifacts.list({ ...filter, ...page });
      }
    }
    clock.advance(864_000_000);
    await store.maintenance.reap();
    await store.maintenance.stats();
    await store.maintenance.health();
    await plain.close();
  } finally {
    Database.prototype.prepare = original;
  }
}

describe("query plans", () => {
  let db: Database.Database;
  before(async () => {
    db = memoryDatabase();
    // The ledger is the opener's, and not of a migration.
    db.exec("CREATE TABLE schema_migrations (revision TEXT NOT NULL PRIMARY KEY) STRICT");
    await exercise();
  });
  after(() => db.close());

  it("every operation was called", () => {
    const all = Object.entries(operations).flatMap(([entity, verbs]) =>
      Object.keys(verbs).map((verb) => `${entity}.${verb}`),
    );
    // Fixtures and the tests above use the rest.
    assert.deepEqual(
      all.filter((name) => !called.has(name)),
      [],
    );
    assert.ok(statements.size > 60, `${statements.size}`);
  });

  it("no statement reads a table from end to end or sorts", () => {
    const faults: string[] = [];
    for (const [text, name] of statements) {
      if (cold.includes(name) || /^(PRAGMA|BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)/.test(text)) continue;
      for (const step of explain(db, text)) {
        // At most maxParallel rows, sorted so that they are locked in one order.
        if (step === "USE TEMP B-TREE FOR ORDER BY" && /ORDER BY id \/\*\+ FOR UPDATE \*\/\)/.test(text)) continue;
        const fault = faultOf(step, text);
        if (fault !== undefined) faults.push(`${name}: ${fault}\n  ${text.trim().replace(/\s+/g, " ")}`);
      }
    }
    assert.deepEqual(faults, []);
  });

  for (const [what, pattern, index] of [
    [
      "the head of a session's queue",
      /FROM commands WHERE session_id = \? AND state = 'queued' ORDER BY sequence LIMIT 1/,
      "commands_ready",
    ],
    [
      "the next session to claim from",
      /FROM sessions WHERE ready_at IS NOT NULL AND worktree_id IS NULL AND TRUE/,
      "sessions_ready",
    ],
    [
      "a free tree of commit and environment",
      /AND environment_hash = \? AND commit_sha = \? AND state IN/,
      "worktrees_same",
    ],
    [
      "a free tree of an environment",
      /repository_id = \? AND environment_hash = \? AND state IN/,
      "worktrees_environment",
    ],
    ["a free tree of a commit", /repository_id = \? AND commit_sha = \? AND state IN/, "worktrees_commit"],
    ["any free tree", /repository_id = \? AND TRUE AND state IN \('idle', 'dirty'\)/, "worktrees_any"],
    ["the tree to evict", /FROM worktrees .* AND NOT pinned/, "worktrees_evictable"],
    [
      "the earliest expiry of a repository's leases",
      /repository_id = \? AND lease_expires_at IS NOT NULL ORDER BY/,
      "worktrees_next_free",
    ],
    ["the commands in one state", /FROM commands WHERE state = \? ORDER BY created_at, id/, "commands_page_of_state"],
    [
      "the history of one session",
      /FROM changes WHERE seq > \? AND seq <= \? AND session_id = \? ORDER BY seq/,
      "changes_of_session",
    ],
    [
      "an entity in the history of one session",
      /FROM changes WHERE .* AND entity = \? AND session_id = \? ORDER BY seq/,
      "changes_of_session",
    ],
    [
      "expired commands",
      /FROM commands WHERE lease_expires_at IS NOT NULL AND lease_expires_at <= \?/,
      "commands_expiry",
    ],
    ["expired sessions", /FROM sessions WHERE expires_at IS NOT NULL AND ended_at IS NULL/, "sessions_expiry"],
    [
      "expired trees",
      /FROM worktrees WHERE lease_expires_at IS NOT NULL AND lease_expires_at <= \? AND TRUE/,
      "worktrees_expiry",
    ],
    ["runners without heartbeat", /UPDATE runners SET state = \?.* WHERE id IN/, "runners_expiry"],
    [
      "the token of a public id",
      /FROM tokens JOIN accounts .* WHERE tokens\.public_id = \?/,
      "sqlite_autoindex_tokens_2",
    ],
    ["a live admin token", /FROM tokens JOIN accounts .* WHERE tokens\.scopes = 'admin'/, "tokens_admin"],
    [
      "an artifact of a command by its name",
      /FROM artifacts WHERE session_id = \? AND command_id = \? AND attempt = \? AND name = \?/,
      "artifacts_name_in_command",
    ],
    [
      "an artifact of a session by its name",
      /FROM artifacts WHERE session_id = \? AND command_id IS NULL AND name = \?/,
      "artifacts_name_in_session",
    ],
    ["expired artifacts", /FROM artifacts WHERE expires_at IS NOT NULL/, "artifacts_expiry"],
    ["idempotency keys that are over", /FROM idempotency_keys WHERE expires_at <= \?/, "idempotency_keys_expiry"],
    [
      "running commands of an ending session",
      /UPDATE commands SET state = 'cancelling'.* WHERE session_id = \? AND lease_expires_at IS NOT NULL/,
      "commands_active",
    ],
  ] as const) {
    it(`${what} is found by ${index}, and not past rows that are over`, () => {
      const found = [...statements.keys()]
        .map((text) => [text, text.trim().replace(/\s+/g, " ")] as const)
        .filter(([, flat]) => pattern.test(flat));
      assert.ok(found.length > 0, "no operation prepared such a statement");
      for (const [text] of found)
        assert.ok(
          explain(db, text).some((step) => new RegExp(`\\b${index}\\b`).test(step)),
          explain(db, text).join("\n"),
        );
    });
  }

  it("a foreign key is looked up by an index when its parent row is deleted", () => {
    for (const parent of ["sessions", "commands", "attempts", "debug_sessions"]) {
      const children = db
        .prepare(
          'SELECT m.name AS child, f."from" AS column FROM sqlite_schema m, pragma_foreign_key_list(m.name) f WHERE m.type = \'table\' AND f."table" = ?',
        )
        .all(parent) as { child: string; column: string }[];
      for (const { child, column } of children) {
        const [step] = explain(db, `SELECT 1 FROM ${child} WHERE ${column} = ?`);
        assert.match(step as string, /^SEARCH/, `${child}.${column}`);
      }
    }
  });
});
