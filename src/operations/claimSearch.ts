// The search for the session whose next command a runner claims, and what a claim waits for that finds none.
import { covers, type LabelSet, type Labels, runnerLabels } from "../model/labels.ts";
import type { SessionRow } from "../model/sessions.ts";
import { Held, NotYet } from "../operation.ts";
import { all, and, first, type Statement, skipLocked, skipLockedSessions, sql, step, valueList } from "../sql.ts";
import { notFound } from "./failures.ts";
import { coveredSets, isFree } from "./labelSets.ts";
import type { RowOf } from "./rows.ts";
import { openSessionStates } from "./sessionActivity.ts";
import { coveredKind, heldKind, heldTopic, readyKind, readyTopic, runnerTopic, sessionTopic } from "./topics.ts";

type Runner = Pick<RowOf["runner"], "id" | "labels">;

/** Returns the answer of a claim that found nothing: it waits, unless the named session runs no more commands. */
export const nothingReady = step(function* (runner: Runner, sessionId: string | undefined, ttlMs: number) {
  // A claim that waits runs again in time to keep its runner alive.
  const againMs = ttlMs / 3;
  const drain = runnerTopic(runner.id);
  if (sessionId === undefined) {
    const has = runnerLabels(runner);
    const kinds = [readyKind, heldKind(runner.id), ...(has === undefined ? [] : [coveredKind(has)])];
    return new NotYet([drain], undefined, { againMs, kinds });
  }
  const session = yield* first<Pick<ReadyRow, "state" | "ready_requires">>(
    sql`SELECT state, ready_requires FROM sessions WHERE id = ${sessionId}`,
  );
  if (session === undefined) notFound("session", sessionId);
  const ready = readyTopic(sessionId, session.ready_requires);
  return session.state === "pending" || session.state === "running"
    ? new NotYet([drain, ready, heldTopic(runner.id, sessionId), sessionTopic(sessionId)], undefined, { againMs })
    : undefined;
});

/** A session from which a runner may claim a command, with what that command requires of the runner. */
type ReadyRow = SessionRow & { readonly ready_at: number; readonly ready_requires: LabelSet };

const isBound = (runnerId: string): Statement => sql`
  worktrees.lease_runner_id = ${runnerId}
  AND sessions.ready_at IS NOT NULL AND sessions.state IN (${openSessionStates})`;
const boundSessions = sql`
  worktrees JOIN sessions ON sessions.worktree_id = worktrees.id AND sessions.worktree_fence = worktrees.fence`;

/** Selects the session without a worktree that comes first among those which require the same labels. */
const firstFree = (requires: LabelSet): Statement => sql`
  SELECT * FROM sessions
  WHERE ${isFree} AND ready_requires = ${requires}
  ORDER BY ready_at, id
  LIMIT 1`;

/** Selects the session that comes first among those whose worktree the runner leases. */
const firstBound = (runnerId: string, condition?: Statement): Statement => sql`
  SELECT sessions.*
  FROM ${boundSessions}
  WHERE ${and(isBound(runnerId), condition)}
  ORDER BY sessions.ready_at, sessions.id
  LIMIT 1`;

/**
 * Locks and returns the session to claim from, or returns undefined. It looks for sessions without a worktree, first for
 * those that require no labels and then for the sets of labels that the runner covers, and for sessions whose worktree
 * this runner leases. Each is an ordered lookup: a single statement would have to sort, and would read the sessions that
 * are bound to worktrees of other runners (D-025). Returns Held when other transactions have locked all that there are: a
 * claim that waited for one of them would hold up all others.
 */
export const nextSession = step(function* (runner: Runner, sessionId: string | undefined) {
  const has = runnerLabels(runner);
  if (sessionId !== undefined) return yield* namedSession(runner.id, has, sessionId);
  const labelled = has === undefined ? [] : yield* coveredSets(has);
  let free = yield* first<ReadyRow>(sql`${firstFree("")} ${skipLocked}`);
  for (const { requires, ready_at } of labelled) {
    if (free !== undefined && free.ready_at <= ready_at) break;
    free = (yield* first<ReadyRow>(sql`${firstFree(requires)} ${skipLocked}`)) ?? free;
    if (free?.ready_requires === requires) break;
  }
  const bound = yield* boundSession(runner.id, has);
  if (free !== undefined && bound !== undefined) return bound.ready_at <= free.ready_at ? bound : free;
  if (free !== undefined || bound !== undefined) return free ?? bound;
  for (const requires of ["", ...labelled.map((set) => set.requires)]) {
    const held = yield* first<ReadyRow>(firstFree(requires));
    if (held !== undefined) return heldBy(held);
  }
  const held = yield* first<ReadyRow>(firstBound(runner.id));
  return held !== undefined && covers(has, held.ready_requires) ? heldBy(held) : undefined;
});

const heldBy = ({ id }: ReadyRow) => new Held([sessionTopic(id)], "the session to claim from");

/** Locks and returns the session to claim from among those whose worktree this runner leases. */
const boundSession = step(function* (runnerId: string, has: Labels | undefined) {
  const row = yield* first<ReadyRow>(sql`${firstBound(runnerId)} ${skipLockedSessions}`);
  if (row === undefined || covers(has, row.ready_requires)) return row;
  // Rare: a worktree was leased for a runner that lacks what the session requires.
  const sets = yield* all<Pick<ReadyRow, "ready_requires">>(
    sql`SELECT sessions.ready_requires FROM ${boundSessions} WHERE ${isBound(runnerId)}`,
  );
  const covered = [...new Set(sets.map(({ ready_requires }) => ready_requires))].filter((set) => covers(has, set));
  if (covered.length === 0) return undefined;
  const isCovered = sql`sessions.ready_requires IN (${valueList(covered)})`;
  return yield* first<ReadyRow>(sql`${firstBound(runnerId, isCovered)} ${skipLockedSessions}`);
});

/** Locks and returns this session if the runner may claim from it. */
const namedSession = step(function* (runnerId: string, has: Labels | undefined, sessionId: string) {
  const named = sql`sessions.id = ${sessionId}`;
  const free = sql`SELECT * FROM sessions WHERE ${named} AND ${isFree}`;
  const bound = firstBound(runnerId, named);
  const row =
    (yield* first<ReadyRow>(sql`${free} ${skipLocked}`)) ??
    (yield* first<ReadyRow>(sql`${bound} ${skipLockedSessions}`));
  if (row !== undefined) return covers(has, row.ready_requires) ? row : undefined;
  const held = (yield* first<ReadyRow>(free)) ?? (yield* first<ReadyRow>(bound));
  return held !== undefined && covers(has, held.ready_requires) ? heldBy(held) : undefined;
});
