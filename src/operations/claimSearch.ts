// The search for the session whose next command a runner claims, and what a claim waits for that finds none.
import type { SessionRow } from "../model/sessions.ts";
import { Held, NotYet } from "../operation.ts";
import { and, first, skipLocked, skipLockedSessions, sql, step, when } from "../sql.ts";
import { notFound } from "./failures.ts";
import { openSessionStates } from "./sessionActivity.ts";
import { drainTopic, heldKind, heldTopic, readyKind, readyTopic, sessionTopic } from "./topics.ts";

/** Returns the answer of a claim that found nothing: it waits, unless the named session runs no more commands. */
export const nothingReady = step(function* (runnerId: string, sessionId: string | undefined, ttlMs: number) {
  // A claim that waits runs again in time to keep its runner alive.
  const againMs = ttlMs / 3;
  const drain = drainTopic(runnerId);
  if (sessionId === undefined)
    return new NotYet([drain], undefined, { againMs, kinds: [readyKind, heldKind(runnerId)] });
  const session = yield* first<Pick<SessionRow, "state">>(sql`SELECT state FROM sessions WHERE id = ${sessionId}`);
  if (session === undefined) notFound("session", sessionId);
  return session.state === "pending" || session.state === "running"
    ? new NotYet([drain, readyTopic(sessionId), heldTopic(runnerId, sessionId), sessionTopic(sessionId)], undefined, {
        againMs,
      })
    : undefined;
});

type Ready = SessionRow & { readonly ready_at: number };

/**
 * Locks and returns the session to claim from, or returns undefined. Runs two ordered lookups, one for sessions without
 * a worktree and one for those whose worktree this runner leases: a single statement would have to sort, and would read
 * the sessions that are bound to worktrees of other runners (D-025). Returns Held when other transactions have locked
 * all that there are: a claim that waited for one of them would hold up all others.
 */
export const nextSession = step(function* (runnerId: string, sessionId: string | undefined) {
  const filter = and(when(sessionId, (id) => sql`sessions.id = ${id}`));
  const anyFree = sql`
    SELECT * FROM sessions
    WHERE ready_at IS NOT NULL AND worktree_id IS NULL AND ${filter}
    ORDER BY ready_at, id
    LIMIT 1`;
  const anyBound = sql`
    SELECT sessions.*
    FROM worktrees JOIN sessions ON sessions.worktree_id = worktrees.id AND sessions.worktree_fence = worktrees.fence
    WHERE worktrees.lease_runner_id = ${runnerId}
      AND sessions.ready_at IS NOT NULL AND sessions.state IN (${openSessionStates}) AND ${filter}
    ORDER BY sessions.ready_at, sessions.id
    LIMIT 1`;
  const free = yield* first<Ready>(sql`${anyFree} ${skipLocked}`);
  const bound = yield* first<Ready>(sql`${anyBound} ${skipLockedSessions}`);
  if (free !== undefined && bound !== undefined) return bound.ready_at <= free.ready_at ? bound : free;
  if (free !== undefined || bound !== undefined) return free ?? bound;
  const held = (yield* first<Ready>(anyFree)) ?? (yield* first<Ready>(anyBound));
  return held && new Held([sessionTopic(held.id)], "the session to claim from");
});
