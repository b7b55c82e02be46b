// Checks that the change feed covers the rows: whatever a call of the suite changes in a row of an entity raises its
// version, and has a row of changes with this version. Triggers record the changes of the stores in memory, so the tests
// of a new operation check it too.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import Database from "better-sqlite3";
import { partOfSuite } from "./queryPlans.ts";

/** The columns of an entity that may change without a row in the feed; docs/guide/changes.md says why. */
interface Entity {
  readonly table: string;
  readonly silent: readonly string[];
}

const clocked = {
  /** The server moves these when the clock jumps (D-082). */
  artifact: ["expires_at"],
  command: ["stop_at"],
  session: ["deadline_at"],
};

const covered: Readonly<Record<string, Entity>> = {
  account: { table: "accounts", silent: [] },
  artifact: { table: "artifacts", silent: clocked.artifact },
  // Heartbeats.
  command: { table: "commands", silent: ["lease_expires_at", "confirmed_fence", ...clocked.command] },
  // The events of the debugger.
  debug_session: {
    table: "debug_sessions",
    silent: ["last_event", "next_position", "breakpoint_count", "revision", "exit_code", "stop_epoch"],
  },
  // A count of worktrees, whose own rows are covered.
  repository: { table: "repositories", silent: ["worktree_count"] },
  // Heartbeats.
  runner: { table: "runners", silent: ["heartbeat_at", "expires_at"] },
  // Counts and outcomes of commands, whose own rows are covered, and activity.
  session: {
    table: "sessions",
    silent: [
      ...["next_sequence", "queued_commands", "active_commands", "failed_commands", "ready_priority", "ready_at"],
      ...["last_command_id", "last_command_state", "last_exit_code", "last_signal"],
      ...["last_activity_at", "expires_at", ...clocked.session],
    ],
  },
  // Uses, and a column that no caller sees. A rotation writes rotated_to twice, the first time with a new version.
  token: { table: "tokens", silent: ["last_used_at", "name_freed_at", "rotated_to"] },
  // Renewals.
  worktree: { table: "worktrees", silent: ["lease_expires_at"] },
};

export interface RecordedChanges {
  /** The changes that the feed misses, in words. Complete when all stores are closed. */
  readonly missing: ReadonlySet<string>;
  /** The number of changes that were recorded. */
  count: number;
  stop(): void;
}

/** Records what calls change in the stores that this process opens from now on. */
export function recordChanges(): RecordedChanges {
  const prepare = Database.prototype.prepare as (
    this: Database.Database,
    text: string,
  ) => Database.Statement<unknown[]>;
  const { close } = Database.prototype;
  const watched = new WeakSet<Database.Database>();
  const missing = new Set<string>();
  const recorded: RecordedChanges = {
    missing,
    count: 0,
    stop() {
      Object.assign(Database.prototype, { prepare, close });
    },
  };
  Object.assign(Database.prototype, {
    prepare(this: Database.Database, text: string) {
      // The schema is complete when the driver prepares the statements of its transactions.
      if (/^BEGIN/.test(text) && !watched.has(this) && hasSchema(this)) {
        watched.add(this);
        watch(this);
      }
      return prepare.call(this, text);
    },
    close(this: Database.Database) {
      if (watched.has(this) && this.open) {
        recorded.count += prepare.call(this, "SELECT count(*) FROM touched").pluck().get() as number;
        for (const text of prepare.call(this, missed).pluck().all() as string[]) missing.add(text);
      }
      return Reflect.apply(close, this, []);
    },
  });
  const hasSchema = (db: Database.Database) =>
    prepare.call(db, "SELECT 1 FROM sqlite_schema WHERE name = 'changes'").get() !== undefined;
  return recorded;
}

const missed = `
  SELECT DISTINCT entity || ': ' || what || CASE WHEN raised THEN ' without a row of changes' ELSE ' without a new version' END
  FROM touched
  WHERE NOT raised OR NOT EXISTS (
    SELECT 1 FROM changes
    WHERE changes.entity = touched.entity AND changes.entity_id = touched.id AND changes.entity_version = touched.version
  )`;

function watch(db: Database.Database): void {
  db.exec("CREATE TEMP TABLE touched (entity TEXT, id TEXT, version INTEGER, raised INTEGER, what TEXT)");
  for (const [entity, { table, silent }] of Object.entries(covered)) {
    const columns = (db.pragma(`table_info(${table})`) as { name: string }[])
      .map(({ name }) => name)
      .filter((name) => !silent.includes(name) && name !== "version" && name !== "updated_at");
    const differing = columns.map((name) => `OLD.${name} IS NOT NEW.${name}`);
    const names = columns.map((name) => `iif(OLD.${name} IS NOT NEW.${name}, ' ${name}', '')`).join(" || ");
    db.exec(`
      CREATE TEMP TRIGGER ${table}_inserted AFTER INSERT ON main.${table} BEGIN
        INSERT INTO touched VALUES ('${entity}', NEW.id, NEW.version, TRUE, 'a new row');
      END;
      CREATE TEMP TRIGGER ${table}_updated AFTER UPDATE ON main.${table} WHEN ${differing.join(" OR ")} BEGIN
        INSERT INTO touched VALUES ('${entity}', NEW.id, NEW.version, NEW.version > OLD.version, 'changed' || ${names});
      END`);
  }
}

/** Defines the test of the recorded changes. It runs after the tests that make them. */
export function describeFeedCoverage(recorded: RecordedChanges): void {
  describe("feed coverage", { skip: partOfSuite && "only a part of the suite runs" }, () => {
    it("every change of a row has a new version and a row of changes", () => {
      recorded.stop();
      assert.ok(recorded.count > 1_000, `${recorded.count} changes were recorded`);
      assert.deepEqual([...recorded.missing].sort(), []);
    });
  });
}
