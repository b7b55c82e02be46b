import { z } from "zod";
import type { Context } from "../context.ts";
import { boolean, integer, json, list, nullable, record, text } from "../model/codec.ts";
import type { CommandRow } from "../model/commands.ts";
import { Health, type HealthChecks } from "../model/health.ts";
import type { SessionRow } from "../model/sessions.ts";
import type { CommandState } from "../model/vocabulary.ts";
import { after, type Lane, operation } from "../operation.ts";
import { all, change, changeEach, first, skipLocked, sql, step } from "../sql.ts";
import { expireArtifacts } from "./artifacts.ts";
import { endCommand, sealLog } from "./commands.ts";
import { expireKeys } from "./idempotency.ts";
import { commandTopic, endSession, saveSession, settleSession, tryLockSession } from "./sessionState.ts";
import { expireLeases } from "./worktreeState.ts";

/**
 * Ends what has run out: leases of worktrees and commands, idle sessions, runners without heartbeat, artifacts, idempotency keys. Runs by
 * itself every second.
 *
 * Result   the ids by kind; more: there may be others, call again
 * Effect   a leased tree becomes dirty, one being made or evicted quarantined; a command is queued again while attempts remain, else
 *          lost; a pending artifact has failed, a ready one is deleted unless it is pinned
 * Cost     at most limits.reapRows rows of each kind, each found by an index, with at most 8 statements each; what another transaction holds is
 *          left for the next pass; lane background
 */
export const reap = operation({
  access: "write",
  lane: "background",
  input: z.strictObject({}),
  output: record({
    worktrees: list(text),
    commands: list(text),
    sessions: list(text),
    runners: list(text),
    artifacts: list(text),
    /** How many idempotency keys: they have no ids. */
    keys: integer,
    more: boolean,
  }),
  errors: [],
  *run(_input, context) {
    const limit = context.limits.reapRows;
    const commands = yield* reapCommands(limit, context);
    const worktrees = yield* expireLeases(context, limit);
    const sessions = yield* reapSessions(limit, context);
    const runners = yield* reapRunners(limit, context);
    const artifacts = yield* expireArtifacts(limit, context);
    const keys = yield* expireKeys(limit, context);
    const more = [commands.length, worktrees.length, sessions.length, runners.length, artifacts.length, keys].some(
      (count) => count >= limit,
    );
    return { worktrees, commands, sessions, runners, artifacts, keys, more: more ? 1 : 0 };
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
    const row = yield* first<CommandRow>(
      sql`SELECT * FROM commands WHERE id = ${id} AND lease_expires_at <= ${now} ${skipLocked}`,
    );
    if (row === undefined) continue;
    reaped.push(id);
    const again = row.state === "running" && row.attempt < row.max_attempts;
    const state: CommandState = row.state === "cancelling" ? "cancelled" : "lost";
    const result = { state, exit_code: null, signal: null, end_reason: "lease_expired" };
    yield* sealLog(row, again ? { ...result, state: "lost" } : result, undefined, context);
    const command = again ? yield* requeue(row, context) : yield* endCommand(row, result, context);
    changed({
      entity: "command",
      id: row.id,
      op: again ? "requeue" : "expire",
      version: command.version,
      fence: row.fence,
      sessionId: row.session_id,
    });
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
    // In the order in which everybody locks: runners, sessions, commands, worktrees.
    const extended = yield* changeEach([
      sql`UPDATE runners SET expires_at = ${until} WHERE state IN ('online', 'draining') AND state <> 'gone' AND expires_at > ${aliveAt} AND expires_at < ${until}`,
      sql`
        UPDATE sessions SET expires_at = ${until}
        WHERE expires_at IS NOT NULL AND state IN ('pending', 'running') AND expires_at > ${aliveAt} AND expires_at < ${until}`,
      sql`
        UPDATE commands SET lease_expires_at = ${until}
        WHERE lease_expires_at IS NOT NULL AND lease_expires_at > ${aliveAt} AND lease_expires_at < ${until}`,
      sql`
        UPDATE worktrees SET lease_expires_at = ${until}
        WHERE lease_expires_at IS NOT NULL AND lease_expires_at > ${aliveAt} AND lease_expires_at < ${until}`,
    ]);
    return { extended };
  },
});

/**
 * Figures of the store: rows by state, ages, what the serving side counts, and what the database is really set to.
 *
 * Result   rows: by kind and state; ages: of the oldest command that waits, runs, and of the oldest lease, in milliseconds, null when there is none;
 *          serving: queue depths, group sizes, waits; lanes: calls that wait in each, and how long those that ran had waited; database: sizes and
 *          settings of the engine
 * Cost     a pass over one index for each kind; of commands only those that wait or run are counted
 */
export const stats = operation({
  access: "read",
  lane: "background",
  input: z.strictObject({}),
  output: record({
    rows: json<Record<string, Record<string, number>>>(),
    ages: record({ queuedMs: nullable(integer), runningMs: nullable(integer), leasedMs: nullable(integer) }),
    serving: json<Record<string, number>>(),
    lanes: json<Record<Lane, Record<string, number>>>(),
    database: json<Record<string, number | string>>(),
  }),
  errors: [],
  *run(_input, { now, serverState }) {
    const rows: Record<string, Record<string, number>> = {};
    for (const [table, from] of [
      ["runners", sql`runners`],
      ["worktrees", sql`worktrees`],
      ["sessions", sql`sessions`],
      ["artifacts", sql`artifacts`],
    ] as const) {
      const counts = yield* all<{ state: string; count: number }>(
        sql`SELECT state, count(*) AS count FROM ${from} GROUP BY state`,
      );
      rows[table] = Object.fromEntries(counts.map(({ state, count }) => [state, count]));
    }
    const queued = yield* first<Span>(
      sql`SELECT count(*) AS count, min(queued_at) AS since FROM commands WHERE state = 'queued'`,
    );
    const active = yield* first<Span>(
      sql`SELECT count(*) AS count, min(started_at) AS since FROM commands WHERE lease_expires_at IS NOT NULL`,
    );
    const leased = yield* first<Span>(
      sql`SELECT count(*) AS count, min(leased_at) AS since FROM worktrees WHERE lease_expires_at IS NOT NULL`,
    );
    rows.commands = { queued: queued?.count ?? 0, active: active?.count ?? 0 };
    const { counts, lanes, database } = serverState;
    return {
      rows: plainJson(rows),
      ages: { queuedMs: ageOf(queued, now), runningMs: ageOf(active, now), leasedMs: ageOf(leased, now) },
      serving: plainJson(counts),
      lanes: plainJson(lanes),
      database: plainJson(database.figures ?? {}),
    };
  },
});

interface Span {
  readonly count: number;
  readonly since: number | null;
}

function ageOf(span: Span | undefined, now: Date): number | null {
  return span === undefined || span.since === null ? null : now.getTime() - span.since;
}

/** Plain data needs none of superjson's notes. */
function plainJson(value: unknown): string {
  return JSON.stringify({ json: value });
}

/**
 * Is the store ready for work? Answered before other calls.
 *
 * Result   { ready, checks }: schema, at the revision that this code needs; lastWrite, the last one could be stored; space, enough is left; queue, none is
 *          near its limit. Numbers and codes only: neither SQL nor paths
 * Cost     1 statement by primary key; lane urgent
 */
export const health = operation({
  access: "read",
  lane: "urgent",
  input: z.strictObject({}),
  output: Health,
  errors: [],
  *run(_input, { serverState, limits }) {
    const at =
      (yield* first<{ revision: string }>(sql`SELECT revision FROM schema_migrations ORDER BY revision DESC LIMIT 1`))
        ?.revision ?? "none";
    const { database, lastWrite, queueFullness } = serverState;
    const head = database.schemaHead ?? at;
    const { leftBytes } = database;
    const checks: HealthChecks = {
      schema: { ok: at === head, at, head },
      lastWrite: {
        ok: lastWrite?.failed === undefined,
        agoMs: lastWrite?.agoMs ?? null,
        failed: lastWrite?.failed ?? null,
      },
      space: {
        ok: leftBytes === undefined || leftBytes >= limits.leftBytesMin,
        leftBytes: Number.isFinite(leftBytes) ? (leftBytes as number) : null,
      },
      queue: { ok: queueFullness * 100 < limits.queuePercentMax, percent: Math.round(queueFullness * 100) },
    };
    const ready = Object.values(checks).every(({ ok }) => ok);
    return { ready: ready ? 1 : 0, checks: plainJson(checks) };
  },
});

/**
 * Writes a row that means nothing, to learn whether rows can be written. Run by the serving side itself after a write that could not be stored; no port
 * reaches it.
 */
export const probe = operation({
  access: "write",
  lane: "background",
  input: z.strictObject({}),
  output: record({}),
  errors: [],
  *run(_input, { now }) {
    yield* change(sql`
      INSERT INTO store_meta (key, value) VALUES ('probe', ${now.toISOString()}) ON CONFLICT (key) DO UPDATE SET value = excluded.value`);
    return {};
  },
});
