// The activity of a session, which keeps it from being idle (D-084). These count:
//
// - every change of the session and of its commands, and `sessions.touch` (saveSession in sessionState.ts),
// - commands that wait or run, for as long as they do (the index sessions_expiry leaves such sessions out),
// - reports of its debuggers, and what their clients set (lockDebugSession in debugState.ts),
// - artifacts that are recorded, announced, committed, pinned or deleted (artifacts.ts),
// - reports of its worktree's holder, and renewals that name the worktree (worktrees.ts).
//
// Reads do not count, and neither do calls that fail. A runner's heartbeat renews whatever the runner holds, used or
// not, so it does not count either.
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import { isOpen, type SessionRow } from "../model/sessions.ts";
import { sessionStates } from "../model/vocabulary.ts";
import { change, first, type Statement, skipLocked, sql, step, words } from "../sql.ts";

/** The states of an open session, for `state IN (...)`. */
export const openSessionStates: Statement = words(sessionStates.filter(isOpen));

/** The precision of `last_activity_at`: activity within this time of the last one is not written. */
const activityMs = 1_000;

/** Returns the condition of an open session whose last activity is not recent. */
function isDue({ now }: Context): Statement {
  // A time in the future is one from before the clock was set back.
  return sql`
    sessions.state IN (${openSessionStates})
    AND (last_activity_at <= ${after(now, -activityMs)} OR last_activity_at > ${now})`;
}

/** A row with the session to pass to `keepSessionActive`; null without one, or when its last activity is recent. */
export interface WithDueSession {
  readonly due_session_id: string | null;
}

/**
 * Returns the column of WithDueSession for the session that meets the condition. A statement that runs often looks for
 * the session with this column, and saves a statement of its own.
 */
export function dueSession(condition: Statement, context: Context): Statement {
  return sql`(SELECT sessions.id FROM sessions WHERE ${condition} AND ${isDue(context)}) AS due_session_id`;
}

/**
 * Records activity of a session, at most once a second. It may be called wherever the session stands in the order of
 * locks, because it does not wait: a session that another transaction has locked is in use, or just ends.
 */
export const keepSessionActive = step(function* (sessionId: string, context: Context) {
  const session = yield* first<SessionRow>(
    sql`SELECT * FROM sessions WHERE id = ${sessionId} AND ${isDue(context)} ${skipLocked}`,
  );
  if (session !== undefined) yield* keepLockedSessionActive(session, context);
});

/** Records activity of a session that the caller has locked. It raises no version, and is no change (D-029). */
export const keepLockedSessionActive = step(function* (
  { id, state, idle_ttl_ms, last_activity_at }: SessionRow,
  { now }: Context,
) {
  const agoMs = now.getTime() - last_activity_at;
  if (!isOpen(state) || (agoMs >= 0 && agoMs < activityMs)) return;
  yield* change(sql`
    UPDATE sessions SET
      last_activity_at = ${now},
      expires_at = ${idle_ttl_ms === null ? null : after(now, idle_ttl_ms)}
    WHERE id = ${id}`);
});
