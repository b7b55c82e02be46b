// Changes of a command's row. Every operation that changes the state of a command goes through this file, so that
// state, attempt, log and change feed agree. The caller updates the counters of the session; see sessionState.ts.
import type { z } from "zod";
import type { Context } from "../context.ts";
import type { CommandInput, CommandRow } from "../model/commands.ts";
import { labelSetOf, labelsOf } from "../model/labels.ts";
import type { SessionRow } from "../model/sessions.ts";
import type { Usage } from "../model/usage.ts";
import type { CommandOutcome } from "../model/vocabulary.ts";
import { fail } from "../operation.ts";
import { all, change, first, forUpdate, one, type Statement, sql, step, valueList } from "../sql.ts";
import { notFound } from "./failures.ts";
import { requireKnownSets } from "./labelSets.ts";
import { insertRows, writeRow } from "./rowWrite.ts";
import { commandTopic, logTopic, sessionLogTopic } from "./topics.ts";
import { lockRepositoryOfNewWorktree } from "./worktreeLease.ts";

/** The result of a command, or of one attempt of it. */
export type CommandResult = Pick<CommandRow, "state" | "exit_code" | "signal" | "end_reason">;

/** Returns the columns of a session that tell the outcome of a command that has ended, for the caller to save (D-096). */
export function asLastCommand({ id, state, exit_code, signal }: CommandRow) {
  return {
    last_command_id: id,
    last_command_state: state as CommandOutcome,
    last_exit_code: exit_code,
    last_signal: signal,
  };
}

/** Locks and returns the active commands of a session, in the order of their ids. */
export const lockActiveCommands = step(function* (sessionId: string) {
  return yield* all<CommandRow>(sql`
    SELECT * FROM commands WHERE session_id = ${sessionId} AND lease_expires_at IS NOT NULL ORDER BY id ${forUpdate}`);
});

/**
 * Locks a command and returns it with its session, which the end of the command may end too. With `force`, it also locks
 * the other active commands of the session: an end by force may ask them to stop.
 */
export const lockCommand = step(function* (commandId: string, force = false) {
  yield* lockRepositoryOfNewWorktree(sql`(SELECT session_id FROM commands WHERE id = ${commandId})`);
  const session = yield* first<SessionRow>(sql`
    SELECT * FROM sessions WHERE id = (SELECT session_id FROM commands WHERE id = ${commandId}) ${forUpdate}`);
  if (force && session !== undefined) yield* lockActiveCommands(session.id);
  const command = yield* first<CommandRow>(sql`SELECT * FROM commands WHERE id = ${commandId} ${forUpdate}`);
  return session === undefined || command === undefined ? notFound("command", commandId) : { session, command };
});

/** Fails with `invalid_input` when more commands of a session would wait to be claimed than may. */
export function requireRoom({ queued_commands }: SessionRow, added: number, { limits }: Context): void {
  const { queuedCommands } = limits;
  if (queued_commands + added <= queuedCommands) return;
  const message = `commands: ${queued_commands + added} commands of the session would wait to be claimed, and at most ${queuedCommands} may (limits.queuedCommands): wait until some have run`;
  fail("invalid_input", { queuedCommands: queued_commands }, message);
}

/** Adds commands to the end of the queue of a locked session. */
export const insertCommands = step(function* (
  commands: readonly z.output<typeof CommandInput>[],
  session: SessionRow,
  context: Context,
) {
  const { now, changed } = context;
  const sessionId = session.id;
  const rows = commands.map((command, index) => queuedCommand(command, session, session.next_sequence + index, now));
  yield* requireKnownSets(rows);
  yield* requireReruns(rows);
  if (!(yield* insertRows("command", rows, context))) yield* failAsKnown(rows);
  for (const { id, version } of rows) changed({ entity: "command", id, op: "enqueue", version, sessionId });
  return rows;
});

/** Fails with `not_found` when a command repeats one that is not there. */
const requireReruns = step(function* (rows: readonly CommandRow[]) {
  const ids = [...new Set(rows.flatMap(({ rerun_of }) => rerun_of ?? []))];
  if (ids.length === 0) return;
  const known = yield* all<{ id: string }>(sql`SELECT id FROM commands WHERE id IN (${valueList(ids)})`);
  const unknown = ids.find((id) => !known.some((row) => row.id === id));
  if (unknown !== undefined) notFound("command", unknown);
});

function queuedCommand(
  command: z.output<typeof CommandInput>,
  session: SessionRow,
  sequence: number,
  now: Date,
): CommandRow {
  return {
    id: command.id,
    session_id: session.id,
    sequence,
    argv: command.argv,
    cwd: command.cwd ?? null,
    env: command.env ?? null,
    secret_env_keys: command.secretEnvKeys ?? null,
    requires: labelSetOf(labelsOf(session.requires), command.requires),
    state: "queued",
    priority: command.priority,
    timeout_ms: command.timeoutMs ?? null,
    attempt: 0,
    max_attempts: command.maxAttempts,
    lost_claims: 0,
    retries: command.retries,
    retry_delay_ms: command.retryDelayMs,
    failed_attempts: 0,
    not_before: command.notBefore?.getTime() ?? null,
    rerun_of: command.rerunOf ?? null,
    fence: 0,
    runner_id: null,
    lease_expires_at: null,
    stop_at: null,
    exit_code: null,
    signal: null,
    end_reason: null,
    cancel_requested_at: null,
    queued_at: now.getTime(),
    started_at: null,
    ended_at: null,
    version: 1,
    created_at: now.getTime(),
    updated_at: now.getTime(),
  };
}

/** Fails with `conflict` and the first of these commands whose id another command has. Some of them may be stored. */
const failAsKnown = step(function* (rows: readonly CommandRow[]) {
  const stored = yield* all<Pick<CommandRow, "id" | "session_id" | "sequence">>(
    sql`SELECT id, session_id, sequence FROM commands WHERE id IN (${valueList(rows.map(({ id }) => id))})`,
  );
  const places = new Map(stored.map((row) => [row.id, row]));
  const commandId = rows.find(({ id, session_id, sequence }) => {
    const place = places.get(id);
    return place !== undefined && (place.session_id !== session_id || place.sequence !== sequence);
  })?.id;
  fail("conflict", { reason: "exists", commandId }, `command ${commandId} exists already`);
});

/**
 * Starts the next attempt of a queued command under a lease, whose fencing token is the new `fence`. Its timeout begins
 * now (D-079).
 */
export const startCommand = step(function* (before: CommandRow, runnerId: string, expiresAt: Date, context: Context) {
  const { now, limits, changed, wake, counted, measured } = context;
  const row = yield* writeRow<CommandRow>(
    "command",
    before,
    {
      state: "running",
      attempt: before.attempt + 1,
      fence: before.fence + 1,
      runner_id: runnerId,
      lease_expires_at: expiresAt.getTime(),
      ...(before.timeout_ms === null ? {} : { stop_at: now.getTime() + before.timeout_ms }),
      started_at: now.getTime(),
    },
    context,
  );
  yield* change(sql`
    INSERT INTO attempts (
      command_id,
      session_id,
      attempt,
      fence,
      runner_id,
      started_at,
      limit_bytes
    ) VALUES (
      ${row.id},
      ${row.session_id},
      ${row.attempt},
      ${row.fence},
      ${runnerId},
      ${now},
      ${limits.logBytes}
    )`);
  counted("log", undefined, "open");
  // A command that is claimed again has started before.
  if (before.fence === 0) measured({ what: "commandStart", ms: now.getTime() - before.queued_at });
  changed({
    entity: "command",
    id: row.id,
    op: "claim",
    version: row.version,
    fence: row.fence,
    sessionId: row.session_id,
    detail: { runnerId },
  });
  wake(logTopic(row.id));
  wake(sessionLogTopic(row.session_id));
  return row;
});

/**
 * Extends the lease of a command, and returns whether its runner must stop it, or undefined when the runner no longer
 * holds the lease. The runner has confirmed the claim by this (D-083).
 */
export const renewCommand = step(function* (
  { id, fence }: { readonly id: string; readonly fence: number },
  runnerId: string,
  expiresAt: Date,
  now: Date,
) {
  const row = yield* first<Pick<CommandRow, "state" | "stop_at">>(sql`
    UPDATE commands SET
      lease_expires_at = ${expiresAt},
      confirmed_fence = fence
    WHERE id = ${id} AND fence = ${fence} AND runner_id = ${runnerId} AND lease_expires_at IS NOT NULL
    RETURNING state, stop_at`);
  return row && { mustStop: row.state === "cancelling" || isOverTime(row, now) };
});

/** Checks whether the time has passed from which the runner is asked to stop the command. */
export function isOverTime({ stop_at }: Pick<CommandRow, "stop_at">, now: Date): boolean {
  return stop_at !== null && stop_at <= now.getTime();
}

/**
 * Ends an active command and its attempt with a result. Fails with `log_gap` when the log is shorter than `logOffset`,
 * which is its length as the runner wrote it. An end by force raises the fencing token, so that all later calls of the
 * runner are refused; its attempt keeps the token under which it ran.
 */
export const endCommand = step(function* (
  before: CommandRow,
  result: CommandResult,
  op: "finish" | "expire" | "force",
  context: Context,
  logOffset?: number,
  usage?: Usage,
) {
  yield* endAttempt(before, result, context, logOffset, usage);
  const row = yield* writeRow<CommandRow>(
    "command",
    before,
    {
      state: result.state,
      exit_code: result.exit_code,
      signal: result.signal,
      end_reason: result.end_reason,
      ...(op === "force" ? { fence: before.fence + 1 } : {}),
      lease_expires_at: null,
      stop_at: null,
      ended_at: context.now.getTime(),
    },
    context,
  );
  const ms = context.now.getTime() - (before.started_at ?? context.now.getTime());
  context.measured({ what: "command", ms, outcome: row.state as CommandOutcome });
  context.changed({
    entity: "command",
    id: row.id,
    op,
    version: row.version,
    fence: row.fence,
    sessionId: row.session_id,
    detail: op === "expire" ? undefined : { outcome: row.state },
  });
  context.wake(commandTopic(row.id));
  return row;
});

/** The end of an attempt that is followed by another one. */
interface Requeue {
  /** True when its claim never reached its runner, or its program was never started: then it is not counted (D-083). */
  readonly isUnconfirmed?: boolean;
  /** The time from which the next attempt may begin, after one that has failed. */
  readonly retryAt?: number;
  readonly logOffset?: number | undefined;
  readonly usage?: Usage | undefined;
}

/** Ends the attempt of a running command with a result, and puts the command back into the queue for the next attempt. */
export const requeueCommand = step(function* (
  before: CommandRow,
  result: CommandResult,
  { isUnconfirmed = false, retryAt, logOffset, usage }: Requeue,
  context: Context,
) {
  yield* endAttempt(before, result, context, logOffset, usage);
  const row = yield* writeRow<CommandRow>(
    "command",
    before,
    {
      state: "queued",
      runner_id: null,
      lease_expires_at: null,
      stop_at: null,
      started_at: null,
      ...(isUnconfirmed ? { lost_claims: before.lost_claims + 1 } : {}),
      ...(retryAt === undefined ? {} : { failed_attempts: before.failed_attempts + 1, not_before: retryAt }),
    },
    context,
  );
  context.changed({
    entity: "command",
    id: row.id,
    op: "requeue",
    version: row.version,
    fence: row.fence,
    sessionId: row.session_id,
  });
  context.wake(commandTopic(row.id));
  return row;
});

/** Ends the current attempt of a command and seals its log. */
const endAttempt = step(function* (
  command: CommandRow,
  result: CommandResult,
  { now, wake, counted }: Context,
  logOffset: number | undefined,
  usage: Usage = {},
) {
  const sealed = yield* first<{ bytes: number }>(sql`
    UPDATE attempts SET
      outcome = ${result.state},
      exit_code = ${result.exit_code},
      signal = ${result.signal},
      ended_at = ${now},
      log_state = 'sealed',
      cpu_ms = ${usage.cpuMs ?? null},
      memory_bytes = ${usage.memoryBytes ?? null},
      written_bytes = ${usage.writtenBytes ?? null}
    WHERE command_id = ${command.id} AND fence = ${command.fence} AND next_offset >= ${logOffset ?? 0}
    RETURNING next_offset - dropped_bytes AS bytes`);
  if (sealed === undefined) {
    const { next_offset } = yield* one<{ next_offset: number }>(sql`
      SELECT next_offset FROM attempts WHERE command_id = ${command.id} AND fence = ${command.fence}`);
    const message = `the log has ${next_offset} of ${logOffset} bytes: append the rest first`;
    return fail("log_gap", { expectedOffset: next_offset }, message);
  }
  counted("log", "open", "sealed");
  counted("log_bytes", undefined, "sealed", sealed.bytes);
  wake(logTopic(command.id));
});

/** The time of a stop that is requested now: that of the command's timeout if it has passed already. */
const stopNow = (now: Date): Statement => sql`CASE WHEN stop_at < ${now} THEN stop_at ELSE ${now} END`;

/** Cancels a queued command at once, and asks the runner of a running one to stop it. */
export const cancelCommand = step(function* (
  before: CommandRow,
  reason: string | undefined,
  { now, changed, wake, counted }: Context,
) {
  const queued = before.state === "queued";
  const row = yield* one<CommandRow>(sql`
    UPDATE commands SET
      state = ${queued ? "cancelled" : "cancelling"},
      cancel_requested_at = ${now},
      stop_at = ${queued ? null : stopNow(now)},
      ended_at = ${queued ? now : null},
      end_reason = ${reason ?? null},
      version = version + 1,
      updated_at = ${now}
    WHERE id = ${before.id}
    RETURNING *`);
  counted("command", before.state, row.state);
  changed({
    entity: "command",
    id: row.id,
    op: queued ? "cancel" : "cancelling",
    version: row.version,
    sessionId: row.session_id,
  });
  wake(commandTopic(row.id));
  if (queued) wake(logTopic(row.id));
  return row;
});

/** Cancels the queued commands of a session. */
export const cancelQueuedCommandsOf = step(function* (sessionId: string, reason: string, context: Context) {
  const { now, changed, wake, counted } = context;
  const cancelled = yield* all<Pick<CommandRow, "id" | "version">>(sql`
    UPDATE commands SET
      state = 'cancelled',
      ended_at = ${now},
      cancel_requested_at = ${now},
      end_reason = ${reason},
      version = version + 1,
      updated_at = ${now}
    WHERE session_id = ${sessionId} AND state = 'queued'
    RETURNING id, version`);
  counted("command", "queued", "cancelled", cancelled.length);
  for (const { id, version } of cancelled) {
    changed({ entity: "command", id, op: "cancel", version, sessionId });
    wake(commandTopic(id));
    wake(logTopic(id));
  }
});

/** Cancels all commands of an ending session as cancelCommand does. */
export const cancelCommandsOf = step(function* (sessionId: string, context: Context) {
  const { now, changed, counted } = context;
  yield* cancelQueuedCommandsOf(sessionId, "session_ended", context);
  // A plain UPDATE locks rows in an unspecified order, and could deadlock with a heartbeat, which renews commands in
  // the order of their ids. The condition on the lease is that of the partial index commands_active.
  const stopping = yield* all<Pick<CommandRow, "id" | "version">>(sql`
    UPDATE commands SET
      state = 'cancelling',
      cancel_requested_at = ${now},
      stop_at = ${stopNow(now)},
      version = version + 1,
      updated_at = ${now}
    WHERE id IN (
      SELECT id FROM commands
      WHERE session_id = ${sessionId} AND lease_expires_at IS NOT NULL AND state = 'running'
      ORDER BY id ${forUpdate})
    RETURNING id, version`);
  counted("command", "running", "cancelling", stopping.length);
  for (const { id, version } of stopping) changed({ entity: "command", id, op: "cancelling", version, sessionId });
});
