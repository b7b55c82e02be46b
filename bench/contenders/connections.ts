// The usual first attempt: each thread has a better-sqlite3 connection of its own, with tables and statements as a
// careful user would write them, and waits for the others in SQLite's busy timeout:
// https://github.com/WiseLibs/better-sqlite3/blob/master/docs/performance.md
import { join } from "node:path";
import { type Contender, day, unitsToPrepare } from "../cells/cell.ts";
import { connect } from "../statements.ts";

/** It keeps fewer facts than the store: no versions, no feed of changes, no attempts, and leases that nobody ends. */
const schema = `
  CREATE TABLE runners (id INTEGER PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT;
  CREATE TABLE worktrees (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, fence INTEGER NOT NULL, runner_id INTEGER, expires_at INTEGER
  ) STRICT;
  CREATE INDEX worktrees_free ON worktrees (id) WHERE runner_id IS NULL;
  CREATE TABLE commands (
    id INTEGER PRIMARY KEY, argv TEXT NOT NULL, state TEXT NOT NULL, fence INTEGER NOT NULL, runner_id INTEGER,
    expires_at INTEGER, log_bytes INTEGER NOT NULL DEFAULT 0, queued_at INTEGER NOT NULL, ended_at INTEGER
  ) STRICT;
  CREATE INDEX commands_queued ON commands (id) WHERE state = 'queued';
  CREATE TABLE log_chunks (
    command_id INTEGER NOT NULL REFERENCES commands (id), start_offset INTEGER NOT NULL, at INTEGER NOT NULL,
    data BLOB NOT NULL, PRIMARY KEY (command_id, start_offset)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE artifacts (
    id INTEGER PRIMARY KEY, command_id INTEGER NOT NULL REFERENCES commands (id), name TEXT NOT NULL,
    sha256 TEXT NOT NULL, uri TEXT NOT NULL, created_at INTEGER NOT NULL, UNIQUE (command_id, name)
  ) STRICT;`;

/** The units that are stored. A day counts only with all bytes of its log. */
const counts = {
  "runner-day": `SELECT count(*) FROM commands WHERE state = 'succeeded' AND
    (SELECT sum(length(data)) FROM log_chunks WHERE command_id = commands.id) = ${day.appends * day.bytes}`,
  work: "SELECT count(*) FROM commands WHERE state = 'succeeded'",
  enqueue: "SELECT count(*) FROM commands",
  lone: "SELECT count(*) FROM log_chunks",
} as const;

export const connections: Contender = {
  scenarios: ["runner-day", "enqueue", "work", "lone"],
  thread: new URL("./connectionThread.ts", import.meta.url),
  async prepare(cell, folder) {
    const path = join(folder, "connections.db");
    const db = connect(path, 5_000);
    db.exec(schema);
    const add = db.prepare(
      "INSERT INTO commands (argv, state, fence, queued_at) VALUES ('[\"true\"]', 'queued', 0, 0)",
    );
    const prepare = db.transaction(() => {
      for (let index = 0; index < unitsToPrepare(cell); index++) add.run();
      for (let index = 0; index < cell.threads; index++) {
        db.prepare("INSERT INTO runners (expires_at) VALUES (0)").run();
        db.prepare("INSERT INTO worktrees (path, fence) VALUES (?, 0)").run(`/srv/worktrees/${index}`);
        if (cell.scenario === "lone") add.run();
      }
    });
    prepare();
    db.close();
    return {
      threads: Array.from({ length: cell.threads }, (_, index) => ({ data: { path, runnerId: index + 1 } })),
      async finish() {
        const reopened = connect(path, 5_000);
        try {
          return reopened.prepare(counts[cell.scenario]).pluck().get() as number;
        } finally {
          reopened.close();
        }
      },
    };
  },
};
