// The end of an attempt without a result, because its lease ran out or its runner gave it back: the command is queued
// again, or ends.
import type { Context } from "../context.ts";
import { type CommandRow, hasFailed, type ReapedCommandRow } from "../model/commands.ts";
import type { SessionRow } from "../model/sessions.ts";
import type { CommandState } from "../model/vocabulary.ts";
import { all, and, first, forUpdate, one, skipLocked, sql, step, when } from "../sql.ts";
import { asLastCommand, endCommand, requeueCommand } from "./commandState.ts";
import { failRequestsOfCommand } from "./debugRequestState.ts";
import { saveSession, settleSession, stopAfter, tryLockSession } from "./sessionState.ts";
import { tryLockLeaseOf } from "./worktreeLease.ts";

interface CommandExpiry {
  readonly limit: number;
  /** The runner whose leases end. All runners by default. */
  readonly runnerId?: string;
  /** The reason that commands and attempts show, unless they have one. */
  readonly reason?: string;
}

/**
 * Ends at most `limit` expired leases of commands, of all runners or of one, and returns the ids of the commands. Each
 * command is queued again, or lost, or cancelled if that was requested. Skips rows that another transaction has locked.
 */
export const expireCommandLeases = step(function* (
  context: Context,
  { limit, runnerId, reason = "lease_expired" }: CommandExpiry,
) {
  const { now } = context;
  // A plain comparison would lead SQLite to the index of all commands that the runner ever ran.
  const ofRunner = and(when(runnerId, (id) => sql`(runner_id = ${id}) IS TRUE`));
  const expired = yield* all<Pick<CommandRow, "id" | "session_id">>(sql`
    SELECT id, session_id FROM commands
    WHERE lease_expires_at IS NOT NULL AND lease_expires_at <= ${now} AND ${ofRunner}
    ORDER BY lease_expires_at LIMIT ${limit}`);
  const ids: string[] = [];
  for (const { id, session_id } of expired) {
    const session = yield* tryLockSession(session_id);
    if (session === undefined) continue;
    // The rows above were read without a lock, so this one may have been renewed or finished since.
    const row = yield* first<ReapedCommandRow>(
      sql`SELECT * FROM commands WHERE id = ${id} AND lease_expires_at <= ${now} ${skipLocked}`,
    );
    if (row === undefined || !(yield* tryLockLeaseOf(session))) continue;
    ids.push(id);
    const isUnconfirmed = row.state === "running" && (yield* neverReachedRunner(row));
    const lost = yield* loseAttempt(row, session, { isCounted: !isUnconfirmed, reason }, context);
    yield* settleSession(lost.session, undefined, context);
  }
  return ids;
});

interface LostAttempt {
  /** True when it is one of the attempts that the command has. */
  readonly isCounted: boolean;
  readonly reason: string;
  readonly logOffset?: number | undefined;
}

/**
 * Ends the current attempt of an active command without a result. The command is queued again if it has attempts left;
 * otherwise it is lost, or cancelled if that was requested. Returns the command and its session, which is not settled.
 */
export const loseAttempt = step(function* (
  row: CommandRow,
  session: SessionRow,
  { isCounted, reason, logOffset }: LostAttempt,
  context: Context,
) {
  yield* failRequestsOfCommand(row.id, context);
  const attemptsUsed = row.attempt - row.lost_claims - row.failed_attempts;
  const isRequeued = row.state === "running" && (!isCounted || attemptsUsed < row.max_attempts);
  const state: CommandState = row.state === "cancelling" ? "cancelled" : "lost";
  const result = { state, exit_code: null, signal: null, end_reason: row.end_reason ?? reason };
  const command = isRequeued
    ? yield* requeueCommand(row, result, { isUnconfirmed: !isCounted, logOffset }, context)
    : yield* endCommand(row, result, "expire", context, logOffset);
  const counters = {
    active_commands: session.active_commands - 1,
    queued_commands: session.queued_commands + (isRequeued ? 1 : 0),
    failed_commands: session.failed_commands + (!isRequeued && hasFailed(state) ? 1 : 0),
    ...(isRequeued ? {} : asLastCommand(command)),
    ...(yield* stopAfter(session, !isRequeued && hasFailed(state), context)),
  };
  return { command, session: yield* saveSession(session, counters, context) };
});

/**
 * The number of attempts of one command that do not count because their claim never reached a runner. A command that
 * ends its runner within seconds looks the same, so there has to be a bound (D-083).
 */
export const lostClaimsMax = 3;

/**
 * Checks whether the current claim of a command never reached its runner, as far as the store can know: its fencing
 * token came back neither with a heartbeat nor with an append. False when the bound of such claims is reached.
 */
const neverReachedRunner = step(function* (row: ReapedCommandRow) {
  if (row.confirmed_fence === row.fence || row.lost_claims >= lostClaimsMax) return false;
  const attempt = yield* one<{ next_offset: number }>(
    sql`SELECT next_offset FROM attempts WHERE command_id = ${row.id} AND fence = ${row.fence} ${forUpdate}`,
  );
  return attempt.next_offset === 0;
});
