// Checks that no statement of a hot operation reads a table from end to end, or sorts. The statements are those that
// SQLite prepared while the suite ran in memory, so the tests of a new operation also check its query plans.
import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import Database from "better-sqlite3";
import { z } from "zod";
import { newId } from "../../src/index.ts";
import type { AnyOperation } from "../../src/operation.ts";
import { operations } from "../../src/operations/table.ts";
import { isPaged } from "../../src/pages.ts";
import { openTestStore } from "../../src/testing/index.ts";
import { memoryDatabase } from "../support/memoryDriver.ts";
import { sampleCursor } from "../support/samples.ts";

export interface RecordedStatements {
  /** Maps the text of each statement to the operation that ran when it was first prepared. */
  readonly operationOf: ReadonlyMap<string, string>;
  /** The names of all operations that have run. */
  readonly called: ReadonlySet<string>;
  stop(): void;
}

/** Scans of a table whose rows the code names, and of partial indexes of what is leased now: what runs at once. */
const shortScans: readonly RegExp[] = [
  // One row for each kind of rows that retention removes.
  /FROM pruned ORDER BY kind LIMIT/,
  /FROM counters WHERE amount <> 0/,
  /^SELECT min\(started_at\) AS since FROM commands WHERE lease_expires_at IS NOT NULL$/,
  /^SELECT min\(leased_at\) AS since FROM worktrees WHERE lease_expires_at IS NOT NULL$/,
];

/** Statements that may sort, because they sort few rows. */
const shortSorts: readonly RegExp[] = [
  // The sessions whose worktrees one runner leases.
  /FROM worktrees JOIN sessions .* WHERE worktrees\.lease_runner_id = \?/s,
  // The active commands of a session, at most maxParallel, which are locked in the order of their ids.
  /WHERE session_id = \? AND lease_expires_at IS NOT NULL\s[^;]*ORDER BY id \/\*\+ FOR UPDATE/,
  // The check of the store: the commands of one session, the changes of a range of sessions, and three constants.
  /ORDER BY latest\.ended_at DESC, latest\.sequence DESC LIMIT 1/,
  /OVER \(PARTITION BY (?:entity, )?entity_id ORDER BY seq(?: DESC)?\).* WHERE session_id > \?/,
  /FROM \(SELECT 'store_id' AS name UNION ALL/,
];

/** Scans of the check of the store, each of what a select inside of the statement has found in a range. */
const scansOfRanges = /^SCAN (facts|judged|\(subquery-\d+\))$/;

/** The scan of what a recursion has found: sets of labels, whose number has a bound. */
const scanOfSets = /^SCAN sets$/;

/** Records the statements that operations prepare from now on, in this process. */
export async function recordStatements(): Promise<RecordedStatements> {
  const operationOf = new Map<string, string>();
  const whileOpening = new Set<string>();
  const called = new Set<string>();
  let current: string | undefined;
  const prepare = Database.prototype.prepare;
  Database.prototype.prepare = function (this: Database.Database, text: string) {
    if (current === undefined) whileOpening.add(text);
    else if (!whileOpening.has(text) && !operationOf.has(text)) operationOf.set(text, current);
    return prepare.call(this, text);
  } as typeof prepare;
  await (await openTestStore()).close();
  for (const [name, operation] of namedOperations()) {
    const { run } = operation;
    Object.assign(operation, {
      run(...args: Parameters<typeof run>) {
        current = name;
        called.add(name);
        return run(...args);
      },
    });
  }
  return {
    operationOf,
    called,
    stop() {
      Database.prototype.prepare = prepare;
    },
  };
}

function namedOperations(): readonly (readonly [name: string, operation: AnyOperation])[] {
  return Object.entries(operations).flatMap(([entity, verbs]) =>
    Object.entries(verbs).map(([verb, operation]) => [`${entity}.${verb}`, operation as AnyOperation] as const),
  );
}

/** True when a filter selects tests, so that the suite does not prepare every statement. */
export const partOfSuite = process.execArgv.some((option) => /^--test-(name-pattern|skip-pattern|only)/.test(option));

/** Defines the tests of the recorded statements. They run after the tests that prepare the statements. */
export function describeQueryPlans({ operationOf, called, stop }: RecordedStatements): void {
  describe("query plans", { skip: partOfSuite && "only a part of the suite runs" }, () => {
    let db: Database.Database;
    let calledBySuite: readonly string[];
    before(async () => {
      calledBySuite = [...called];
      await listWithAllFilters();
      stop();
      db = memoryDatabase();
      // No migration creates the ledger.
      db.exec("CREATE TABLE schema_migrations (revision TEXT NOT NULL PRIMARY KEY) STRICT");
    });
    after(() => db.close());

    it("the suite calls every operation", () => {
      const names = namedOperations().map(([name]) => name);
      assert.deepEqual(
        names.filter((name) => !calledBySuite.includes(name)),
        [],
      );
      assert.ok(operationOf.size > 200, `${operationOf.size} statements were prepared`);
    });

    it("no statement reads a table from end to end or sorts", () => {
      const faults = [...operationOf].flatMap(([text, name]) => {
        if (/^(PRAGMA|BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)/.test(text)) return [];
        return explain(db, text)
          .filter((step) => isUnbounded(db, step, text))
          .map((step) => `${name}: ${step}\n  ${onOneLine(text)}`);
      });
      assert.deepEqual(faults, []);
    });

    it("no statement but a list finds rows by their state or kind alone, of which most rows have the same", () => {
      const faults = [...operationOf].flatMap(([text, name]) => {
        const isList = name.endsWith(".list") || name === "usage.days";
        if (isList || /^(PRAGMA|BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)/.test(text)) return [];
        // The first row along an index, or what is open now, when the clock was set back.
        if (/ORDER BY [^()]* LIMIT 1$/.test(text) || /state = 'pending'|state IN \('pending', 'running'\)/.test(text))
          return [];
        return explain(db, text)
          .filter((step) => /^SEARCH .* \((?:state|kind)=\?(?: AND (?:state|kind)=\?)*\)/.test(step))
          .map((step) => `${name}: ${step}\n  ${onOneLine(text)}`);
      });
      assert.deepEqual(faults, []);
    });

    it("a page of a list begins where the page before has ended, without reading on the way", () => {
      const laterPages = [...operationOf].filter(
        ([text, name]) => name.endsWith(".list") && /\(created_at, id\) [<>] \(|sequence [<>] \?/.test(onOneLine(text)),
      );
      assert.ok(laterPages.length > 500, `${laterPages.length} statements`);
      const faults = laterPages.flatMap(([text, name]) =>
        explain(db, text)
          .filter((step) => /^(SCAN|SEARCH)/.test(step) && !/\(created_at,id\)[<>]|sequence[<>]/.test(step))
          .map((step) => `${name}: ${step}\n  ${onOneLine(text)}`),
      );
      assert.deepEqual(faults, []);
    });

    it("a list reads along an index of its first filter, and of no other", () => {
      const faults = [...operationOf].flatMap(([text, name]) => {
        const filters = /WHERE (?:TRUE AND )?(\w+ = \?(?: AND \w+ = \?)*)/.exec(onOneLine(text))?.[1];
        if (!name.endsWith(".list") || filters === undefined) return [];
        const expected = filters.replaceAll(" = ", "=");
        return explain(db, text)
          .filter((step) => /^(SCAN|SEARCH)/.test(step) && !step.includes(`(${expected}`))
          .map((step) => `${name}: ${step}, not ${expected}\n  ${onOneLine(text)}`);
      });
      assert.deepEqual(faults, []);
    });

    for (const [subject, pattern, index] of lookups) {
      it(`${subject}: found by ${index}, without reading rows that have ended`, () => {
        const texts = [...operationOf.keys()].filter((text) => pattern.test(onOneLine(text)));
        assert.ok(texts.length > 0, "no operation prepared such a statement");
        for (const text of texts) {
          const steps = explain(db, text);
          assert.ok(
            steps.some((step) => new RegExp(`\\b${index}\\b`).test(step)),
            steps.join("\n"),
          );
        }
      });
    }

    it("the rows that refer to a deleted row are found by an index, and deleted with it or looked for before", () => {
      const texts = [...operationOf.keys()];
      const tables = texts.flatMap((text) => /^\s*DELETE FROM (\w+)/.exec(text)?.[1] ?? []);
      const parents = new Set(tables);
      assert.ok(parents.has("sessions"));
      // Retention removes rows that no other row names, and looks for those that name them.
      const looksFor = (parent: string, child: string, column: string) =>
        texts.some((text) => new RegExp(`\\bFROM ${child}\\b[^(]* WHERE \\w+\\.${column} = ${parent}\\.id`).test(text));
      for (const parent of parents) {
        for (const { child, column, onDelete } of foreignKeysTo(db, parent)) {
          const [step] = explain(db, `SELECT 1 FROM ${child} WHERE ${column} = ?`);
          assert.match(step as string, /^SEARCH/, `${child}.${column} has no index`);
          if (onDelete === "CASCADE") parents.add(child);
          else assert.ok(looksFor(parent, child, column), `${child}.${column} refers to ${parent}`);
        }
      }
    });
  });
}

/** Lists the rows of every entity with each combination of filters, in both orders, from the first page and from a later one. */
async function listWithAllFilters(): Promise<void> {
  const store = await openTestStore();
  for (const { entity, input } of listInputs())
    await (store[entity] as { list(page: object): Promise<unknown> }).list(input);
  await store.close();
}

/** Yields inputs of every list, with each combination of filters, in both orders, with a cursor and without one. */
export function* listInputs(): Generator<{ readonly entity: "sessions"; readonly input: object }> {
  const lists = namedOperations().filter(([, operation]) => isPaged(operation));
  assert.ok(lists.length > 5);
  for (const [name, { inputSchema }] of lists) {
    const [entity] = name.split(".") as ["sessions"];
    const { limit: _limit, cursor: _cursor, ...filters } = inputSchema.shape;
    for (const input of combinations(Object.entries(filters))) {
      // The filters that an operation requires are left out of some combinations.
      if (!inputSchema.safeParse(input).success) continue;
      yield { entity, input };
      yield { entity, input: { ...input, cursor: sampleCursor(inputSchema, input) } };
    }
  }
}

function combinations(filters: readonly (readonly [name: string, schema: z.ZodType])[]): readonly object[] {
  const [head, ...rest] = filters;
  if (head === undefined) return [{}];
  const [name, schema] = head;
  const values = examplesOf(schema);
  return combinations(rest).flatMap((input) => [input, ...values.map((value) => ({ ...input, [name]: value }))]);
}

/** Returns a value that a filter accepts, and a list of two values if it accepts several. */
function examplesOf(schema: z.ZodType): readonly unknown[] {
  if (schema.safeParse("desc").success && schema.safeParse("asc").success) return ["desc"];
  const { anyOf = [{}] } = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as {
    anyOf?: readonly { enum?: readonly unknown[] }[];
  };
  const words = anyOf[0]?.enum ?? [];
  const examples = [newId(), "a".repeat(40), "name", true, new Date(1), ["a=b", "c"], words[0]].filter(
    (value) => value !== undefined && schema.safeParse(value).success,
  );
  assert.notDeepEqual(examples, [], "none of the examples is a value of the filter: add one");
  return [examples[0], words.slice(0, 2)].filter((value) => schema.safeParse(value).success);
}

function explain(db: Database.Database, text: string): readonly string[] {
  const values = (text.match(/\?/g) ?? []).map(() => null);
  return (db.prepare(`EXPLAIN QUERY PLAN ${text}`).all(values) as { detail: string }[]).map(({ detail }) => detail);
}

/**
 * Checks whether the cost of a step grows with the table. A scan along an index is bounded when its order is that of
 * the index, a LIMIT ends it, and no filter discards rows on the way: the index itself has them left out.
 */
function isUnbounded(db: Database.Database, step: string, text: string): boolean {
  if (/^USE TEMP B-TREE/.test(step)) return !shortSorts.some((pattern) => pattern.test(onOneLine(text)));
  if (
    !/^SCAN /.test(step) ||
    isSkippedScan(step, text) ||
    scanOfSets.test(step) ||
    (scansOfRanges.test(step) && shortSorts.some((pattern) => pattern.test(onOneLine(text)))) ||
    /^SCAN ((\d+ )?CONSTANT ROW|\d+-ROW VALUES CLAUSE)/.test(step)
  )
    return false;
  // The order of a table itself is that of an index, too: its INTEGER PRIMARY KEY.
  const ordered = /ORDER BY seq /.test(text) || /USING (COVERING )?INDEX/.test(step);
  if (ordered && /LIMIT/.test(text) && filtersOn(db, step, text).length === 0) return false;
  return !shortScans.some((pattern) => pattern.test(onOneLine(text)));
}

/** Returns the conditions of a statement that discard rows of the scanned index: those that its own do not imply. */
function filtersOn(db: Database.Database, step: string, text: string): readonly string[] {
  const [, table, index] = /^SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?/.exec(step) ?? [];
  const [, where = ""] =
    new RegExp(`FROM ${table} WHERE (.*?)(?: GROUP BY| ORDER BY| LIMIT|$)`).exec(onOneLine(text)) ?? [];
  // The indexes of primary keys have no text.
  const created = db
    .prepare("SELECT sql FROM sqlite_schema WHERE name = ?")
    .pluck()
    .get(index ?? "") as string | null;
  const ofIndex = conditions(onOneLine(created ?? "").split(" WHERE ")[1] ?? "");
  return conditions(where).filter((condition) => !ofIndex.includes(condition));
}

function conditions(where: string): readonly string[] {
  return where.split(" AND ").filter((condition) => condition !== "" && condition !== "TRUE");
}

/**
 * SQLite skips the scan of child tables that it plans for an INSERT into a parent table, unless the transaction has
 * broken a foreign key before. It cannot have, because no foreign key is deferred.
 * https://www.sqlite.org/opcode.html#FkIfZero
 */
function isSkippedScan(step: string, text: string): boolean {
  return /^\s*INSERT INTO \w+ \([^)]*\)\s+VALUES/.test(text) && /^SCAN \w+$/.test(step);
}

function foreignKeysTo(
  db: Database.Database,
  parent: string,
): readonly { readonly child: string; readonly column: string; readonly onDelete: string }[] {
  return db
    .prepare(
      `SELECT m.name AS child, f."from" AS column, f.on_delete AS onDelete
       FROM sqlite_schema m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table' AND f."table" = ?`,
    )
    .all(parent) as { child: string; column: string; onDelete: string }[];
}

/** Returns a statement on one line, with bare parameters. */
function onOneLine(text: string): string {
  return text.trim().replace(/\s+/g, " ").replaceAll("+?", "?");
}

/** Statements that must use a certain index, because another index would lead them past rows that have ended. */
const lookups: readonly (readonly [subject: string, statement: RegExp, index: string])[] = [
  [
    "the head of a session's queue",
    /FROM commands WHERE session_id = \? AND state = 'queued' ORDER BY sequence LIMIT 1/,
    "commands_ready",
  ],
  [
    "the next session to claim from",
    /^SELECT \* FROM sessions WHERE ready_at IS NOT NULL AND worktree_id IS NULL AND ready_requires = \?/,
    "sessions_ready",
  ],
  ["sessions whose command's time has come", /FROM sessions WHERE due_at IS NOT NULL AND due_at <= \?/, "sessions_due"],
  ["the sets of labels that wait", /FROM sets WHERE sets\.requires IS NOT NULL .* FROM sessions/, "sessions_ready"],
  ["the sets of labels of commands", /FROM commands WHERE requires <> '' AND ended_at IS NULL/, "commands_requires"],
  [
    "a free worktree of commit and environment",
    /AND environment_hash = \? AND commit_sha = \? AND state IN/,
    "worktrees_same",
  ],
  [
    "a free worktree of an environment",
    /repository_id = \? AND place = \? AND environment_hash = \? AND state IN/,
    "worktrees_environment",
  ],
  [
    "a free worktree of a commit",
    /repository_id = \? AND place = \? AND commit_sha = \? AND state IN/,
    "worktrees_commit",
  ],
  ["any free worktree", /repository_id = \? AND place = \? AND TRUE AND state IN \('idle', 'dirty'\)/, "worktrees_any"],
  [
    "the worktree to evict",
    /FROM worktrees .*place = \? AND state IN \('idle', 'dirty'\) AND NOT pinned/,
    "worktrees_evictable",
  ],
  [
    "the quarantined worktrees",
    /FROM worktrees WHERE .*state = 'quarantined'/,
    "worktrees_(?:quarantined|page_of_repository_and_state)",
  ],
  [
    "the earliest expiry of a repository's leases",
    /repository_id = \? AND place = \? AND lease_expires_at IS NOT NULL AND lease_expires_at > \? ORDER BY/,
    "worktrees_next_free",
  ],
  [
    "the number of a repository's leases",
    /count\(\*\) AS in_use FROM worktrees WHERE repository_id = \? AND place = \? AND lease_expires_at IS NOT NULL/,
    "worktrees_next_free",
  ],
  [
    "the expired lease of a place",
    /lease_expires_at <= \? AND repository_id = \? AND place = \?/,
    "worktrees_next_free",
  ],
  [
    "a worktree by its path in a place",
    /SELECT id FROM worktrees WHERE place = \? AND .*path .* AND state <> 'removed'/,
    "worktrees_path",
  ],
  ["the number of worktrees in a place", /SELECT worktree_count FROM repository_places/, "PRIMARY KEY"],
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
  ["commands to end by force", /FROM commands WHERE stop_at IS NOT NULL AND stop_at <= \?/, "commands_stop"],
  ["sessions past their deadline", /FROM sessions WHERE deadline_at IS NOT NULL/, "sessions_deadline"],
  [
    "active commands of a session to end by force",
    /SELECT \* FROM commands WHERE session_id = \? AND lease_expires_at IS NOT NULL/,
    "commands_active",
  ],
  ["expired sessions", /FROM sessions WHERE expires_at IS NOT NULL AND ended_at IS NULL/, "sessions_expiry"],
  [
    "expired worktrees",
    /FROM worktrees WHERE lease_expires_at IS NOT NULL AND lease_expires_at <= \? AND TRUE/,
    "worktrees_expiry",
  ],
  [
    "the sessions with active commands, of expired worktrees",
    /FROM worktrees WHERE lease_expires_at IS NOT NULL AND lease_expires_at <= \? AND TRUE/,
    "sessions_working",
  ],
  ["runners without heartbeat", /UPDATE runners SET state = \?.* WHERE id IN/, "runners_expiry"],
  [
    "the token of a public id",
    /FROM tokens JOIN accounts .* WHERE tokens\.public_id = \?/,
    "sqlite_autoindex_tokens_2",
  ],
  ["a live admin token", /FROM tokens JOIN accounts .* WHERE tokens\.scopes = 'admin'/, "tokens_admin"],
  [
    "the session of a debugger, for its activity",
    /SELECT sessions\.id FROM sessions WHERE sessions\.id = debug_sessions\.session_id/,
    "sqlite_autoindex_sessions_1",
  ],
  [
    "the session of a renewed worktree, for its activity",
    /SELECT sessions\.id FROM sessions WHERE worktree_id = worktrees\.id/,
    "sessions_worktree",
  ],
  [
    "the artifacts of a command in a folder",
    /FROM artifacts WHERE session_id = \? AND command_id = \? AND attempt = \? .* AND name > \?/,
    "artifacts_name_in_command",
  ],
  [
    "the artifacts of a session in a folder",
    /FROM artifacts WHERE session_id = \? AND command_id IS NULL .* AND name > \?/,
    "artifacts_name_in_session",
  ],
  [
    "the artifacts of a command with the names of folders",
    /FROM artifacts WHERE session_id = \? AND command_id = \? AND attempt = \? .* AND name IN/,
    "artifacts_name_in_command",
  ],
  [
    "the artifacts of a session with the names of folders",
    /FROM artifacts WHERE session_id = \? AND command_id IS NULL .* AND name IN/,
    "artifacts_name_in_session",
  ],
  [
    "an artifact of a command by its name",
    /FROM artifacts WHERE session_id = \? AND command_id = \? AND attempt = \? .* AND name = \?/,
    "artifacts_name_in_command",
  ],
  [
    "an artifact of a session by its name",
    /FROM artifacts WHERE session_id = \? AND command_id IS NULL .* AND name = \?/,
    "artifacts_name_in_session",
  ],
  ["expired artifacts", /FROM artifacts WHERE expires_at IS NOT NULL/, "artifacts_expiry"],
  ["idempotency keys that have expired", /FROM idempotency_keys WHERE expires_at <= \?/, "idempotency_keys_expiry"],
  [
    "running commands of an ending session",
    /UPDATE commands SET state = 'cancelling'.* WHERE session_id = \? AND lease_expires_at IS NOT NULL/,
    "commands_active",
  ],
];
