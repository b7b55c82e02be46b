import { z } from "zod";
import type { Context } from "../context.ts";
import { StoreError } from "../errors.ts";
import { list as listOf, optional, page } from "../model/codec.ts";
import { Claim, Command, CommandInput, type CommandRow, Finished, isFinal, outcomes } from "../model/commands.ts";
import { Fence, filledText, Id, LeaseTtl, paging, Reason, Version, WaitMs } from "../model/fields.ts";
import type { SessionRow } from "../model/sessions.ts";
import { commandStates, releaseKinds } from "../model/vocabulary.ts";
import { after, fail, NotYet, operation } from "../operation.ts";
import { all, and, first, one, type Statement, skipLocked, skipLockedSessions, sql, step, when } from "../sql.ts";
import {
  type CommandResult,
  cancelCommand,
  endCommand,
  insertCommand,
  lockCommand,
  startCommand,
} from "./commandState.ts";
import { invalidTransition, leaseLost, notFound, requireState } from "./failures.ts";
import { listPage } from "./paging.ts";
import { getRow } from "./rows.ts";
import { lockRunner } from "./runners.ts";
import { lockOpenSession, openSessionStates, saveSession, settleSession } from "./sessionState.ts";
import { claimableTopic, commandTopic, sessionTopic } from "./topics.ts";
import { requireVersion } from "./versions.ts";

/**
 * Adds commands to a session, in order: consecutive sequence numbers.
 *
 * Input    commands: 1 .. 500; secretEnvKeys holds names only, the values never come here
 * Fails    not_found | invalid_transition when the session is ending or has ended | conflict { reason: "exists" }
 * Effect   a row of commands and of changes for each
 */
export const enqueue = operation({
  access: "write",
  input: z.strictObject({ sessionId: Id, commands: z.array(CommandInput).min(1).max(500) }),
  output: listOf(Command),
  errors: ["not_found", "invalid_transition", "conflict"],
  *run({ sessionId, commands }, context) {
    return yield* enqueueCommands(yield* lockOpenSession(sessionId), commands, context);
  },
});

export const enqueueCommands = step(function* (
  session: SessionRow,
  commands: readonly z.output<typeof CommandInput>[],
  context: Context,
) {
  const rows: CommandRow[] = [];
  for (const [index, command] of commands.entries()) {
    const known = yield* first(sql`SELECT id FROM commands WHERE id = ${command.id}`);
    if (known !== undefined)
      fail("conflict", { reason: "exists", commandId: command.id }, "a command with this id exists");
    rows.push(yield* insertCommand(command, session.id, session.next_sequence + index, context));
  }
  const { next_sequence, queued_commands } = session;
  if (rows.length > 0) {
    yield* saveSession(
      session,
      { next_sequence: next_sequence + rows.length, queued_commands: queued_commands + rows.length },
      context,
    );
  }
  return rows;
});

/**
 * Gives a runner the next command: of a session without a worktree, or whose worktree this runner leases; the head of the session's queue,
 * while fewer than maxParallel of it run; by priority, then age.
 *
 * Input    ttlMs: length of the lease, renewed by runners.heartbeat; waitMs: wait so long for work; sessionId: only of this session
 * Result   { command, session, fence, expiresAt }, or undefined when there is nothing to do; at once when the named session is ending or has ended
 * Fails    not_found | invalid_transition unless the runner is online
 * Effect   one row of commands, one of attempts; a row of changes for the command, and for the session when it starts
 * Cost     at most 9 statements, each by an index
 */
export const claim = operation({
  access: "write",
  input: z.strictObject({
    runnerId: Id,
    ttlMs: LeaseTtl.default(60_000),
    waitMs: WaitMs.default(0),
    sessionId: Id.optional(),
  }),
  output: optional(Claim),
  errors: ["not_found", "invalid_transition"],
  waitMs: (input) => input.waitMs,
  *run({ runnerId, ttlMs, sessionId }, context) {
    const { now } = context;
    const runner = yield* lockRunner(runnerId);
    if (runner.state !== "online") invalidTransition("runner", runner.state, `the runner is ${runner.state}`);
    const session = yield* nextSession(runnerId, sessionId, now);
    if (session === undefined) return yield* nothingReady(sessionId);
    const head = yield* one<{ id: string }>(sql`
      SELECT id FROM commands WHERE session_id = ${session.id} AND state = 'queued' ORDER BY sequence LIMIT 1`);
    const expiresAt = after(now, ttlMs);
    const command = yield* startCommand(head.id, runnerId, expiresAt, context);
    const starts = session.state === "pending";
    const counters = { queued_commands: session.queued_commands - 1, active_commands: session.active_commands + 1 };
    const saved = yield* saveSession(
      session,
      starts ? { ...counters, state: "running", started_at: now.getTime() } : counters,
      context,
      starts ? "start" : undefined,
    );
    return { command, session: saved, fence: command.fence, expiresAt: expiresAt.getTime() };
  },
});

/** Of a session that takes no more work nothing will ever come. */
const nothingReady = step(function* (sessionId: string | undefined) {
  if (sessionId === undefined) return new NotYet([claimableTopic], undefined);
  const session = yield* first<Pick<SessionRow, "state">>(sql`SELECT state FROM sessions WHERE id = ${sessionId}`);
  if (session === undefined) notFound("session", sessionId);
  return session.state === "pending" || session.state === "running"
    ? new NotYet([claimableTopic, sessionTopic(sessionId)], undefined)
    : undefined;
});

type Ready = SessionRow & { readonly ready_priority: number; readonly ready_at: number };

/** Two ordered look-ups instead of one search over both: a session bound to another runner's tree is never even read (D-025). */
const nextSession = step(function* (runnerId: string, sessionId: string | undefined, now: Date) {
  const only = and(when(sessionId, (id) => sql`sessions.id = ${id}`));
  const free = yield* first<Ready>(sql`
    SELECT * FROM sessions WHERE ready_at IS NOT NULL AND worktree_id IS NULL AND ${only}
    ORDER BY ready_priority DESC, ready_at, id LIMIT 1 ${skipLocked}`);
  const bound = yield* first<Ready>(sql`
    SELECT sessions.* FROM worktrees JOIN sessions ON sessions.worktree_id = worktrees.id AND sessions.worktree_fence = worktrees.fence
    WHERE worktrees.lease_runner_id = ${runnerId} AND worktrees.lease_expires_at > ${now} AND sessions.ready_at IS NOT NULL
      AND sessions.state IN (${openSessionStates}) AND ${only}
    ORDER BY sessions.ready_priority DESC, sessions.ready_at, sessions.id LIMIT 1 ${skipLockedSessions}`);
  if (free === undefined || bound === undefined) return free ?? bound;
  const byPriority = bound.ready_priority - free.ready_priority;
  return byPriority > 0 || (byPriority === 0 && bound.ready_at <= free.ready_at) ? bound : free;
});

/**
 * Reports the result of a command, once. Accepted after the lease has run out too, as long as nobody has reaped it. The same result again
 * changes nothing.
 *
 * Input    outcome: succeeded needs exit code 0; logOffset: the length of the log as the runner wrote it; release: what to say of the
 *          session's worktree if the session ends with this command
 * Result   { command, session, remainingCommands }: how many of the session's commands wait or run
 * Fails    not_found | lease_lost { currentFence } | invalid_transition { state } | log_gap { expectedOffset } | invalid_input
 * Effect   one row of commands, of attempts (log sealed), of sessions, perhaps of worktrees
 * Cost     at most 9 statements, each by an index, unless the session ends with it
 */
export const finish = operation({
  access: "write",
  input: z
    .strictObject({
      commandId: Id,
      fence: Fence,
      outcome: z.enum(outcomes),
      exitCode: z.int().min(0).max(0xffff_ffff).optional(),
      signal: filledText(32).optional(),
      reason: Reason.optional(),
      logOffset: z.int().min(0).optional(),
      release: z.enum(releaseKinds).optional(),
    })
    .refine((input) => input.outcome !== "succeeded" || (input.exitCode ?? 0) === 0, {
      error: "succeeded means exit code 0",
      path: ["exitCode"],
    })
    .refine((input) => input.outcome !== "succeeded" || input.signal === undefined, {
      error: "succeeded means exit code 0",
      path: ["signal"],
    })
    .refine((input) => input.exitCode === undefined || input.signal === undefined, {
      error: "a program ends by an exit code or a signal",
      path: ["signal"],
    }),
  output: Finished,
  errors: ["not_found", "lease_lost", "invalid_transition", "log_gap"],
  *run(input, context) {
    const { session, command: before } = yield* lockCommand(input.commandId);
    const result = {
      state: input.outcome,
      exit_code: input.outcome === "succeeded" ? 0 : (input.exitCode ?? null),
      signal: input.signal ?? null,
      end_reason: input.reason ?? before.end_reason,
    };
    if (isFinal(before.state)) return finished(refuseOther(before, input.fence, result), session);
    if (before.fence !== input.fence || before.lease_expires_at === null) leaseLost(before, input.fence);
    if (before.state === "running" && input.outcome === "cancelled") {
      invalidTransition("command", before.state, "nobody asked to cancel this command");
    }
    const command = yield* endCommand(before, result, "finish", context, input.logOffset);
    const counted = {
      active_commands: session.active_commands - 1,
      failed_commands: session.failed_commands + (input.outcome === "succeeded" ? 0 : 1),
    };
    const settled = yield* settleSession(yield* saveSession(session, counted, context), input.release, context);
    return finished(command, settled);
  },
});

function finished(command: CommandRow, session: SessionRow) {
  return { command, session, remainingCommands: session.queued_commands + session.active_commands };
}

/** Final states are final; the same result again is a repetition, another one is refused. */
function refuseOther(before: CommandRow, fence: number, result: CommandResult): CommandRow {
  if (before.fence !== fence) leaseLost(before, fence);
  const same =
    before.state === result.state && before.exit_code === result.exit_code && before.signal === result.signal;
  return same ? before : invalidTransition("command", before.state, `the command has already ended as ${before.state}`);
}

/**
 * Stops a command: a queued one is cancelled at once; of a running one the runner learns by its next heartbeat. Repeated, it changes nothing.
 *
 * Fails    not_found | invalid_transition when it has ended otherwise | conflict { reason: "version" }
 */
export const cancel = operation({
  access: "write",
  input: z.strictObject({ commandId: Id, reason: Reason.optional(), expectedVersion: Version.optional() }),
  output: Command,
  errors: ["not_found", "invalid_transition", "conflict"],
  *run({ commandId, reason, expectedVersion }, context) {
    const { session, command: before } = yield* lockCommand(commandId);
    if (before.state === "cancelling" || before.state === "cancelled") return before;
    requireVersion(before, expectedVersion);
    requireState(before, "command", ["queued", "running"]);
    const command = yield* cancelCommand(before, reason, context);
    if (before.state === "queued") {
      const counted = { queued_commands: session.queued_commands - 1, failed_commands: session.failed_commands + 1 };
      yield* settleSession(yield* saveSession(session, counted, context), undefined, context);
    }
    return command;
  },
});

/**
 * One command.
 *
 * Fails    not_found
 * Cost     1 statement by primary key
 */
export const get = operation({
  access: "read",
  input: z.strictObject({ commandId: Id }),
  output: Command,
  errors: ["not_found"],
  *run({ commandId }) {
    return yield* getRow("command", commandId);
  },
});

/** Commands of one session in sequence, or of all by age; of one state when asked for. */
export const list = operation({
  access: "read",
  input: z.strictObject({ sessionId: Id.optional(), state: z.enum(commandStates).optional(), ...paging }),
  output: page(Command),
  errors: [],
  *run({ sessionId, state, ...paged }) {
    const ofState = state && sql`state = ${state}`;
    if (sessionId === undefined) return yield* listPage("command", paged, ofState);
    return yield* listInSequence(sessionId, paged, ofState);
  },
});

/** Commands of one call have one created_at, so their order is their sequence; it stands in the cursor where other lists have the time. */
const listInSequence = step(function* (
  sessionId: string,
  { limit, cursor }: { limit: number; cursor?: string | undefined },
  condition: Statement | undefined,
) {
  const seen = cursor === undefined ? 0 : Number.parseInt(cursor, 10);
  const rows = yield* all<CommandRow>(sql`
    SELECT * FROM commands WHERE ${and(sql`session_id = ${sessionId}`, sql`sequence > ${seen}`, condition)} ORDER BY sequence LIMIT ${limit + 1}`);
  const items = rows.slice(0, limit);
  const last = items.at(-1);
  return { items, nextCursor: rows.length > limit && last !== undefined ? `${last.sequence}_${last.id}` : undefined };
});

/**
 * Answers when the command has ended.
 *
 * Fails    not_found | deadline_exceeded after timeoutMs
 */
export const wait = operation({
  access: "read",
  input: z.strictObject({ commandId: Id, timeoutMs: WaitMs.default(600_000) }),
  output: Command,
  errors: ["not_found", "deadline_exceeded"],
  waitMs: (input) => input.timeoutMs,
  *run({ commandId }) {
    const command = yield* getRow("command", commandId);
    return isFinal(command.state)
      ? command
      : new NotYet([commandTopic(commandId)], new StoreError("deadline_exceeded", "the command has not ended"));
  },
});
