// Fills the file of a store with the rows of years, by SQL and consistent with all that operations keep consistent:
// versions with the change feed, commands with their attempts and logs, counts with rows.
import Database from "better-sqlite3";
import type { CountedEntity } from "../../src/context.ts";
import { countedTables } from "../../src/operations/counters.ts";

/** The numbers of rows of a filled store. */
export interface Fill {
  readonly commands: number;
  readonly sessions: number;
  readonly worktrees: number;
  readonly tokens: number;
}

const commandsPerSession = 10;
const rowsMax = 100_000;

/** Returns the numbers of rows that go with a number of commands. */
export function fillOf(commands: number): Fill {
  const others = Math.min(rowsMax, commands / commandsPerSession);
  return { commands, sessions: commands / commandsPerSession, worktrees: others, tokens: others };
}

const spanMs = 400 * 86_400_000;

/** Returns the id of a filled row: a UUIDv7 that names its kind and its number. */
export function filledId(kind: number, number: number): string {
  const digits = number.toString(16).padStart(12, "0");
  return `0190${kind.toString(16).padStart(4, "0")}-${digits.slice(0, 4)}-7000-8000-${digits}`;
}

export const kinds = { repository: 1, runner: 2, session: 3, command: 4, worktree: 5, token: 6, artifact: 7 } as const;
export const repositories = 10;

/** Adds the rows to a file in which a store with an account has been created. No store may have it open. */
export function fillFile(path: string, { commands, sessions, worktrees, tokens }: Fill, accountId: string): void {
  const db = new Database(path);
  try {
    // The file is made anew when the process is killed.
    db.pragma("synchronous = OFF");
    db.pragma("cache_size = -200000");
    db.function("row_id", { deterministic: true }, (kind, number) => filledId(Number(kind), Number(number)));
    const start = Date.now() - spanMs;
    const runners = Math.max(10, sessions / 100);
    /** Runs one INSERT for the numbers below `count`, which the statement knows as n. */
    const each = (count: number, insert: string, select: string) => {
      if (count === 0) return;
      db.prepare(`
        WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < @count)
        INSERT INTO ${insert} SELECT ${select} FROM numbers`).run({ count });
    };
    /** The time of the row n of `count`. */
    const at = (count: number) => `${start} + n * ${Math.floor(spanMs / Math.max(1, count))}`;
    db.transaction(() => {
      const tree = at(worktrees);
      each(
        repositories,
        "repositories (id, name, name_key, default_branch, max_worktrees, worktree_root, created_at, updated_at)",
        `row_id(${kinds.repository}, n), 'filled-' || n, 'filled-' || n, 'main', 1000000, '/srv/filled-' || n, ${start}, ${start}`,
      );
      each(
        runners,
        "runners (id, name, boot_id, host, pid, labels, state, heartbeat_at, expires_at, created_at, updated_at)",
        `row_id(${kinds.runner}, n), 'runner-' || (n % 20), row_id(${kinds.runner + 100}, n), 'host', n, '{"json":{}}', 'gone', ${at(runners)}, ${at(runners)}, ${at(runners)}, ${at(runners)}`,
      );
      each(
        worktrees,
        "worktrees (id, repository_id, path, commit_sha, commit_fence, environment_hash, environment_fence, state, last_used_at, created_at, updated_at)",
        `row_id(${kinds.worktree}, n), row_id(${kinds.repository}, n % ${repositories}), '/srv/filled/' || n,
         CASE WHEN n % 4 < 2 THEN printf('%040x', n % 1000) END, CASE WHEN n % 4 < 2 THEN 0 END,
         CASE WHEN n % 4 < 2 THEN printf('%064x', n % 100) END, CASE WHEN n % 4 < 2 THEN 0 END,
         CASE (n / ${repositories}) % 4 WHEN 0 THEN 'idle' WHEN 1 THEN 'dirty' WHEN 2 THEN 'quarantined' ELSE 'removed' END, ${tree}, ${tree}, ${tree}`,
      );
      db.exec(`UPDATE repositories SET worktree_count = (
        SELECT count(*) FROM worktrees WHERE repository_id = repositories.id AND state <> 'removed') WHERE name LIKE 'filled-%'`);
      db.exec(`INSERT INTO repository_places (repository_id, place, worktree_count)
        SELECT repository_id, place, count(*) FROM worktrees WHERE state <> 'removed' AND id GLOB '0190*' GROUP BY 1, 2`);
      each(
        tokens,
        "tokens (id, account_id, public_id, kind, name, secret_sha256, hint, scopes, created_at, updated_at)",
        `row_id(${kinds.token}, n), '${accountId}', 'p' || printf('%09d', n), 'personal', 'filled-' || n, lower(hex(randomblob(32))), 'dsp_', 'sessions:read', ${at(tokens)}, ${at(tokens)}`,
      );
      const of = at(sessions);
      each(
        sessions,
        `sessions (id, repository_id, requested_by, commit_sha, state, next_sequence, last_activity_at, started_at, ended_at,
          last_command_id, last_command_state, last_exit_code, version, created_at, updated_at)`,
        `row_id(${kinds.session}, n), row_id(${kinds.repository}, n % ${repositories}), 'user-' || (n % 10), printf('%040x', n % 1000),
         'completed', ${commandsPerSession + 1}, ${of}, ${of}, ${of}, row_id(${kinds.command}, n * ${commandsPerSession} + ${commandsPerSession - 1}),
         'succeeded', 0, 2, ${of}, ${of}`,
      );
      const ran = at(commands);
      each(
        commands,
        `commands (id, session_id, sequence, argv, state, attempt, fence, confirmed_fence, runner_id, exit_code, queued_at,
          started_at, ended_at, version, created_at, updated_at)`,
        `row_id(${kinds.command}, n), row_id(${kinds.session}, n / ${commandsPerSession}), n % ${commandsPerSession} + 1,
         '{"json":["npm","test","--","case-' || n || '"]}', 'succeeded', 1, 1, 1,
         row_id(${kinds.runner}, (n / ${commandsPerSession}) % ${runners}), 0, ${ran}, ${ran}, ${ran}, 3, ${ran}, ${ran}`,
      );
      each(
        commands,
        "attempts (id, command_id, session_id, attempt, fence, runner_id, outcome, exit_code, started_at, ended_at, log_state, next_offset, next_line, limit_bytes)",
        `n + 1, row_id(${kinds.command}, n), row_id(${kinds.session}, n / ${commandsPerSession}), 1, 1, row_id(${kinds.runner}, (n / ${commandsPerSession}) % ${runners}),
         'succeeded', 0, ${ran}, ${ran}, 'sealed', 400, 4, 67108864`,
      );
      const line = `${"x".repeat(99)}\n`;
      each(
        commands,
        "log_chunks (attempt_id, start_offset, byte_length, start_line, line_count, stream, at, data)",
        `n + 1, 0, 400, 0, 4, 'stdout', ${ran}, CAST('${line.repeat(4)}' AS BLOB)`,
      );
      each(
        sessions,
        "artifacts (id, session_id, name, kind, state, size_bytes, sha256, uri, created_at, updated_at)",
        `row_id(${kinds.artifact}, n), row_id(${kinds.session}, n), 'out.log',
         CASE n % 5 WHEN 0 THEN 'log' WHEN 1 THEN 'coverage' WHEN 2 THEN 'junit' WHEN 3 THEN 'core-dump' ELSE 'custom' END,
         'ready', 1000, lower(hex(randomblob(32))), 'file:///srv/artifacts/' || n, ${of}, ${of}`,
      );
      fillChanges(db, start);
      fillCounters(db);
    })();
    db.pragma("wal_checkpoint(TRUNCATE)");
  } finally {
    db.close();
  }
}

/** Adds a row of changes for each version of each filled row. */
function fillChanges(db: Database.Database, start: number): void {
  const add = (table: string, entity: string, op: string, version: number, sessionId: string) =>
    db.exec(`
      INSERT INTO changes (at, entity, entity_id, op, entity_version, session_id)
      SELECT created_at, '${entity}', id, '${op}', ${version}, ${sessionId} FROM ${table}
      WHERE id GLOB '0190*' AND created_at >= ${start} ORDER BY id`);
  add("repositories", "repository", "create", 1, "NULL");
  add("runners", "runner", "register", 1, "NULL");
  add("worktrees", "worktree", "register", 1, "NULL");
  add("tokens", "token", "mint", 1, "NULL");
  add("sessions", "session", "create", 1, "id");
  for (const [version, op] of ["enqueue", "claim", "finish"].entries())
    add("commands", "command", op, version + 1, "session_id");
  add("artifacts", "artifact", "record", 1, "session_id");
  add("sessions", "session", "end", 2, "id");
}

/** Sets the counters to what they count. */
function fillCounters(db: Database.Database): void {
  db.exec("DELETE FROM counters");
  for (const entity of Object.keys(countedTables) as CountedEntity[]) {
    const { table, state, amount } = countedTables[entity];
    const [from, by, what] = [table, state, amount].map(({ strings }) => strings[0]);
    db.exec(
      `INSERT INTO counters (entity, state, amount) SELECT '${entity}', ${by}, sum(${what}) FROM ${from} GROUP BY 2`,
    );
  }
}
