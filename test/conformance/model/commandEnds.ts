// The model of commands that end without their runner: their lease is lost, or they are ended by force.
import { endCommand, hasFailed, lastAttempt, requeue } from "./commandState.ts";
import { endSession, isOpen, saveSession, settle, stopAfter, unbind } from "./sessionState.ts";
import type { Command, Session, State } from "./state.ts";
import { endLease, leaseOf } from "./worktreeLease.ts";

/** Returns the fields of a session that tell how its last command has ended. */
export function asLast({ id, state, exitCode, signal }: Command): Partial<Session> {
  return {
    lastCommandId: id,
    lastCommandState: state as Session["lastCommandState"],
    lastExitCode: exitCode,
    lastSignal: signal,
  };
}

/** The number of claims that may get lost on the way to their runners without being counted as attempts. */
const lostClaimsMax = 3;

/** Ends the expired lease of a command: it is queued again, lost, or cancelled if that was asked for. */
export function expireCommand(state: State, command: Command, reason = "lease_expired"): void {
  const isUnconfirmed =
    command.state === "running" &&
    command.hidden.confirmedFence !== command.fence &&
    command.lostClaims < lostClaimsMax &&
    lastAttempt(state, command.id).logBytes === 0;
  loseAttempt(state, command, { isCounted: !isUnconfirmed, reason });
}

/** Gives a command back: its attempt counts if its program was started, and after three that were not. */
export function handBack(state: State, command: Command, hasStarted: boolean, reason: string, logOffset?: number) {
  const isCounted = hasStarted || command.lostClaims >= lostClaimsMax;
  return loseAttempt(state, command, { isCounted, reason, logOffset });
}

function loseAttempt(
  state: State,
  command: Command,
  how: { readonly isCounted: boolean; readonly reason: string; readonly logOffset?: number | undefined },
): Command {
  const session = state.sessions.get(command.sessionId) as Session;
  const isRunning = command.state === "running";
  const isRequeued =
    isRunning &&
    (!how.isCounted || command.attempt - command.lostClaims - command.failedAttempts < command.maxAttempts);
  const to = isRunning ? "lost" : "cancelled";
  const result = { state: to, exitCode: null, signal: null, endReason: command.endReason ?? how.reason } as const;
  let counters: Partial<Session> = { activeCommands: session.activeCommands - 1 };
  let lost: Command;
  if (isRequeued) {
    lost = requeue(state, command, result, { isUnconfirmed: !how.isCounted, logOffset: how.logOffset });
    counters = { ...counters, queuedCommands: session.queuedCommands + 1 };
  } else {
    lost = endCommand(state, command, result, "expire", how.logOffset);
    const failedCommands = session.failedCommands + (hasFailed(to) ? 1 : 0);
    counters = { ...counters, failedCommands, ...asLast(lost), ...stopAfter(state, session, hasFailed(to)) };
  }
  settle(state, saveSession(state, session, counters));
  return lost;
}

/** Ends active commands of a session by force, which quarantines its worktree. */
export function endByForce(state: State, session: Session, commands: readonly Command[]) {
  const worktree = leaseOf(state, session);
  let failedCommands = session.failedCommands;
  let last: Partial<Session> = {};
  for (const command of commands) {
    const to = command.state === "cancelling" ? "cancelled" : "timed_out";
    if (to === "timed_out") failedCommands++;
    const result = { state: to, exitCode: null, signal: null, endReason: command.endReason ?? "forced" } as const;
    last = asLast(endCommand(state, command, result, "force"));
  }
  if (worktree !== undefined) endLease(state, worktree, { to: "quarantined", op: "quarantine", sessionId: session.id });
  const activeCommands = session.activeCommands - commands.length;
  const stopped = stopAfter(state, session, failedCommands > session.failedCommands);
  const saved = saveSession(state, session, { activeCommands, failedCommands, ...last, ...stopped });
  return { session: saved, hasLostWorktree: worktree !== undefined };
}

/** Continues a session after one of its commands was ended by force. */
export function settleForced(state: State, { session, hasLostWorktree }: ReturnType<typeof endByForce>): void {
  if (!hasLostWorktree || !isOpen(session)) settle(state, session);
  else if (session.state !== "cancelling") endSession(state, session, "failed", "worktree_quarantined");
  else {
    const settled = settle(state, session);
    if (isOpen(settled)) unbind(state, settled);
  }
}
