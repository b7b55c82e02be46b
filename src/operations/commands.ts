// Commands: programs that a session runs, in the order of their sequence. A runner claims the command at the head of a
// session's queue under a lease, and passes the lease's fencing token with all that it reports about the command.
// When the lease has expired, maintenance.reap queues the command again while attempts remain; otherwise it is lost.
import { z } from "zod";
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import { StoreError } from "../errors.ts";
import { list as listOf, optional, page, type RawOf } from "../model/codec.ts";
import {
  Attempt,
  Claim,
  Command,
  CommandInput,
  type CommandRow,
  ExitCode,
  Finished,
  hasFailed,
  isFinal,
  type Outcome,
  outcomes,
  pauseMs,
  Signal,
} from "../model/commands.ts";
import { Fence, Id, LeaseTtl, listInput, oneOrMore, Reason, Version, WaitMs } from "../model/fields.ts";
import type { SessionRow } from "../model/sessions.ts";
import { UsageField } from "../model/usage.ts";
import { commandStates, releaseKinds } from "../model/vocabulary.ts";
import { Held, NotYet, operation } from "../operation.ts";
import { all, one, sql, step } from "../sql.ts";
import { nextSession, nothingReady } from "./claimSearch.ts";
import { loseAttempt, lostClaimsMax } from "./commandExpiry.ts";
import {
  asLastCommand,
  type CommandResult,
  cancelCommand,
  endCommand,
  insertCommands,
  isOverTime,
  lockCommand,
  requeueCommand,
  requireRoom,
  startCommand,
} from "./commandState.ts";
import { invalidTransition, leaseLost, requireState } from "./failures.ts";
import { endByForce, settleForcedSession } from "./forcedEnd.ts";
import { filter, listPage, sequenceKey } from "./paging.ts";
import { getRow } from "./rows.ts";
import { lockClaimingRunner } from "./runners.ts";
import { lockOpenSession, promoteDue, saveSession, settleSession, stopAfter } from "./sessionState.ts";
import { commandTopic } from "./topics.ts";
import { noteUse } from "./usage.ts";
import { requireVersion } from "./versions.ts";

/**
 * Adds commands to the end of a session's queue, with consecutive sequence numbers.
 *
 * Input    commands: 1 .. 500. Their secretEnvKeys are names only: the values never reach the store, and a name in
 *          secretEnvKeys cannot have a value in env. cwd: absolute, or relative to the worktree
 *          requires: labels that the runner must have, `key` for any value or `key=value`, besides those that the session
 *          requires
 * Fails    not_found | invalid_transition when the session is ending or has ended | conflict { reason: "exists" }
 *          | invalid_input { queuedCommands } when more than limits.queuedCommands would wait to be claimed
 *          | invalid_input { labelSets } when commands that have not ended would require more than bounds.labelSets
 *          different sets of labels
 * Effect   for each command, one row of commands and one row of changes
 * Cost     at most 5 statements, each by an index, and 1 for required labels; of many commands, each further statement writes 64, 16, 4 or 1
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

/** Adds commands to the end of the queue of a locked session. */
export const enqueueCommands = step(function* (
  session: SessionRow,
  commands: readonly z.output<typeof CommandInput>[],
  context: Context,
) {
  requireRoom(session, commands.length, context);
  const { next_sequence, queued_commands } = session;
  const rows = yield* insertCommands(commands, session, context);
  const [added] = rows;
  if (added !== undefined) {
    const counters = { next_sequence: next_sequence + rows.length, queued_commands: queued_commands + rows.length };
    yield* saveSession(session, counters, context, undefined, undefined, added);
  }
  return rows;
});

/**
 * Leases the next command to a runner. Candidates are the first queued commands of sessions that run fewer than
 * maxParallel commands and have either no worktree or one that this runner leases. The runner must have all labels that
 * the command requires. The command that has waited longest is claimed first, where each step of priority counts as a minute of waiting. A claim is a sign of life
 * of its runner, also while it waits: a stalled runner is online again.
 *
 * Input    ttlMs: the length of the lease, renewed by runners.heartbeat; the runner counts as alive for at least half
 *          of it. waitMs: the time to wait for work. sessionId:
 *          claims from this session only
 * Result   { command, session, fence, expiresAt }, or undefined when there is nothing to run; undefined without a wait
 *          when the named session is ending or has ended
 * Fails    not_found | invalid_transition when the runner is draining or gone
 * Effect   one row of commands, of attempts and of sessions, and the expiry of the runner; one row of changes for the
 *          command, one for the session when it starts, and one for the runner when it was stalled
 * Cost     at most 12 statements, each by an index; for a runner with labels, 2 more that find the sets of labels which
 *          wait, at most bounds.labelSets, and 1 for each of them that it covers
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
    const { runner, hasDue } = yield* lockClaimingRunner(runnerId, ttlMs, context);
    requireState(runner, "runner", ["online"]);
    if (hasDue) yield* promoteDue(context.limits.reapRows, context);
    const session = yield* nextSession(runner, sessionId);
    if (session === undefined) return yield* nothingReady(runner, sessionId, ttlMs);
    if (session instanceof Held) return session;
    const head = yield* one<CommandRow>(sql`
      SELECT * FROM commands WHERE session_id = ${session.id} AND state = 'queued' ORDER BY sequence LIMIT 1`);
    const expiresAt = after(now, ttlMs);
    const command = yield* startCommand(head, runnerId, expiresAt, context);
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

/**
 * Reports the result of a command. A result is accepted even after the lease has expired, until the reaper has ended
 * the command. A command that is over its timeout, and whose cancellation was not requested, is recorded as `timed_out`
 * when its runner reports `cancelled`, because a runner need not know why it had to stop the command. A command that fails or
 * times out is queued again while it has retries left. Repeating the call with the same result changes nothing.
 *
 * Input    outcome: succeeded allows exit code 0 only, and no signal. exitCode, signal: one, both or neither, as the
 *          runner's system reports them. reason: what is longer than 1 000 characters is cut. logOffset: the number of
 *          bytes that the runner wrote to the log; the call fails with log_gap while fewer are stored. release: how to
 *          release the session's worktree if the session ends with this command; it says nothing about a worktree that
 *          another runner holds. usage: what the program used with all that it has started; shown by its attempt, and
 *          summed by usage.days
 * Result   { command, session, remainingCommands }, where remainingCommands counts the session's queued and active
 *          commands. A command that is tried again is queued, and notBefore is the end of its pause
 * Fails    not_found | lease_lost { currentFence } | invalid_transition { state } | log_gap { expectedOffset }
 *          | invalid_input
 * Effect   one row of commands, of attempts (its log is sealed) and of sessions, and perhaps one of worktrees; with usage
 *          up to four of usage_days
 * Cost     at most 8 statements, each by an index, unless the session ends with the command
 */
export const finish = operation({
  access: "write",
  input: z
    .strictObject({
      commandId: Id,
      fence: Fence,
      outcome: z.enum(outcomes),
      exitCode: ExitCode.optional(),
      signal: Signal.optional(),
      reason: Reason.nullable().optional(),
      logOffset: z.int().min(0).optional(),
      release: z.enum(releaseKinds).optional(),
      usage: UsageField,
    })
    .refine((input) => input.outcome !== "succeeded" || (input.exitCode ?? 0) === 0, {
      error: "must be 0, null or absent when the outcome is succeeded: report failed, which records the exit code",
      path: ["exitCode"],
    })
    .refine((input) => input.outcome !== "succeeded" || !input.signal, {
      error: "must be null or absent when the outcome is succeeded: report failed, which records the signal",
      path: ["signal"],
    }),
  output: Finished,
  errors: ["not_found", "lease_lost", "invalid_transition", "log_gap"],
  *run(input, context) {
    const { session, command: before } = yield* lockCommand(input.commandId);
    const result = {
      state: recordedOutcome(before, input.outcome, context.now),
      exit_code: input.outcome === "succeeded" ? 0 : (input.exitCode ?? null),
      signal: input.signal || null,
      end_reason: input.reason || before.end_reason,
    };
    if (isFinal(before.state)) {
      requireSameResult(before, input.fence, result);
      return finishedAnswer(before, session);
    }
    if (yield* wasRetried(before, input.fence, result)) return finishedAnswer(before, session);
    if (before.fence !== input.fence || before.lease_expires_at === null) leaseLost(before, input.fence);
    if (before.state === "running" && result.state === "cancelled") {
      const message = `command ${before.id} is running, and its cancellation was not requested: report another outcome`;
      invalidTransition("command", before.state, message);
    }
    if (input.usage !== undefined) noteUse(before, session, input.usage, context);
    if (mayRetry(before, session, result)) {
      const retryAt = context.now.getTime() + pauseMs(before);
      const retry = { retryAt, logOffset: input.logOffset, usage: input.usage };
      const retried = yield* requeueCommand(before, result, retry, context);
      const queue = { active_commands: session.active_commands - 1, queued_commands: session.queued_commands + 1 };
      return finishedAnswer(
        retried,
        yield* settleSession(yield* saveSession(session, queue, context), undefined, context),
      );
    }
    const command = yield* endCommand(before, result, "finish", context, input.logOffset, input.usage);
    const counters = {
      active_commands: session.active_commands - 1,
      failed_commands: session.failed_commands + (hasFailed(result.state) ? 1 : 0),
      ...asLastCommand(command),
      ...(yield* stopAfter(session, hasFailed(result.state), context)),
    };
    const release = input.release && { runnerId: before.runner_id, to: input.release };
    const settled = yield* settleSession(yield* saveSession(session, counters, context), release, context);
    return finishedAnswer(command, settled);
  },
});

/**
 * Gives a command back that its runner cannot finish, for example because the runner has to stop. End its program
 * before. The command is queued again if it has attempts left (maxAttempts); otherwise it ends as lost, or as cancelled
 * if its cancellation was requested. Repeating the call changes nothing.
 *
 * Input    hasStarted: false when the program was never started; then the attempt does not count, at most three times.
 *          reason: shown by the attempt, and by a command that ends. logOffset: the number of bytes that the runner wrote
 *          to the log; the call fails with log_gap while fewer are stored
 * Result   { command, session, remainingCommands }, as of finish
 * Fails    not_found | lease_lost { currentFence } | invalid_transition { state } when it has ended with a result
 *          | log_gap { expectedOffset }
 * Effect   one row of commands, of attempts (its log is sealed) and of sessions. The worktree stays leased: release it
 * Cost     at most 8 statements, each by an index, unless the session ends with the command
 */
export const handBack = operation({
  access: "write",
  input: z.strictObject({
    commandId: Id,
    fence: Fence,
    hasStarted: z.boolean().default(true),
    reason: Reason.default("handed_back"),
    logOffset: z.int().min(0).optional(),
  }),
  output: Finished,
  errors: ["not_found", "lease_lost", "invalid_transition", "log_gap"],
  *run({ commandId, fence, hasStarted, reason, logOffset }, context) {
    const { session, command: before } = yield* lockCommand(commandId);
    if (before.fence !== fence) leaseLost(before, fence);
    if (before.lease_expires_at === null) {
      // Queued under this fence, it was given back before, or its lease has expired.
      if (before.state === "queued" || before.state === "lost" || before.state === "cancelled")
        return finishedAnswer(before, session);
      invalidTransition("command", before.state, `command ${before.id} has already ended as ${before.state}`);
    }
    const isCounted = hasStarted || before.lost_claims >= lostClaimsMax;
    const lost = yield* loseAttempt(before, session, { isCounted, reason, logOffset }, context);
    return finishedAnswer(lost.command, yield* settleSession(lost.session, undefined, context));
  },
});

function finishedAnswer(command: CommandRow, session: SessionRow) {
  return { command, session, remainingCommands: session.queued_commands + session.active_commands };
}

/** Checks whether a result is followed by another attempt: a failure of a command that nobody wants to end. */
function mayRetry(row: CommandRow, session: SessionRow, { state }: CommandResult): boolean {
  const isWanted = row.state === "running" && (session.state === "pending" || session.state === "running");
  return isWanted && (state === "failed" || state === "timed_out") && row.failed_attempts < row.retries;
}

/** Checks whether this result was reported before, and the command was queued for another attempt. */
const wasRetried = step(function* (row: CommandRow, fence: number, result: CommandResult) {
  if (row.state !== "queued" || row.fence !== fence || row.failed_attempts === 0) return false;
  const attempt = yield* one<{ outcome: string; exit_code: number | null; signal: string | null }>(
    sql`SELECT outcome, exit_code, signal FROM attempts WHERE command_id = ${row.id} AND fence = ${fence}`,
  );
  // A runner reports `cancelled` for what was recorded as timed out.
  const isSame = attempt.outcome === result.state || (attempt.outcome === "timed_out" && result.state === "cancelled");
  return isSame && attempt.exit_code === result.exit_code && attempt.signal === result.signal;
});

/** Returns the state that a reported outcome leads to. A stop that nobody requested is that of the timeout (D-079). */
function recordedOutcome(row: CommandRow, outcome: Outcome, now: Date): Outcome {
  const isStopped =
    row.state === "running" ? isOverTime(row, now) : row.state === "timed_out" && row.timeout_ms !== null;
  return outcome === "cancelled" && isStopped && row.cancel_requested_at === null ? "timed_out" : outcome;
}

/** Fails unless the command has ended under this fence and with this result. */
function requireSameResult(row: CommandRow, fence: number, result: CommandResult): void {
  if (row.fence !== fence) leaseLost(row, fence);
  if (row.state === result.state && row.exit_code === result.exit_code && row.signal === result.signal) return;
  invalidTransition("command", row.state, `command ${row.id} has already ended as ${row.state}`);
}

/**
 * Cancels a command. A queued command ends at once; the runner of a running one is asked, with its next heartbeat, to
 * stop it. Repeating the call changes nothing.
 *
 * Input    force: ends an active command at once, without its runner, as the store does limits.stopGraceMs after a
 *          cancellation. For a runner that is stuck
 * Effect   with `force`, the runner's fencing token is lost, the worktree of the session is quarantined, because a
 *          process may still write in it, and the session ends: as failed, if it was not ending already
 * Fails    not_found | invalid_transition when the command has ended with another result
 *          | conflict { reason: "version" }
 */
export const cancel = operation({
  access: "write",
  input: z.strictObject({
    commandId: Id,
    reason: Reason.optional(),
    force: z.boolean().default(false),
    expectedVersion: Version.optional(),
  }),
  output: Command,
  errors: ["not_found", "invalid_transition", "conflict"],
  *run({ commandId, reason, force, expectedVersion }, context) {
    const { session, command: before } = yield* lockCommand(commandId, force);
    if (before.state === "cancelled" || (before.state === "cancelling" && !force)) return before;
    requireVersion(before, expectedVersion);
    requireState(before, "command", force ? ["queued", "running", "cancelling"] : ["queued", "running"]);
    const command = before.state === "cancelling" ? before : yield* cancelCommand(before, reason, context);
    if (before.state === "queued") {
      const counters = { queued_commands: session.queued_commands - 1 };
      yield* settleSession(yield* saveSession(session, counters, context), undefined, context);
      return command;
    }
    if (!force) return command;
    const asked = { ...command, end_reason: reason ?? command.end_reason };
    yield* settleForcedSession(yield* endByForce(session, [asked], context), context);
    return yield* getRow("command", commandId);
  },
});

/**
 * Returns one command.
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

/**
 * Lists the commands of one session by their sequence, or of all sessions by the time of their creation. A row must
 * match all filters that are present.
 *
 * Input    runnerId: the runner that runs the command, or ran it last
 * Cost     1 statement along an index. With filters besides the first of sessionId, runnerId and state, or with times
 *          besides sessionId, 2 statements that read at most 5 000 rows
 */
export const list = operation({
  access: "read",
  input: listInput("command", {
    sessionId: Id.optional(),
    runnerId: Id.optional(),
    state: oneOrMore(commandStates),
  }),
  output: page(Command),
  errors: [],
  *run(input) {
    return yield* listPage("command", input, {
      filters: {
        session: filter(sql`session_id`, input.sessionId),
        runner: filter(sql`runner_id`, input.runnerId),
        state: filter(sql`state`, input.state),
      },
      indexes: [["session"], ["runner"], ["state"]],
      // Commands of one call share a created_at.
      ...(input.sessionId === undefined ? {} : { key: sequenceKey }),
    });
  },
});

/**
 * Lists the attempts of a command, the first one first: which runner ran it, how that ended, and how large its log is.
 *
 * Fails    not_found
 * Cost     2 statements by key; a command has at most maxAttempts + retries + 3 attempts
 */
export const attempts = operation({
  access: "read",
  input: z.strictObject({ commandId: Id }),
  output: listOf(Attempt),
  errors: ["not_found"],
  *run({ commandId }) {
    yield* getRow("command", commandId);
    return yield* all<RawOf<typeof Attempt>>(sql`
      SELECT *, next_offset AS log_bytes, next_line AS log_lines FROM attempts
      WHERE command_id = ${commandId}
      ORDER BY attempt`);
  },
});

/**
 * Waits until the command has ended, and returns it.
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
      : new NotYet(
          [commandTopic(commandId)],
          new StoreError("deadline_exceeded", `command ${commandId} has not ended yet`),
        );
  },
});
