// The model of a session's row: its activity, what may be claimed from it, and its end.
import { cancelCommand, cancelCommandsOf, commandsOf } from "./commandState.ts";
import { type Command, priorityStepMs, type Session, type State, type Worktree } from "./state.ts";
import { endTokensOf } from "./tokens.ts";
import { endLease, leaseOf, type Release, releases } from "./worktreeLease.ts";

export const isOpen = ({ state }: { readonly state: string }): boolean =>
  ["pending", "running", "cancelling"].includes(state);

/** Records activity of an open session. */
export function keepActive(state: State, sessionId: string | undefined): void {
  const row = sessionId === undefined ? undefined : state.sessions.get(sessionId);
  if (row === undefined || !isOpen(row) || row.lastActivityAt === state.now) return;
  const expiresAt = row.idleTtlMs === null ? null : state.now + row.idleTtlMs;
  state.put("sessions", row.id, { ...row, lastActivityAt: state.now, expiresAt });
}

/** Changes a session, which is activity. Only a change with an `op` is one for the feed, and raises the version. */
export function saveSession(state: State, before: Session, changes: Partial<Session>, op?: string): Session {
  const { now } = state;
  const changed = { ...before, ...changes, lastActivityAt: now, updatedAt: now };
  const row = {
    ...changed,
    ...(changed.idleTtlMs === null ? {} : { expiresAt: now + changed.idleTtlMs }),
    version: before.version + (op === undefined ? 0 : 1),
    hidden: { readyFrom: readyFrom(state, changed) },
  };
  state.put("sessions", row.id, row);
  if (op !== undefined) state.change("session", { ...row, fence: row.worktreeFence }, op, row.id);
  return row;
}

/** Returns the time from which the head of the queue counts as waiting: earlier for each step of its priority. */
function readyFrom(state: State, session: Session): number | null {
  const takesWork = session.state === "pending" || session.state === "running";
  if (!takesWork || session.queuedCommands === 0 || session.activeCommands >= session.maxParallel) return null;
  const head = commandsOf(state, session.id).find((command) => command.state === "queued") as Command;
  const from = Math.max(head.queuedAt, head.notBefore ?? head.queuedAt);
  // One whose time has not come counts from then.
  return (
    (head.notBefore !== null && head.notBefore > state.now ? from : Math.min(from, state.now)) -
    head.priority * priorityStepMs
  );
}

/** Cancels what waits in a session after a failure, if the session wants that, and returns the counters that change. */
export function stopAfter(state: State, session: Session, hasFailed: boolean): Partial<Session> {
  if (!hasFailed || session.onFailure !== "stop" || session.queuedCommands === 0) return {};
  for (const command of commandsOf(state, session.id))
    if (command.state === "queued") cancelCommand(state, command, "command_failed");
  return { queuedCommands: 0 };
}

/** Returns the open session that holds a worktree under its current fencing token. */
export function sessionOf(state: State, { id, fence }: Worktree): Session | undefined {
  return [...state.sessions.values()].find(
    (session) => session.worktreeId === id && session.worktreeFence === fence && isOpen(session),
  );
}

export function unbind(state: State, session: Session): Session {
  return saveSession(state, session, { worktreeId: null, worktreeFence: null }, "unbind");
}

/** Ends the expired lease of a worktree. Nobody knows the directory that was being created or evicted. */
export function expireWorktree(state: State, worktree: Worktree, session: Session | undefined): void {
  const to = worktree.state === "leased" ? "dirty" : "quarantined";
  endLease(state, worktree, { to, op: "expire", sessionId: session?.id });
  if (session !== undefined) unbind(state, session);
}

/** The state in which the runner of a session's last command says that it leaves the worktree. */
interface RunnerRelease {
  readonly runnerId: string | null;
  readonly to: Release;
}

export function endSession(
  state: State,
  session: Session,
  outcome: Session["state"],
  reason?: string,
  release?: RunnerRelease,
): Session {
  cancelCommandsOf(state, session);
  const to = outcome === "cancelled" && session.activeCommands > 0 ? "cancelling" : outcome;
  const endedAt = to === "cancelling" ? null : state.now;
  const row = saveSession(
    state,
    session,
    { state: to, endReason: reason ?? session.endReason, endedAt, queuedCommands: 0 },
    to === "cancelling" ? "cancelling" : "end",
  );
  if (row.activeCommands === 0) releaseWorktree(state, row, release);
  if (to !== "cancelling") endTokensOf(state, session.id);
  return row;
}

/** Continues a session after one of its commands has ended. */
export function settle(state: State, session: Session, release?: RunnerRelease): Session {
  if (session.activeCommands > 0) return session;
  if (session.state === "cancelling") return endSession(state, session, "cancelled", undefined, release);
  if (!isOpen(session)) {
    releaseWorktree(state, session, release);
    return session;
  }
  if (!session.autoComplete || session.queuedCommands > 0) return session;
  const hasSucceeded = commandsOf(state, session.id).some((command) => command.state === "succeeded");
  const outcome = session.failedCommands > 0 ? "failed" : hasSucceeded ? "completed" : "cancelled";
  return endSession(state, session, outcome, undefined, release);
}

/** Releases the worktree of a session that has ended, in the state that its holder names, or as dirty. */
function releaseWorktree(state: State, session: Session, release: RunnerRelease | undefined): void {
  const row = leaseOf(state, session);
  if (row === undefined || (row.state !== "leased" && row.state !== "creating")) return;
  const isByHolder = release !== undefined && (row.leaseRunnerId === null || row.leaseRunnerId === release.runnerId);
  const left = releases[isByHolder ? release.to : "dirty"];
  const to = row.state === "creating" && left !== "quarantined" ? "removed" : left;
  endLease(state, row, { to, op: "release", sessionId: session.id, isByHolder });
}

/** Adds a session. */
export function addSession(state: State, row: Session): void {
  state.put("sessions", row.id, row);
  state.change("session", row, "create", row.id);
}
