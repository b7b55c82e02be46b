// The model of the search for a worktree, and of the grant of its lease.
import { expireOldest } from "./leases.ts";
import { activeRepository, countWorktrees } from "./repositories.ts";
import { liveRunner } from "./runners.ts";
import { expireWorktree, saveSession } from "./sessionState.ts";
import {
  Failure,
  get,
  type Repository,
  requireState,
  type Session,
  type State,
  smallest,
  stamped,
  tickMs,
  type Worktree,
} from "./state.ts";
import { leaseOf, saveWorktree, withoutCommit, withoutEnvironment } from "./worktreeLease.ts";

export interface Reservation {
  readonly id?: string | undefined;
  readonly repositoryId: string;
  readonly sessionId?: string | undefined;
  readonly commitSha?: string | undefined;
  readonly environmentHash?: string | undefined;
  readonly path?: string | undefined;
  readonly runnerId?: string | undefined;
  readonly owner?: string | undefined;
  readonly place?: string | undefined;
  readonly ttlMs?: number | undefined;
}

interface Holder {
  readonly leaseRunnerId: string | null;
  readonly leaseOwner: string;
}

export function holderOf(state: State, { runnerId, owner }: Pick<Reservation, "runnerId" | "owner">): Holder {
  if (runnerId === undefined) return { leaseRunnerId: null, leaseOwner: owner as string };
  const runner = liveRunner(state, runnerId);
  return { leaseRunnerId: runnerId, leaseOwner: owner ?? runner.name };
}

/** Returns the place of a call that reserves or evicts: the one that it names, or that of its runner. */
export function placeOf(state: State, { runnerId, place }: Pick<Reservation, "runnerId" | "place">): string {
  return place ?? (runnerId === undefined ? "" : liveRunner(state, runnerId).place);
}

/** Checks whether a worktree is of a repository and in a place. */
export const isThere = (row: Worktree, repositoryId: string, place: string): boolean =>
  row.repositoryId === repositoryId && row.place === place;

/** Checks whether a repository has as many worktrees in a place as it allows. */
export function isFullAt(state: State, { id, maxWorktrees }: Repository, place: string): boolean {
  const count = [...state.worktrees.values()].filter(
    (row) => isThere(row, id, place) && row.state !== "removed",
  ).length;
  return count >= maxWorktrees;
}

export function reserve(state: State, input: Reservation) {
  const repository = activeRepository(state, input.repositoryId);
  const holder = holderOf(state, input);
  const place = placeOf(state, input);
  const session = input.sessionId === undefined ? undefined : reservingSession(state, repository, input.sessionId);
  const wanted = { commitSha: input.commitSha ?? session?.commitSha, environmentHash: input.environmentHash };
  let found = search(state, repository, place, wanted);
  const isFull = isFullAt(state, repository, place);
  while (found === undefined && isFull && expireOldest(state, (row) => isThere(row, repository.id, place)))
    found = search(state, repository, place, wanted);
  if (found === undefined && isFull) throw noCapacity(state, repository, place, true);
  const before = found?.row;
  const needsSync = isMissing(before?.commitSha, wanted.commitSha);
  const needsEnvironment = isMissing(before?.environmentHash, wanted.environmentHash);
  const ttlMs = input.ttlMs ?? tickMs;
  const worktree =
    before === undefined
      ? create(state, { ...input, place }, repository, holder)
      : grant(state, before, holder, { to: "leased", needsSync, needsEnvironment, ttlMs, sessionId: session?.id });
  if (session !== undefined) {
    const bound = state.sessions.get(session.id) as Session;
    saveSession(state, bound, { worktreeId: worktree.id, worktreeFence: worktree.fence }, "bind");
  }
  return {
    worktree,
    fence: worktree.fence,
    expiresAt: worktree.leaseExpiresAt,
    match: found?.match ?? "created",
    needsScrub: before?.state === "dirty",
    needsSync,
    needsEnvironment,
  };
}

const isMissing = (known: string | null | undefined, wanted: string | undefined): boolean =>
  known === null || known === undefined || (wanted !== undefined && known !== wanted);

/** Returns the session that reserves, without a lease that has expired. */
function reservingSession(state: State, repository: Repository, id: string): Session {
  const session = get(state.sessions, "session", id);
  if (session.repositoryId !== repository.id) throw new Failure("conflict", { reason: "repository" });
  requireState("session", session, ["pending", "running"]);
  const bound = leaseOf(state, session);
  if (bound === undefined) return session;
  if ((bound.leaseExpiresAt as number) > state.now || session.activeCommands > 0)
    throw new Failure("conflict", { reason: "bound", worktreeId: bound.id, fence: bound.fence });
  expireWorktree(state, bound, session);
  return state.sessions.get(id) as Session;
}

/** Returns a free worktree of the best match; among equal ones an idle one, and then the least recently used one. */
function search(
  state: State,
  { id }: Repository,
  place: string,
  { commitSha, environmentHash }: { commitSha: string | undefined; environmentHash: string | undefined },
) {
  const free = [...state.worktrees.values()].filter(
    (row) => isThere(row, id, place) && (row.state === "idle" || row.state === "dirty"),
  );
  const hasCommit = (row: Worktree) => commitSha !== undefined && row.commitSha === commitSha;
  const hasEnvironment = (row: Worktree) => environmentHash !== undefined && row.environmentHash === environmentHash;
  const ranks = [
    ["commit_and_environment", (row: Worktree) => hasCommit(row) && hasEnvironment(row)],
    ["environment", hasEnvironment],
    ["commit", hasCommit],
    ["least_recently_used", () => true],
  ] as const;
  for (const [match, fits] of ranks) {
    const fitting = free.filter(fits);
    const cleanest = smallest(fitting, (row) => (row.state === "idle" ? 0 : 1));
    const row = state.choices.of(smallest(cleanest, ({ lastUsedAt }) => lastUsedAt));
    if (row !== undefined) return { row, match };
  }
  return undefined;
}

export function noCapacity(
  state: State,
  { id, maxWorktrees }: Repository,
  place: string,
  keepsChanges = false,
): Failure {
  const rows = [...state.worktrees.values()].filter((row) => isThere(row, id, place));
  const expiries = rows.flatMap(({ leaseExpiresAt: at }) => (at !== null && at > state.now ? [at] : []));
  const details = {
    earliestExpiryAt: expiries.length === 0 ? null : Math.min(...expiries),
    inUse: rows.filter(({ leaseExpiresAt }) => leaseExpiresAt !== null).length,
    quarantined: rows.filter((row) => row.state === "quarantined").length,
    maxWorktrees,
    place,
  };
  return new Failure("capacity_exhausted", details, keepsChanges);
}

interface Grant {
  readonly to: "leased" | "evicting";
  readonly needsSync: boolean;
  readonly needsEnvironment: boolean;
  readonly ttlMs: number;
  readonly sessionId?: string | undefined;
}

export function grant(state: State, before: Worktree, holder: Holder, terms: Grant): Worktree {
  const { now } = state;
  let row = before;
  if (terms.needsSync) row = withoutCommit(row);
  if (terms.needsEnvironment) row = withoutEnvironment(row);
  return saveWorktree(
    state,
    {
      ...row,
      ...holder,
      state: terms.to,
      fence: row.fence + 1,
      leasedAt: now,
      leaseExpiresAt: now + terms.ttlMs,
      lastUsedAt: now,
      useCount: row.useCount + 1,
      hidden: { ...row.hidden, endedFrom: null },
    },
    terms.to === "leased" ? "reserve" : "evict",
    terms.sessionId,
  );
}

/** Returns the worktree, not removed, that has the path in a place. */
export function withPath(state: State, place: string, path: string): Worktree | undefined {
  return [...state.worktrees.values()].find(
    (row) => row.place === place && row.path === path && row.state !== "removed",
  );
}

export const unused = { commitSha: null, environmentHash: null, pinned: false, sizeBytes: null, useCount: 0 } as const;

function create(
  state: State,
  input: Reservation & { place: string },
  { id, worktreeRoot }: Repository,
  holder: Holder,
): Worktree {
  const { now } = state;
  const path = input.path ?? (worktreeRoot === null ? undefined : `${worktreeRoot}/${input.id}`);
  if (path === undefined) throw new Failure("invalid_input");
  const other = withPath(state, input.place, path);
  if (other !== undefined) throw new Failure("conflict", { reason: "path", worktreeId: other.id });
  const row: Worktree = {
    ...unused,
    ...holder,
    id: input.id as string,
    repositoryId: id,
    place: input.place,
    path,
    state: "creating",
    fence: 1,
    leasedAt: now,
    leaseExpiresAt: now + (input.ttlMs ?? tickMs),
    lastUsedAt: now,
    useCount: 1,
    ...stamped(now),
    hidden: { commitFence: null, environmentFence: null, endedFrom: null },
  };
  state.put("worktrees", row.id, row);
  countWorktrees(state, id, 1);
  state.change("worktree", row, "create", input.sessionId);
  return row;
}
