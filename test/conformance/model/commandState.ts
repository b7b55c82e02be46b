// The model of a command's row and its attempts.
import { type Attempt, type Command, Failure, raised, type Session, type State } from "./state.ts";

export type Result = Pick<Command, "exitCode" | "signal" | "endReason"> & {
  readonly state: "succeeded" | "failed" | "timed_out" | "cancelled" | "lost";
};

export const isFinal = (state: string): boolean => !["queued", "running", "cancelling"].includes(state);
export const hasFailed = (state: string): boolean => ["failed", "timed_out", "lost"].includes(state);

export const isOverTime = ({ stopAt }: Command, now: number): boolean => stopAt !== null && stopAt <= now;

export function commandsOf(state: State, sessionId: string): readonly Command[] {
  return [...state.commands.values()]
    .filter((command) => command.sessionId === sessionId)
    .toSorted((one, other) => one.sequence - other.sequence);
}

export function lastAttempt(state: State, commandId: string): Attempt {
  return state.attempts.get(commandId)?.at(-1) as Attempt;
}

/** Changes the last attempt of a command. */
export function putAttempt(state: State, commandId: string, changes: Partial<Attempt>): void {
  const all = state.attempts.get(commandId) ?? [];
  state.put("attempts", commandId, [...all.slice(0, -1), { ...(all.at(-1) as Attempt), ...changes }]);
}

function endAttempt(state: State, { id }: Command, result: Result, logOffset = 0): void {
  const { logBytes } = lastAttempt(state, id);
  if (logBytes < logOffset) throw new Failure("log_gap", { expectedOffset: logBytes });
  const { state: outcome, exitCode, signal } = result;
  putAttempt(state, id, { outcome, exitCode, signal, endedAt: state.now, logState: "sealed" });
}

/** Ends an active command. An end by force takes its runner the fencing token. */
export function endCommand(
  state: State,
  before: Command,
  result: Result,
  op: "finish" | "expire" | "force",
  logOffset?: number,
): Command {
  endAttempt(state, before, result, logOffset);
  const ended = { ...result, leaseExpiresAt: null, stopAt: null, endedAt: state.now };
  const row = raised(before, { ...ended, fence: before.fence + (op === "force" ? 1 : 0) }, state.now);
  state.put("commands", row.id, row);
  state.change("command", row, op, row.sessionId);
  return row;
}

/** The end of an attempt that another one follows. A claim that never reached its runner is not counted. */
interface Requeue {
  readonly isUnconfirmed?: boolean;
  readonly retryAt?: number;
  readonly logOffset?: number | undefined;
}

/** Queues a command again whose lease was lost, or whose attempt has failed. */
export function requeue(
  state: State,
  before: Command,
  result: Result,
  { isUnconfirmed = false, retryAt, logOffset }: Requeue,
): Command {
  endAttempt(state, before, result, logOffset);
  const row = raised(
    before,
    {
      state: "queued",
      runnerId: null,
      leaseExpiresAt: null,
      stopAt: null,
      startedAt: null,
      lostClaims: before.lostClaims + (isUnconfirmed ? 1 : 0),
      ...(retryAt === undefined ? {} : { notBefore: retryAt, failedAttempts: before.failedAttempts + 1 }),
    },
    state.now,
  );
  state.put("commands", row.id, row);
  state.change("command", row, "requeue", row.sessionId);
  return row;
}

/** Cancels a queued command, or asks the runner of a running one to stop it. */
export function cancelCommand(state: State, before: Command, endReason: string | null): Command {
  const { now } = state;
  const asked = { cancelRequestedAt: now, endReason };
  const row =
    before.state === "queued"
      ? raised(before, { ...asked, state: "cancelled", endedAt: now }, now)
      : raised(before, { ...asked, state: "cancelling", stopAt: Math.min(before.stopAt ?? now, now) }, now);
  state.put("commands", row.id, row);
  state.change("command", { ...row, fence: null }, before.state === "queued" ? "cancel" : "cancelling", row.sessionId);
  return row;
}

/** Cancels the commands of a session that ends. */
export function cancelCommandsOf(state: State, session: Session): void {
  for (const command of commandsOf(state, session.id)) {
    if (command.state === "queued") cancelCommand(state, command, "session_ended");
    if (command.state === "running") cancelCommand(state, command, command.endReason);
  }
}
