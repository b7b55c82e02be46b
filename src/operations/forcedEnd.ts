// Ends active commands without their runner, which may be stuck, and whose process may still be running. So the runner
// gets nothing more accepted, and nobody else gets the worktree in which that process may still write (D-079).
import type { Context } from "../context.ts";
import type { CommandRow } from "../model/commands.ts";
import { isOpen, type SessionRow } from "../model/sessions.ts";
import { step } from "../sql.ts";
import { asLastCommand, endCommand } from "./commandState.ts";
import { endSession, saveSession, settleSession, stopAfter, unbindWorktree } from "./sessionState.ts";
import { endLease, lockLeaseOf } from "./worktreeLease.ts";

/**
 * Ends active commands of a session by force: one that was cancelled as `cancelled`, any other as `timed_out`. The
 * session's worktree is quarantined. The caller holds the locks of the session and of all its active commands, which come
 * before the worktree in the order of locks, and then ends the session, or continues it with settleForcedSession.
 */
export const endByForce = step(function* (session: SessionRow, commands: readonly CommandRow[], context: Context) {
  const worktree = yield* lockLeaseOf(session);
  let timedOut = 0;
  let last: ReturnType<typeof asLastCommand> | undefined;
  for (const command of commands) {
    const state = command.state === "cancelling" ? "cancelled" : "timed_out";
    if (state === "timed_out") timedOut++;
    const result = { state, exit_code: null, signal: null, end_reason: command.end_reason ?? "forced" } as const;
    last = asLastCommand(yield* endCommand(command, result, "force", context));
  }
  // The row of a session that ends keeps its worktree as a record of where it ran.
  if (worktree !== undefined) {
    const end = { state: "quarantined", op: "quarantine", reason: "forced", sessionId: session.id } as const;
    yield* endLease(worktree, end, context);
  }
  const counters = {
    active_commands: session.active_commands - commands.length,
    failed_commands: session.failed_commands + timedOut,
    ...last,
    ...(yield* stopAfter(session, timedOut > 0, context)),
  };
  return { session: yield* saveSession(session, counters, context), lostWorktree: worktree !== undefined };
});

/**
 * Continues a session after endByForce. An open one that has lost its worktree ends: as `cancelled`, once none of its
 * commands is active, if it was being cancelled, and otherwise as `failed`.
 */
export const settleForcedSession = step(function* (
  { session, lostWorktree }: { readonly session: SessionRow; readonly lostWorktree: boolean },
  context: Context,
) {
  if (!lostWorktree || !isOpen(session.state)) return yield* settleSession(session, undefined, context);
  if (session.state !== "cancelling") return yield* endSession(session, "failed", context, "worktree_quarantined");
  const settled = yield* settleSession(session, undefined, context);
  return isOpen(settled.state) ? yield* unbindWorktree(settled, context) : settled;
});
