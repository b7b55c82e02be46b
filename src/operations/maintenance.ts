import { z } from "zod";
import { boolean, integer, json, list, record, text } from "../model/codec.ts";
import type { CommandRow, CommandState } from "../model/commands.ts";
import type { SessionRow } from "../model/sessions.ts";
import { after, type Context, operation } from "../operation.ts";
import { all, change, first, skipLocked, sql, step } from "../sql.ts";
import { endCommand, sealLog } from "./commands.ts";
import { commandTopic, endSession, saveSession, settleSession, tryLockSession } from "./sessionState.ts";
import { expireLeases } from "./worktrees.ts";

/**
 * Ends what has run out: leases of worktrees and commands, idle sessions, runners without heartbeat. Runs by itself every second.
 *
 * Result   the ids by kind; more: there may be others, call again
 * Effect   a leased tree becomes dirty, one being made or evicted quarantined; a command is queued again while attempts remain, else lost
 * Cost     at most limits.reapRows rows of each kind, each found by an index, with at most 8 statements each; what another transaction holds is
 *          left for the next pass; lane background
 */
export const reap = operation({
  access: "write",
  lane: "background",
  input: z.strictObject({}),
  output: record({ worktrees: list(text), commands: list(text), sessions: list(text), runners: list(text), more: boolean }),
  errors: [],
  *run(_input, context) {
    const limit = context.limits.reapRows;
    const commands = yield* reapCommands(limit, context);
    const worktrees = yield* expireLeases(context, limit);
    const sessions = yield* reapSessions(limit, context);
    const runners = yield* reapRunners(limit, context);
    const more = [commands, worktrees, sessions, runners].some((ids) => ids.length >= limit);
    return { worktrees, commands, sessions, runners, more: more ? 1 : 0 };
  },
});

const reapCommands = step(function* (limit: number, context: Context) {
  const { now, changed, wake } = context;
  const expired = yield* all<Pick<CommandRow, "id" | "session_id">>(sql`
    SELECT id, session_id FROM commands WHERE lease_expires_at IS NOT NULL AND lease_expires_at <= ${now} ORDER BY lease_expires_at LIMIT ${limit}`);
  const reaped: string[] = [];
  for (const { id, session_id } of expired) {
    const session = yield* tryLockSession(session_id);
    if (session === undefined) continue;
    // It may have been renewed or finished meanwhile.
    const row = yield* first<CommandRow>(sql`SELECT * FROM commands WHERE id = ${id} AND lease_expires_at <= ${now} ${skipLocked}`);
    if (row === undefined) continue;
    reaped.push(id);
    const again = row.state === "running" && row.attempt < row.max_attempts;
    const state: CommandState = row.state === "cancelling" ? "cancelled" : "lost";
    const result = { state, exit_code: null, signal: null, end_reason: "lease_expired" };
    yield* sealLog(row, again ? { ...result, state: "lost" } : result, undefined, context);
    const command = again ? yield* requeue(row, context) : yield* endCommand(row, result, context);
    changed({ entity: "command", id: row.id, op: again ? "requeue" : "expire", version: command.version, fence: row.fence, sessionId: row.session_id });
    wake(commandTopic(row.id));
    const counted = {
      active_commands: session.active_commands - 1,
      queued_commands: session.queued_commands + (again ? 1 : 0),
      failed_commands: session.failed_commands + (again ? 0 : 1),
    };
    yield* settleSession(yield* saveSession(session, counted, context), undefined, context);
  }
  return reaped;
});

const requeue = step(function* (row: CommandRow, { now }: Context) {
  const version = row.version + 1;
  yield* change(sql`
    UPDATE commands SET state = 'queued', runner_id = NULL, lease_expires_at = NULL, started_at = NULL, version = ${version}, updated_at = ${now}
    WHERE id = ${row.id}`);
  return { version };
});

const reapSessions = step(function* (limit: number, context: Context) {
  const rows = yield* all<SessionRow>(sql`
    SELECT * FROM sessions
    WHERE expires_at IS NOT NULL AND ended_at IS NULL AND active_commands = 0 AND expires_at <= ${context.now}
    ORDER BY expires_at LIMIT ${limit} ${skipLocked}`);
  for (const row of rows) yield* endSession(row, "expired", context, "idle");
  return rows.map(({ id }) => id);
});

const reapRunners = step(function* (limit: number, { now, limits, changed }: Context) {
  const ids: string[] = [];
  for (const [from, to, before] of [
    ["stalled", "gone", after(now, -limits.runnerGoneMs)],
    // Never stalled: with its next heartbeat it would be online, and given new work.
    ["draining", "gone", after(now, -limits.runnerGoneMs)],
    ["online", "stalled", now],
  ] as const) {
    const rows = yield* all<{ id: string; version: number }>(sql`
      UPDATE runners SET state = ${to}, version = version + 1, updated_at = ${now}
      WHERE id IN (SELECT id FROM runners WHERE state = ${from} AND state <> 'gone' AND expires_at <= ${before} ORDER BY expires_at LIMIT ${limit} ${skipLocked})
      RETURNING id, version`);
    for (const { id, version } of rows) changed({ entity: "runner", id, op: to, version });
    ids.push(...rows.map(({ id }) => id));
  }
  return ids;
});

/**
 * After the clock has jumped (sleep, time synchronization): what was alive at `aliveAt` lives at least until a grace period from now.
 * Run by the serving side itself; no port reaches it.
 */
export const extendLeases = operation({
  access: "write",
  lane: "background",
  input: z.strictObject({ aliveAt: z.date() }),
  output: record({ extended: integer }),
  errors: [],
  *run({ aliveAt }, { now, limits }) {
    const until = after(now, limits.clockGraceMs);
    const extended =
      (yield* change(
        sql`UPDATE worktrees SET lease_expires_at = ${until} WHERE lease_expires_at IS NOT NULL AND lease_expires_at > ${aliveAt} AND lease_expires_at < ${until}`,
      )) +
      (yield* change(
        sql`UPDATE commands SET lease_expires_at = ${until} WHERE lease_expires_at IS NOT NULL AND lease_expires_at > ${aliveAt} AND lease_expires_at < ${until}`,
      )) +
      (yield* change(sql`
        UPDATE sessions SET expires_at = ${until}
        WHERE expires_at IS NOT NULL AND state IN ('pending', 'running') AND expires_at > ${aliveAt} AND expires_at < ${until}`)) +
      (yield* change(sql`
        UPDATE runners SET expires_at = ${until} WHERE state IN ('online', 'draining') AND state <> 'gone' AND expires_at > ${aliveAt} AND expires_at < ${until}`));
    return { extended };
  },
});

/**
 * Figures of the store: rows by state, and what the serving side counts (queue depths, group sizes, waits).
 *
 * Cost     a pass over one index for each kind; of commands only those that wait or run are counted
 */
export const stats = operation({
  access: "read",
  lane: "background",
  input: z.strictObject({}),
  output: record({ rows: json<Record<string, Record<string, number>>>(), serving: json<Record<string, number>>() }),
  errors: [],
  *run(_input, { serving }) {
    const rows: Record<string, Record<string, number>> = {};
    for (const [table, from] of [
      ["runners", sql`runners`],
      ["worktrees", sql`worktrees`],
      ["sessions", sql`sessions`],
    ] as const) {
      const counts = yield* all<{ state: string; count: number }>(sql`SELECT state, count(*) AS count FROM ${from} GROUP BY state`);
      rows[table] = Object.fromEntries(counts.map(({ state, count }) => [state, count]));
    }
    const queued = yield* first<{ count: number }>(sql`SELECT count(*) AS count FROM commands WHERE state = 'queued'`);
    const active = yield* first<{ count: number }>(sql`SELECT count(*) AS count FROM commands WHERE lease_expires_at IS NOT NULL`);
    rows.commands = { queued: queued?.count ?? 0, active: active?.count ?? 0 };
    return { rows: JSON.stringify({ json: rows }), serving: JSON.stringify({ json: serving }) };
  },
});
