// Reservation of a worktree: finds the holder of the lease and the free worktree that fits best, and grants the lease.
// Every grant raises the fencing token of the worktree.
import { z } from "zod";
import type { Context } from "../context.ts";
import { StoreError } from "../errors.ts";
import { Directory, directoryIn } from "../model/directories.ts";
import { Hash, Id, LeaseTtl, Name, NewId } from "../model/fields.ts";
import { PlaceName } from "../model/places.ts";
import type { SessionRow } from "../model/sessions.ts";
import type { matches, WorktreeRow } from "../model/worktrees.ts";
import { fail, NotYet } from "../operation.ts";
import { and, first, forUpdate, one, type Statement, skipLocked, sql, step, when } from "../sql.ts";
import { requireState } from "./failures.ts";
import { lockActiveRepository } from "./repositories.ts";
import { dateOrNull, lockRow, type RowOf } from "./rows.ts";
import { insertRows, writeRow } from "./rowWrite.ts";
import { lockRunner } from "./runners.ts";
import { bindWorktree } from "./sessionState.ts";
import { freeWorktreeKind, repositoryTopic, runnerTopic, sessionTopic } from "./topics.ts";
import { countWorktree, worktreesInPlace } from "./worktreeCounts.ts";
import { unknownFacts } from "./worktreeLease.ts";
import { expireOldestWorktreeLease, expireWorktreeLease } from "./worktreeState.ts";

/**
 * The holder of a lease: a registered runner, an owner's name, or both. At least one of them is required. The place is
 * that of the runner by default.
 */
export const holderFields = { runnerId: Id.optional(), owner: Name.optional(), place: PlaceName.optional() };
export const namesHolder = (input: { readonly runnerId?: string | undefined; readonly owner?: string | undefined }) =>
  input.runnerId !== undefined || input.owner !== undefined;
export const holderRule = { error: "a runnerId or an owner is required", path: ["runnerId"] };

export const reserveFields = {
  ...holderFields,
  ttlMs: LeaseTtl.default(60_000),
  environmentHash: Hash.optional(),
  path: Directory.optional(),
};

/** The fields with which sessions.create reserves a worktree for the new session. */
export const ReserveInput = z.strictObject({ id: NewId, ...reserveFields }).refine(namesHolder, holderRule);

interface Reservation {
  readonly id: string;
  readonly repositoryId: string;
  readonly sessionId?: string | undefined;
  readonly commitSha?: string | undefined;
  readonly environmentHash?: string | undefined;
  readonly path?: string | undefined;
  readonly runnerId?: string | undefined;
  readonly owner?: string | undefined;
  readonly place?: string | undefined;
  readonly ttlMs: number;
}

/**
 * Leases the free worktree of the holder's place that fits best, or else a new one. When none is free there and the
 * repository allows no more in a place, the call waits.
 */
export const reserveWorktree = step(function* (input: Reservation, context: Context) {
  const repository = yield* lockActiveRepository(input.repositoryId);
  const holder = yield* resolveHolder(input);
  let session = input.sessionId === undefined ? undefined : yield* lockRow("session", input.sessionId);
  if (session !== undefined) {
    if (session.repository_id !== repository.id) {
      const message = `session ${session.id} belongs to repository ${session.repository_id}, not ${repository.id}`;
      fail("conflict", { reason: "repository" }, message);
    }
    requireState(session, "session", ["pending", "running"]);
    if (session.worktree_id !== null) session = yield* unbound(session, context);
  }
  const wanted = { commitSha: input.commitSha ?? session?.commit_sha, environmentHash: input.environmentHash };
  const { place } = holder;
  const search = { repositoryId: repository.id, place, ...wanted };
  let candidate = yield* findFreeWorktree(search);
  const count = candidate === undefined ? yield* worktreesInPlace(repository.id, place) : 0;
  const isFull = count >= repository.max_worktrees;
  // Ends expired leases one at a time until a worktree is free. Not every one of them frees a worktree: one that was
  // still being created is quarantined (D-026).
  while (candidate === undefined && isFull && (yield* expireOldestWorktreeLease(repository.id, place, context)))
    candidate = yield* findFreeWorktree(search);
  if (candidate === undefined && isFull) {
    const topics = [
      repositoryTopic(repository.id),
      ...(session === undefined ? [] : [sessionTopic(session.id)]),
      ...(input.runnerId === undefined ? [] : [runnerTopic(input.runnerId)]),
    ];
    const kinds = [freeWorktreeKind(repository.id, place)];
    return new NotYet(topics, yield* noFreeWorktree(repository, place, count, context), { kinds });
  }
  const before = candidate?.row;
  const needsSync = isMissing(before?.commit_sha, wanted.commitSha);
  const needsEnvironment = isMissing(before?.environment_hash, wanted.environmentHash);
  const worktree =
    before === undefined
      ? yield* createWorktree(input, newPath(input, repository.worktree_root), holder, context)
      : yield* grantWorktree(
          before,
          { state: "leased", forgetsCommit: needsSync, forgetsEnvironment: needsEnvironment, sessionId: session?.id },
          holder,
          input.ttlMs,
          context,
        );
  if (session !== undefined) yield* bindWorktree(session, worktree, context);
  return {
    worktree,
    fence: worktree.fence,
    expiresAt: worktree.lease_expires_at as number,
    match: candidate?.match ?? ("created" as const),
    needsScrub: before?.state === "dirty" ? 1 : 0,
    needsSync: Number(needsSync),
    needsEnvironment: Number(needsEnvironment),
  };
});

/** Checks whether the holder has to bring about a fact: the recorded one is unknown, or is not the wanted one. */
function isMissing(recorded: string | null | undefined, wanted: string | undefined): boolean {
  return recorded === null || recorded === undefined || (wanted !== undefined && recorded !== wanted);
}

/** Returns the path of a new worktree. */
function newPath({ id, path }: Reservation, root: string | null): string {
  if (path !== undefined) return path;
  if (root !== null) return directoryIn(root, id);
  const message =
    "path: no worktree is free, and a new one needs a path: pass it, or set the repository's worktreeRoot";
  return fail("invalid_input", {}, message);
}

interface Holder {
  readonly runnerId: string | null;
  readonly owner: string;
  /** The place of its worktrees. */
  readonly place: string;
}

/**
 * Returns the holder of a new lease, and locks its runner. Without an owner, the lease has the runner's name. The place
 * is the one that the call names, or that of the runner, or that of all who name none.
 */
export const resolveHolder = step(function* (input: {
  readonly runnerId?: string | undefined;
  readonly owner?: string | undefined;
  readonly place?: string | undefined;
}) {
  const { runnerId, owner, place } = input;
  if (runnerId === undefined) return { runnerId: null, owner: owner as string, place: place ?? "" } satisfies Holder;
  const runner = yield* lockRunner(runnerId);
  return { runnerId: runner.id, owner: owner ?? runner.name, place: place ?? runner.place } satisfies Holder;
});

/**
 * Ends the expired lease of a session, and returns the session without it. Fails with `conflict` while the session holds
 * a live lease, or runs a command, which may use the worktree.
 */
const unbound = step(function* (session: SessionRow, context: Context) {
  const { worktree_id: worktreeId, worktree_fence: fence } = session;
  const bound = yield* first<WorktreeRow>(sql`
    SELECT * FROM worktrees
    WHERE id = ${worktreeId} AND fence = ${fence} AND lease_expires_at IS NOT NULL
    ${forUpdate}`);
  if (bound === undefined) return session;
  if ((bound.lease_expires_at as number) > context.now.getTime() || session.active_commands > 0) {
    const message = `session ${session.id} already holds worktree ${worktreeId}: release it first`;
    fail("conflict", { reason: "bound", worktreeId, fence }, message);
  }
  yield* expireWorktreeLease(bound, session, context);
  return yield* lockRow("session", session.id);
});

interface Search {
  readonly repositoryId: string;
  readonly place: string;
  readonly commitSha: string | undefined;
  readonly environmentHash: string | undefined;
}

type Candidate = { readonly row: WorktreeRow; readonly match: (typeof matches)[number] };

/**
 * Locks and returns the free worktree that fits best, or returns undefined. Waits for one that another transaction has
 * locked only when there is no other (D-105).
 */
const findFreeWorktree = step(function* (search: Search) {
  const found = yield* bestWorktree(search, skipLocked);
  if (found !== undefined) return found;
  const held = yield* first(sql`
    SELECT id FROM worktrees
    WHERE repository_id = ${search.repositoryId} AND place = ${search.place} AND state IN ('idle', 'dirty') LIMIT 1`);
  return held && (yield* bestWorktree(search, forUpdate));
});

/**
 * Runs up to four statements, from the best match to the worst, because each has a partial index in the order of its
 * search: a single statement would have to sort all free worktrees. `state DESC` puts idle before dirty.
 */
const bestWorktree = step(function* ({ repositoryId, place, commitSha, environmentHash }: Search, lock: Statement) {
  const commit = when(commitSha, (value) => sql`commit_sha = ${value}`);
  const environment = when(environmentHash, (value) => sql`environment_hash = ${value}`);
  const searches = [
    { match: "commit_and_environment", condition: commit && environment && and(environment, commit) },
    { match: "environment", condition: environment },
    { match: "commit", condition: commit },
    { match: "least_recently_used", condition: sql`TRUE` },
  ] as const;
  for (const { match, condition } of searches) {
    if (condition === undefined) continue;
    const row = yield* first<WorktreeRow>(sql`
      SELECT * FROM worktrees
      WHERE repository_id = ${repositoryId} AND place = ${place} AND ${condition} AND state IN ('idle', 'dirty')
      ORDER BY state DESC, last_used_at LIMIT 1 ${lock}`);
    if (row !== undefined) return { row, match } satisfies Candidate;
  }
  return undefined;
});

/**
 * Returns the error for a repository that has no free worktree in a place and allows no more there. It is retryable while
 * a worktree is in use: no time frees one that is quarantined, only a person does.
 */
const noFreeWorktree = step(function* (
  repository: RowOf["repository"],
  place: string,
  count: number,
  context: Context,
) {
  const details = yield* capacityOf(repository, place, context);
  const { id } = repository;
  const message =
    details.quarantined > 0
      ? `${details.quarantined} of ${count} worktrees of repository ${id}${inPlace(place)} are quarantined, and no more are allowed: restore or evict them`
      : count > 0
        ? `all worktrees of repository ${id}${inPlace(place)} are in use, and no more are allowed`
        : `repository ${id} allows no worktrees: raise its maxWorktrees`;
  return new StoreError("capacity_exhausted", message, { details, retryable: count > details.quarantined });
});

/**
 * Returns the error for a repository that allows no further worktree in a place. No lease that ends makes room for one,
 * so it is not retryable.
 */
export const tooManyWorktrees = step(function* (
  repository: RowOf["repository"],
  place: string,
  count: number,
  context: Context,
) {
  const message = `repository ${repository.id} has as many worktrees${inPlace(place)} as it allows (${count}): evict one, or raise its maxWorktrees`;
  const details = yield* capacityOf(repository, place, context);
  return new StoreError("capacity_exhausted", message, { details, retryable: false });
});

/** Returns the part of a sentence that names a place. */
const inPlace = (place: string): string => (place === "" ? "" : ` in the place ${place}`);

/**
 * Returns what a repository's worktrees in a place are doing. The next expiry costs one look-up, and the numbers are
 * counted along an index each (D-031). A lease whose time has passed is not the next to expire: a command still runs
 * under it.
 */
const capacityOf = step(function* ({ id, max_worktrees }: RowOf["repository"], place: string, { now }: Context) {
  const there = sql`repository_id = ${id} AND place = ${place}`;
  const next = yield* first<{ lease_expires_at: number }>(sql`
    SELECT lease_expires_at FROM worktrees
    WHERE ${there} AND lease_expires_at IS NOT NULL AND lease_expires_at > ${now}
    ORDER BY lease_expires_at LIMIT 1`);
  const { in_use } = yield* one<{ in_use: number }>(sql`
    SELECT count(*) AS in_use FROM worktrees WHERE ${there} AND lease_expires_at IS NOT NULL`);
  const { quarantined } = yield* one<{ quarantined: number }>(sql`
    SELECT count(*) AS quarantined FROM worktrees WHERE ${there} AND state = 'quarantined'`);
  return {
    earliestExpiryAt: dateOrNull(next?.lease_expires_at ?? null),
    inUse: in_use,
    quarantined,
    maxWorktrees: max_worktrees,
    place,
  };
});

export interface Grant {
  readonly state: "leased" | "evicting";
  /** True when the new holder has to change the commit, or the environment: if it fails, nobody knows what is there. */
  readonly forgetsCommit: boolean;
  readonly forgetsEnvironment: boolean;
  readonly sessionId?: string | undefined;
}

/** The grant of a worktree whose directory its holder deletes. */
export const evictionGrant: Grant = { state: "evicting", forgetsCommit: true, forgetsEnvironment: true };

/** Grants a lease of a locked worktree under the next fencing token, and forgets what becomes unknown (D-078). */
export const grantWorktree = step(function* (
  before: WorktreeRow,
  { state, forgetsCommit, forgetsEnvironment, sessionId }: Grant,
  { runnerId, owner }: Holder,
  ttlMs: number,
  context: Context,
) {
  const { now, changed } = context;
  const { commit_sha, commit_fence, environment_hash, environment_fence } = unknownFacts;
  const row = yield* writeRow<WorktreeRow>(
    "worktree",
    before,
    {
      state,
      fence: before.fence + 1,
      ...(forgetsCommit ? { commit_sha, commit_fence } : {}),
      ...(forgetsEnvironment ? { environment_hash, environment_fence } : {}),
      lease_runner_id: runnerId,
      lease_owner: owner,
      leased_at: now.getTime(),
      lease_expires_at: now.getTime() + ttlMs,
      last_used_at: now.getTime(),
      use_count: before.use_count + 1,
      ended_from: null,
    },
    context,
  );
  changed({
    entity: "worktree",
    id: row.id,
    op: state === "leased" ? "reserve" : "evict",
    version: row.version,
    fence: row.fence,
    sessionId,
    detail: { owner },
  });
  return row;
});

/** Adds a leased worktree whose directory its holder has yet to create. */
const createWorktree = step(function* (
  input: Reservation,
  path: string,
  { runnerId, owner, place }: Holder,
  context: Context,
) {
  const { now, changed } = context;
  yield* requireFreePath(place, path);
  const row: WorktreeRow = {
    id: input.id,
    repository_id: input.repositoryId,
    place,
    path,
    ...unknownFacts,
    pinned: 0,
    size_bytes: null,
    state: "creating",
    fence: 1,
    lease_runner_id: runnerId,
    lease_owner: owner,
    leased_at: now.getTime(),
    lease_expires_at: now.getTime() + input.ttlMs,
    last_used_at: now.getTime(),
    use_count: 1,
    ended_from: null,
    version: 1,
    created_at: now.getTime(),
    updated_at: now.getTime(),
  };
  if (!(yield* insertRows("worktree", [row], context)))
    fail("conflict", { reason: "exists", worktreeId: row.id }, `worktree ${row.id} exists already`);
  yield* countWorktree(row);
  changed({
    entity: "worktree",
    id: row.id,
    op: "create",
    version: 1,
    fence: 1,
    sessionId: input.sessionId,
    detail: { owner, place, path },
  });
  return row;
});

/** Returns the condition for worktrees with this path. On PostgreSQL, an index entry has room for the hash of it alone. */
export function hasPath(path: string): Statement {
  return sql`/*+ md5( */ path /*+ ) */ = /*+ md5( */ ${path} /*+ ) */`;
}

/** Fails unless no other worktree in the place has the path. */
export const requireFreePath = step(function* (place: string, path: string) {
  const other = yield* first<{ id: string }>(sql`
    SELECT id FROM worktrees WHERE place = ${place} AND ${hasPath(path)} AND state <> 'removed'`);
  if (other === undefined) return;
  fail(
    "conflict",
    { reason: "path", worktreeId: other.id },
    `worktree ${other.id} has the path ${path}: choose another one`,
  );
});
