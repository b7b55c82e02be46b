// Checks that the change feed covers the rows: each change of a row has a new version and a row of changes, each deleted
// row has one, and where nothing has changed there is neither. Triggers record what the suite changes in memory, so the
// tests of a new operation check it too.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import Database from "better-sqlite3";
import { partOfSuite } from "./queryPlans.ts";

/** The columns of an entity that may change without a row in the feed; docs/guide/changes.md says why. */
interface Entity {
  readonly table: string;
  readonly silent: readonly string[];
  /** True when the row of changes of its deleted session stands for its own deletion. */
  readonly endsWithSession?: true;
}

const clocked = {
  /** The server moves these when the clock jumps (D-082). */
  artifact: ["expires_at"],
  command: ["stop_at", "not_before"],
  session: ["deadline_at"],
};

const covered: Readonly<Record<string, Entity>> = {
  account: { table: "accounts", silent: [] },
  artifact: { table: "artifacts", silent: clocked.artifact },
  // Heartbeats.
  command: {
    table: "commands",
    endsWithSession: true,
    silent: ["lease_expires_at", "confirmed_fence", ...clocked.command],
  },
  // The events of the debugger.
  debug_session: {
    table: "debug_sessions",
    endsWithSession: true,
    silent: [
      ...["last_event", "next_position", "breakpoint_count", "revision", "exit_code", "stop_epoch"],
      ...[
        "hit_breakpoint_ids",
        "others_changed_epoch",
        "others_last_event",
        "stale_frame_ids",
        "process",
        "event_counts",
        "bridge_expires_at",
      ],
    ],
  },
  // Renewals and uses.
  environment: { table: "environments", silent: ["lease_expires_at", "last_used_at", "use_count"] },
  // Uses.
  patch: { table: "patches", silent: ["last_used_at"] },
  // A count of worktrees, whose own rows are covered.
  repository: { table: "repositories", silent: ["worktree_count"] },
  // Heartbeats.
  runner: { table: "runners", silent: ["heartbeat_at", "expires_at"] },
  // The progress of a consumer, and the lease on it.
  consumer: { table: "feed_consumers", silent: ["seq", "owner", "fence", "lease_expires_at"] },
  retention: { table: "retention", silent: [] },
  // Counts and outcomes of commands, whose own rows are covered, activity, and a column that no caller sees.
  session: {
    table: "sessions",
    silent: [
      ...["next_sequence", "queued_commands", "active_commands", "failed_commands", "ready_priority", "ready_at"],
      ...["ready_requires", "due_at"],
      ...["last_command_id", "last_command_state", "last_exit_code", "last_signal"],
      ...["last_activity_at", "expires_at", "logs_pruned_at", ...clocked.session],
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
  SELECT DISTINCT entity || ': ' || what || CASE WHEN what = 'nothing changed' THEN ' with a new version' WHEN raised THEN ' without a row of changes' ELSE ' without a new version' END
  FROM touched
  WHERE NOT raised OR what = 'nothing changed' OR NOT EXISTS (
    SELECT 1 FROM feed
    WHERE feed.entity = touched.entity AND feed.entity_id = touched.id
      AND CASE WHEN touched.version IS NULL THEN feed.op = 'delete' ELSE feed.entity_version = touched.version END
  ) AND NOT (touched.version IS NULL AND EXISTS (
    SELECT 1 FROM feed, json_each(feed.detail, '$.json.ids') AS gone
    WHERE feed.entity = 'pruned' AND feed.entity_id = touched.entity || 's' AND gone.value = touched.id
  ))
  UNION
  SELECT entity || ': a row of changes (' || op || ') without a change' FROM feed
  WHERE entity <> 'pruned' AND entity <> 'event' AND NOT EXISTS (
    SELECT 1 FROM touched
    WHERE touched.entity = feed.entity AND touched.id = feed.entity_id
      AND coalesce(touched.version, feed.entity_version) = feed.entity_version
  )`;

function watch(db: Database.Database): void {
  // The feed with the rows that retention removes from it.
  db.exec(`
    CREATE TEMP TABLE touched (entity TEXT, id TEXT, version INTEGER, raised INTEGER, what TEXT);
    CREATE TEMP TABLE feed (entity TEXT, entity_id TEXT, op TEXT, entity_version INTEGER, detail TEXT);
    CREATE INDEX temp.feed_entity ON feed (entity, entity_id);
    CREATE INDEX temp.touched_entity ON touched (entity, id);
    CREATE TEMP TRIGGER changes_inserted AFTER INSERT ON main.changes BEGIN
      INSERT INTO feed VALUES (NEW.entity, NEW.entity_id, NEW.op, NEW.entity_version, NEW.detail);
    END`);
  for (const [entity, { table, silent, endsWithSession }] of Object.entries(covered)) {
    const columns = (db.pragma(`table_info(${table})`) as { name: string }[])
      .map(({ name }) => name)
      .filter((name) => name !== "version" && name !== "updated_at");
    const covering = columns.filter((name) => !silent.includes(name));
    const differs = (name: string) => `OLD.${name} IS NOT NEW.${name}`;
    const names = columns.map((name) => `iif(${differs(name)}, ' ${name}', '')`).join(" || ");
    db.exec(`
      CREATE TEMP TRIGGER ${table}_inserted AFTER INSERT ON main.${table} BEGIN
        INSERT INTO touched VALUES ('${entity}', NEW.id, NEW.version, TRUE, 'a new row');
      END;
      CREATE TEMP TRIGGER ${table}_updated AFTER UPDATE ON main.${table} WHEN ${[...covering, "version"].map(differs).join(" OR ")} BEGIN
        INSERT INTO touched VALUES ('${entity}', NEW.id, NEW.version, NEW.version > OLD.version, coalesce('changed' || nullif(${names}, ''), 'nothing changed'));
      END`);
    if (endsWithSession) continue;
    db.exec(`
      CREATE TEMP TRIGGER ${table}_deleted AFTER DELETE ON main.${table} BEGIN
        INSERT INTO touched VALUES ('${entity}', OLD.id, NULL, TRUE, 'a deleted row');
      END`);
  }
}

/** Defines the test of the recorded changes. It runs after the tests that make them. */
export function describeFeedCoverage(recorded: RecordedChanges): void {
  describe("feed coverage", { skip: partOfSuite && "only a part of the suite runs" }, () => {
    it("every change and deletion of a row has a row of changes, and every row of changes has its change", () => {
      recorded.stop();
      assert.ok(recorded.count > 1_000, `${recorded.count} changes were recorded`);
      assert.deepEqual([...recorded.missing].sort(), []);
    });
  });
}
