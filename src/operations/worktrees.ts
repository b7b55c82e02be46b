import { z } from "zod";
import { StoreError } from "../errors.ts";
import { optional, page } from "../model/codec.ts";
import { CommitSha, Fence, Hash, Id, LeaseTtl, Name, NewId, Path, paging, Reason, Version, WaitMs } from "../model/fields.ts";
import type { SessionRow } from "../model/sessions.ts";
import { Lease, type matches, type Release, releaseKinds, releases, Worktree, type WorktreeRow, worktreeStates } from "../model/worktrees.ts";
import { after, type Context, fail, Later, operation } from "../operation.ts";
import { all, change, every, first, forUpdate, skipLocked, sql, step } from "../sql.ts";
import { listPage } from "./paging.ts";
import { lockActiveRepository } from "./repositories.ts";
import { lockRunner } from "./runners.ts";
import { bindWorktree, freeTopic, lockBoundSession, lockSession, sessionTopic, tryLockSession, unbindWorktree } from "./sessionState.ts";
import { checkVersion } from "./versions.ts";

/** Who will hold a lease: a registered runner, or anybody with a name. */
const holder = { runnerId: Id.optional(), owner: Name.optional() };
const namesHolder = (input: { readonly runnerId?: string | undefined; readonly owner?: string | undefined }) =>
  input.runnerId !== undefined || input.owner !== undefined;
const holderRule = { error: "name a runnerId or an owner", path: ["runnerId"] };
const held = { worktreeId: Id, fence: Fence };
const facts = { commitSha: CommitSha.optional(), environmentHash: Hash.optional(), sizeBytes: z.int().min(0).optional() };

const reserveFields = { ...holder, ttlMs: LeaseTtl.default(60_000), environmentHash: Hash.optional(), path: Path.optional() };

/** What sessions.create needs to reserve a tree for the new session. */
export const ReserveInput = z.strictObject({ id: NewId, ...reserveFields }).refine(namesHolder, holderRule);

/**
 * Leases a tree that fits best: same commit and environment, same environment, same commit, least recently used; each time a clean one before
 * a dirty one. If none is free and the repository is under maxWorktrees, a new tree in `creating`, leased to the caller, to be made at its path.
 *
 * Input    ttlMs: 1_000 .. 86_400_000; sessionId: binds tree and fence to it, and its commit is the default; waitMs: wait so long for a tree
 * Result   the lease; its fence goes with every later call
 * Fails    not_found | invalid_transition | conflict { reason: "bound" | "path" | "repository" | "exists" } | capacity_exhausted { earliestExpiryAt }
 * Effect   one row of worktrees, perhaps one of sessions; a row of changes for each
 * Cost     at most 12 statements, each by an index; the same for ten worktrees and ten thousand
 */
export const reserve = operation({
  access: "write",
  input: z
    .strictObject({ repositoryId: Id, sessionId: Id.optional(), commitSha: CommitSha.optional(), id: NewId, ...reserveFields, waitMs: WaitMs.default(0) })
    .refine(namesHolder, holderRule),
  output: Lease,
  errors: ["invalid_input", "not_found", "invalid_transition", "conflict", "capacity_exhausted"],
  waitMs: (input) => input.waitMs,
  *run(input, context) {
    return yield* reserveWorktree(input, context);
  },
});

interface Reservation {
  readonly id: string;
  readonly repositoryId: string;
  readonly sessionId?: string | undefined;
  readonly commitSha?: string | undefined;
  readonly environmentHash?: string | undefined;
  readonly path?: string | undefined;
  readonly runnerId?: string | undefined;
  readonly owner?: string | undefined;
  readonly ttlMs: number;
}

export const reserveWorktree = step(function* (input: Reservation, context: Context) {
  const repository = yield* lockActiveRepository(input.repositoryId);
  const grantee = yield* nameHolder(input);
  const session = input.sessionId === undefined ? undefined : yield* lockSession(input.sessionId);
  if (session !== undefined) {
    if (session.repository_id !== repository.id) fail("conflict", { reason: "repository" }, "the session belongs to another repository");
    if (session.state !== "pending" && session.state !== "running") fail("invalid_transition", { entity: "session", state: session.state });
    if (session.worktree_id !== null) yield* refuseLiveBinding(session, context);
  }
  const asked = { commitSha: input.commitSha ?? session?.commit_sha, environmentHash: input.environmentHash };
  const search = { repositoryId: repository.id, ...asked };
  let found = yield* findFree(search);
  const full = repository.worktree_count >= repository.max_worktrees;
  // One at a time: a tree that was never made is not free when its lease has run out.
  while (found === undefined && full && (yield* expireLeases(context, 1, repository.id)).length > 0) found = yield* findFree(search);
  if (found === undefined && full) {
    const topics = session === undefined ? [] : [sessionTopic(session.id)];
    return new Later([freeTopic(repository.id), ...topics], yield* exhausted(repository.id));
  }
  const path = input.path ?? (repository.worktree_root === null ? undefined : `${repository.worktree_root}/${input.id}`);
  const before = found?.row;
  const worktree =
    before === undefined ? yield* create(input, path, grantee, context) : yield* grant(before.id, "leased", grantee, input.ttlMs, context, session?.id);
  if (session !== undefined) yield* bindWorktree(session, worktree, context);
  return {
    worktree,
    fence: worktree.fence,
    expiresAt: worktree.lease_expires_at as number,
    match: found?.match ?? ("created" as const),
    needsScrub: before?.state === "dirty" ? 1 : 0,
    needsSync: before === undefined || (asked.commitSha !== undefined && before.commit_sha !== asked.commitSha) ? 1 : 0,
  };
});

interface Grantee {
  readonly runnerId: string | null;
  readonly owner: string;
}

const nameHolder = step(function* (input: { readonly runnerId?: string | undefined; readonly owner?: string | undefined }) {
  if (input.runnerId === undefined) return { runnerId: null, owner: input.owner as string };
  const runner = yield* lockRunner(input.runnerId);
  return { runnerId: runner.id, owner: input.owner ?? runner.name };
});

/** A session whose tree is gone may take another; one whose lease lives may not. */
const refuseLiveBinding = step(function* (session: SessionRow, context: Context) {
  const { worktree_id: worktreeId, worktree_fence: fence } = session;
  const bound = yield* first<WorktreeRow>(sql`
    SELECT * FROM worktrees WHERE id = ${worktreeId} AND fence = ${fence} AND lease_expires_at IS NOT NULL ${forUpdate}`);
  if (bound === undefined) return;
  if ((bound.lease_expires_at as number) > context.now.getTime()) {
    fail("conflict", { reason: "bound", worktreeId, fence }, "the session holds a worktree already");
  }
  yield* expireLease(bound, session, context);
});

interface Search {
  readonly repositoryId: string;
  readonly commitSha: string | undefined;
  readonly environmentHash: string | undefined;
}

type Found = { readonly row: WorktreeRow; readonly match: (typeof matches)[number] };

/** Each step has its own index, ordered as the search is; see migrations. */
const findFree = step(function* ({ repositoryId, commitSha, environmentHash }: Search) {
  const commit = commitSha === undefined ? undefined : sql`commit_sha = ${commitSha}`;
  const environment = environmentHash === undefined ? undefined : sql`environment_hash = ${environmentHash}`;
  const steps = [
    { match: "commit_and_environment", condition: commit && environment && every(environment, commit) },
    { match: "environment", condition: environment },
    { match: "commit", condition: commit },
    { match: "least_recently_used", condition: sql`TRUE` },
  ] as const;
  for (const { match, condition } of steps) {
    if (condition === undefined) continue;
    const row = yield* first<WorktreeRow>(sql`
      SELECT * FROM worktrees WHERE repository_id = ${repositoryId} AND ${condition} AND state IN ('idle', 'dirty')
      ORDER BY state DESC, last_used_at LIMIT 1 ${skipLocked}`);
    if (row !== undefined) return { row, match } satisfies Found;
  }
  return undefined;
});

const exhausted = step(function* (repositoryId: string) {
  const next = yield* first<{ lease_expires_at: number }>(sql`
    SELECT lease_expires_at FROM worktrees WHERE repository_id = ${repositoryId} AND lease_expires_at IS NOT NULL ORDER BY lease_expires_at LIMIT 1`);
  return new StoreError("capacity_exhausted", undefined, {
    details: { earliestExpiryAt: next === undefined ? null : new Date(next.lease_expires_at) },
  });
});

const grant = step(function* (
  id: string,
  state: "leased" | "evicting",
  { runnerId, owner }: Grantee,
  ttlMs: number,
  { now, changed }: Context,
  sessionId?: string,
) {
  const row = (yield* first<WorktreeRow>(sql`
    UPDATE worktrees SET state = ${state}, fence = fence + 1, lease_runner_id = ${runnerId}, lease_owner = ${owner}, leased_at = ${now},
      lease_expires_at = ${after(now, ttlMs)}, last_used_at = ${now}, use_count = use_count + 1, version = version + 1, updated_at = ${now}
    WHERE id = ${id} RETURNING *`)) as WorktreeRow;
  changed({ entity: "worktree", id, op: state === "leased" ? "reserve" : "evict", version: row.version, fence: row.fence, sessionId, detail: { owner } });
  return row;
});

const create = step(function* (input: Reservation, path: string | undefined, { runnerId, owner }: Grantee, { now, changed }: Context) {
  if (path === undefined) fail("invalid_input", {}, "path: no free worktree, and neither a path nor the repository's worktreeRoot says where to make one");
  yield* refuseTakenPath(path);
  const row = (yield* first<WorktreeRow>(sql`
    INSERT INTO worktrees (id, repository_id, path, environment_hash, state, fence, lease_runner_id, lease_owner, leased_at, lease_expires_at,
      last_used_at, use_count, created_at, updated_at)
    VALUES (${input.id}, ${input.repositoryId}, ${path}, ${null}, 'creating', 1, ${runnerId}, ${owner}, ${now}, ${after(now, input.ttlMs)}, ${now}, 1, ${now}, ${now})
    RETURNING *`)) as WorktreeRow;
  yield* change(sql`UPDATE repositories SET worktree_count = worktree_count + 1 WHERE id = ${input.repositoryId}`);
  changed({ entity: "worktree", id: row.id, op: "create", version: 1, fence: 1, sessionId: input.sessionId, detail: { owner, path } });
  return row;
});

const refuseTakenPath = step(function* (path: string) {
  const taken = yield* first<{ id: string }>(sql`SELECT id FROM worktrees WHERE path = ${path} AND state <> 'removed'`);
  if (taken !== undefined) fail("conflict", { reason: "path", worktreeId: taken.id }, "another worktree has this path");
});

/**
 * Makes a directory that exists known, free for use.
 *
 * Input    clean: false when it has to be scrubbed before use
 * Result   the row; registering the same path of the same repository again changes nothing
 * Fails    not_found | invalid_transition | conflict { reason: "path" | "exists" } | capacity_exhausted
 */
export const register = operation({
  access: "write",
  input: z.strictObject({ id: NewId, repositoryId: Id, path: Path, ...facts, clean: z.boolean().default(false), pinned: z.boolean().default(false) }),
  output: Worktree,
  errors: ["not_found", "invalid_transition", "conflict", "capacity_exhausted"],
  *run(input, { now, changed, wake }) {
    const repository = yield* lockActiveRepository(input.repositoryId);
    const known = yield* first<WorktreeRow>(sql`SELECT * FROM worktrees WHERE path = ${input.path} AND state <> 'removed'`);
    if (known?.repository_id === input.repositoryId) return known;
    if (known !== undefined) fail("conflict", { reason: "path", worktreeId: known.id }, "a worktree of another repository has this path");
    if (repository.worktree_count >= repository.max_worktrees) throw yield* exhausted(repository.id);
    const row = (yield* first<WorktreeRow>(sql`
      INSERT INTO worktrees (id, repository_id, path, commit_sha, environment_hash, size_bytes, pinned, state, last_used_at, created_at, updated_at)
      VALUES (${input.id}, ${input.repositoryId}, ${input.path}, ${input.commitSha ?? null}, ${input.environmentHash ?? null}, ${input.sizeBytes ?? null},
        ${input.pinned}, ${input.clean ? "idle" : "dirty"}, ${now}, ${now}, ${now})
      RETURNING *`)) as WorktreeRow;
    yield* change(sql`UPDATE repositories SET worktree_count = worktree_count + 1 WHERE id = ${repository.id}`);
    changed({ entity: "worktree", id: row.id, op: "register", version: 1, fence: 0, detail: { path: row.path } });
    wake(freeTopic(repository.id));
    return row;
  },
});

/**
 * The tree that was being made exists: `creating` becomes `leased`, under the same fence. Repeated, it changes nothing.
 *
 * Fails    not_found | lease_lost { currentFence } | lease_expired | invalid_transition
 */
export const ready = operation({
  access: "write",
  input: z.strictObject({ ...held, ...facts }),
  output: Worktree,
  errors: ["not_found", "lease_lost", "lease_expired", "invalid_transition"],
  *run(input, context) {
    const before = yield* requireLease(input.worktreeId, input.fence, context.now);
    if (before.state === "leased") return before;
    if (before.state !== "creating") fail("invalid_transition", { entity: "worktree", state: before.state });
    return yield* saveHeld(before, { ...factsOf(input), state: "leased" }, "ready", context);
  },
});

/**
 * Extends a lease.
 *
 * Input    ttlMs: milliseconds from now, 1_000 .. 86_400_000
 * Result   the worktree with its new leaseExpiresAt
 * Fails    not_found | lease_lost { currentFence } | lease_expired
 * Effect   lease_expires_at of one row; no row of changes
 * Cost     1 statement by primary key; lane urgent
 */
export const renew = operation({
  access: "write",
  lane: "urgent",
  input: z.strictObject({ ...held, ttlMs: LeaseTtl.default(60_000) }),
  output: Worktree,
  errors: ["not_found", "lease_lost", "lease_expired"],
  *run({ worktreeId, fence, ttlMs }, { now }) {
    const row = yield* first<WorktreeRow>(sql`
      UPDATE worktrees SET lease_expires_at = ${after(now, ttlMs)} WHERE id = ${worktreeId} AND fence = ${fence} AND lease_expires_at > ${now} RETURNING *`);
    return row ?? (yield* requireLease(worktreeId, fence, now));
  },
});

/**
 * Records what the holder knows of its tree.
 *
 * Fails    not_found | lease_lost { currentFence } | lease_expired | conflict { reason: "version" }
 */
export const update = operation({
  access: "write",
  input: z.strictObject({ ...held, ...facts, pinned: z.boolean().optional(), expectedVersion: Version.optional() }),
  output: Worktree,
  errors: ["not_found", "lease_lost", "lease_expired", "conflict"],
  *run(input, context) {
    const before = yield* requireLease(input.worktreeId, input.fence, context.now);
    checkVersion(before, input.expectedVersion);
    const pinned = input.pinned === undefined ? {} : { pinned: input.pinned ? 1 : 0 };
    return yield* saveHeld(before, { ...factsOf(input), ...pinned }, "update", context);
  },
});

/**
 * Gives a tree back. Accepted after the lease has run out too, as long as nobody has reaped it or was granted it; idempotent for its fence.
 *
 * Input    to: clean (idle), dirty (to be scrubbed), keep or broken (quarantined); a tree that was being made becomes removed when nothing
 *          was left behind (clean), else quarantined
 * Fails    not_found | lease_lost { currentFence }
 * Effect   one row of worktrees; the open session that held the tree is unbound
 * Cost     at most 7 statements, each by an index
 */
export const release = operation({
  access: "write",
  input: z.strictObject({ ...held, ...facts, to: z.enum(releaseKinds).default("dirty"), reason: Reason.optional() }),
  output: Worktree,
  errors: ["not_found", "lease_lost"],
  *run(input, context) {
    if (input.to === "clean") yield* lockRepositoryOf(input.worktreeId, "creating");
    const session = yield* lockBoundSession(input.worktreeId, input.fence);
    const before = yield* lockWorktree(input.worktreeId);
    if (before.fence !== input.fence) refuseStale(before);
    if (before.lease_expires_at === null) return wasReleased(before.state, input.to) ? before : refuseStale(before);
    return yield* giveBack({ ...before, ...factsOf(input) }, session, releasedState(before.state, input.to), "release", context, input.reason);
  },
});

/**
 * Keeps a tree out of use, for somebody to look at. The same as release with `keep`, but only while the lease lives.
 *
 * Fails    not_found | lease_lost { currentFence } | lease_expired
 */
export const quarantine = operation({
  access: "write",
  input: z.strictObject({ ...held, reason: Reason.optional() }),
  output: Worktree,
  errors: ["not_found", "lease_lost", "lease_expired"],
  *run(input, context) {
    const session = yield* lockBoundSession(input.worktreeId, input.fence);
    const before = yield* requireLease(input.worktreeId, input.fence, context.now);
    return yield* giveBack(before, session, "quarantined", "quarantine", context, input.reason);
  },
});

/**
 * Puts a quarantined tree back into use; whoever is given it next scrubs it. Repeated, it changes nothing.
 *
 * Fails    not_found | invalid_transition | conflict { reason: "version" }
 */
export const restore = operation({
  access: "write",
  input: z.strictObject({ worktreeId: Id, expectedVersion: Version.optional() }),
  output: Worktree,
  errors: ["not_found", "invalid_transition", "conflict"],
  *run({ worktreeId, expectedVersion }, context) {
    const before = yield* lockWorktree(worktreeId);
    checkVersion(before, expectedVersion);
    if (before.state === "dirty") return before;
    if (before.state !== "quarantined") fail("invalid_transition", { entity: "worktree", state: before.state });
    context.wake(freeTopic(before.repository_id));
    return yield* save(before, { state: "dirty" }, "restore", context);
  },
});

/**
 * Leases a tree for removal: the named one, or the least recently used one that is neither pinned, leased nor quarantined.
 *
 * Result   the row in `evicting`, or undefined when there is nothing to evict
 * Fails    not_found | invalid_transition when the named tree is in use or removed
 */
export const evict = operation({
  access: "write",
  input: z.strictObject({ repositoryId: Id, worktreeId: Id.optional(), ...holder, ttlMs: LeaseTtl.default(60_000) }).refine(namesHolder, holderRule),
  output: optional(Worktree),
  errors: ["not_found", "invalid_transition"],
  *run(input, context) {
    const grantee = yield* nameHolder(input);
    const id = input.worktreeId === undefined ? yield* leastRecentlyUsed(input.repositoryId) : yield* namedForEviction(input.repositoryId, input.worktreeId);
    return id === undefined ? undefined : yield* grant(id, "evicting", grantee, input.ttlMs, context);
  },
});

const leastRecentlyUsed = step(function* (repositoryId: string) {
  const row = yield* first<{ id: string }>(sql`
    SELECT id FROM worktrees WHERE repository_id = ${repositoryId} AND state IN ('idle', 'dirty') AND NOT pinned
    ORDER BY last_used_at LIMIT 1 ${skipLocked}`);
  return row?.id;
});

const namedForEviction = step(function* (repositoryId: string, worktreeId: string) {
  const { state, repository_id } = yield* lockWorktree(worktreeId);
  if (repository_id !== repositoryId) fail("not_found", { entity: "worktree", id: worktreeId }, "the worktree belongs to another repository");
  if (state !== "idle" && state !== "dirty" && state !== "quarantined") fail("invalid_transition", { entity: "worktree", state });
  return worktreeId;
});

/**
 * The directory of an evicted tree is gone; its path is free again. Repeated, it changes nothing.
 *
 * Fails    not_found | lease_lost { currentFence } | lease_expired | invalid_transition
 */
export const completeEvict = operation({
  access: "write",
  input: z.strictObject(held),
  output: Worktree,
  errors: ["not_found", "lease_lost", "lease_expired", "invalid_transition"],
  *run({ worktreeId, fence }, context) {
    yield* lockRepositoryOf(worktreeId, "evicting");
    const before = yield* lockWorktree(worktreeId);
    if (before.state === "removed" && before.fence === fence) return before;
    checkLease(before, fence, context.now);
    if (before.state !== "evicting") fail("invalid_transition", { entity: "worktree", state: before.state });
    return yield* giveBack(before, undefined, "removed", "remove", context);
  },
});

/**
 * One worktree.
 *
 * Fails    not_found
 * Cost     1 statement by primary key
 */
export const get = operation({
  access: "read",
  input: z.strictObject({ worktreeId: Id }),
  output: Worktree,
  errors: ["not_found"],
  *run({ worktreeId }) {
    const row = yield* first<WorktreeRow>(sql`SELECT * FROM worktrees WHERE id = ${worktreeId}`);
    return row ?? fail("not_found", { entity: "worktree", id: worktreeId });
  },
});

/** Worktrees by age, of one repository or state when asked for. */
export const list = operation({
  access: "read",
  input: z.strictObject({ repositoryId: Id.optional(), state: z.enum(worktreeStates).optional(), ...paging }),
  output: page(Worktree),
  errors: [],
  *run(input) {
    return yield* listPage<WorktreeRow>(
      sql`worktrees`,
      input,
      input.repositoryId === undefined ? undefined : sql`repository_id = ${input.repositoryId}`,
      input.state && sql`state = ${input.state}`,
    );
  },
});

/** Ends leases whose time is over, at most so many; of one repository when named. What another transaction holds is left to it. */
export const expireLeases = step(function* (context: Context, limit: number, repositoryId?: string) {
  const expired = yield* all<{ id: string; fence: number; session_id: string | null }>(sql`
    SELECT id, fence, (
      SELECT sessions.id FROM sessions
      WHERE worktree_id = worktrees.id AND worktree_fence = worktrees.fence AND sessions.state IN ('pending', 'running', 'cancelling')
    ) AS session_id FROM worktrees
    WHERE lease_expires_at IS NOT NULL AND lease_expires_at <= ${context.now} AND ${repositoryId === undefined ? sql`TRUE` : sql`repository_id = ${repositoryId}`}
    ORDER BY lease_expires_at LIMIT ${limit}`);
  const ended: string[] = [];
  for (const { id, fence, session_id } of expired) {
    const session = session_id === null ? undefined : yield* tryLockSession(session_id);
    if (session_id !== null && session === undefined) continue;
    // It may have been renewed or released meanwhile.
    const row = yield* first<WorktreeRow>(sql`
      SELECT * FROM worktrees WHERE id = ${id} AND fence = ${fence} AND lease_expires_at <= ${context.now} ${skipLocked}`);
    if (row === undefined) continue;
    yield* expireLease(row, session, context);
    ended.push(id);
  }
  return ended;
});

const expireLease = step(function* (row: WorktreeRow, session: SessionRow | undefined, context: Context) {
  yield* giveBack(row, session, row.state === "leased" ? "dirty" : "quarantined", "expire", context);
});

/** Of a tree in this state, which may be removed: it is counted out of its repository, whose lock comes before all others. */
const lockRepositoryOf = step(function* (worktreeId: string, state: WorktreeRow["state"]) {
  yield* first(sql`SELECT id FROM repositories WHERE id = (SELECT repository_id FROM worktrees WHERE id = ${worktreeId} AND state = ${state}) ${forUpdate}`);
});

const lockWorktree = step(function* (worktreeId: string) {
  const row = yield* first<WorktreeRow>(sql`SELECT * FROM worktrees WHERE id = ${worktreeId} ${forUpdate}`);
  return row ?? fail("not_found", { entity: "worktree", id: worktreeId });
});

const requireLease = step(function* (worktreeId: string, fence: number, now: Date) {
  const row = yield* lockWorktree(worktreeId);
  checkLease(row, fence, now);
  return row;
});

function checkLease(row: WorktreeRow, fence: number, now: Date): void {
  if (row.fence !== fence || row.lease_expires_at === null) refuseStale(row);
  if (row.lease_expires_at <= now.getTime()) fail("lease_expired", { expiredAt: new Date(row.lease_expires_at) });
}

function refuseStale(row: WorktreeRow): never {
  fail("lease_lost", { currentFence: row.fence, state: row.state });
}

function releasedState(state: WorktreeRow["state"], to: Release): WorktreeRow["state"] {
  if (state === "creating") return to === "clean" ? "removed" : "quarantined";
  return state === "evicting" ? "quarantined" : releases[to];
}

/** The same release again, for the same fence. */
function wasReleased(state: WorktreeRow["state"], to: Release): boolean {
  return state === releases[to] || state === (to === "clean" ? "removed" : "quarantined");
}

/** Ends a lease, whatever the reason, and the binding of the session that held the tree under it. */
const giveBack = step(function* (
  before: WorktreeRow,
  session: SessionRow | undefined,
  state: WorktreeRow["state"],
  op: string,
  context: Context,
  reason?: string,
) {
  const row = yield* save(
    before,
    { state, lease_runner_id: null, lease_owner: null, leased_at: null, lease_expires_at: null },
    op,
    context,
    reason,
    session?.id,
  );
  if (state === "removed") {
    yield* change(sql`UPDATE repositories SET worktree_count = worktree_count - 1 WHERE id = ${row.repository_id}`);
  }
  if (session !== undefined) yield* unbindWorktree(session, context);
  context.wake(freeTopic(row.repository_id));
  return row;
});

type Mutable = Partial<
  Pick<
    WorktreeRow,
    "state" | "commit_sha" | "environment_hash" | "size_bytes" | "pinned" | "lease_runner_id" | "lease_owner" | "leased_at" | "lease_expires_at"
  >
>;

function factsOf(input: { commitSha?: string | undefined; environmentHash?: string | undefined; sizeBytes?: number | undefined }): Mutable {
  return {
    ...(input.commitSha === undefined ? {} : { commit_sha: input.commitSha }),
    ...(input.environmentHash === undefined ? {} : { environment_hash: input.environmentHash }),
    ...(input.sizeBytes === undefined ? {} : { size_bytes: input.sizeBytes }),
  };
}

/** Recorded in the history of the session that holds the tree, if one does. */
const saveHeld = step(function* (before: WorktreeRow, changes: Mutable, op: string, context: Context) {
  const session = yield* first<{ id: string }>(sql`
    SELECT id FROM sessions WHERE worktree_id = ${before.id} AND worktree_fence = ${before.fence} AND state IN ('pending', 'running', 'cancelling')`);
  return yield* save(before, changes, op, context, undefined, session?.id);
});

const save = step(function* (before: WorktreeRow, changes: Mutable, op: string, { now, changed }: Context, reason?: string, sessionId?: string) {
  const row = { ...before, ...changes };
  const stored = (yield* first<WorktreeRow>(sql`
    UPDATE worktrees SET state = ${row.state}, commit_sha = ${row.commit_sha}, environment_hash = ${row.environment_hash}, size_bytes = ${row.size_bytes},
      pinned = ${row.pinned === 1}, lease_runner_id = ${row.lease_runner_id}, lease_owner = ${row.lease_owner},
      leased_at = ${row.leased_at === null ? null : new Date(row.leased_at)},
      lease_expires_at = ${row.lease_expires_at === null ? null : new Date(row.lease_expires_at)},
      version = version + 1, updated_at = ${now}
    WHERE id = ${row.id} RETURNING *`)) as WorktreeRow;
  changed({
    entity: "worktree",
    id: row.id,
    op,
    version: stored.version,
    fence: stored.fence,
    sessionId,
    detail: { state: stored.state, ...(reason === undefined ? {} : { reason }) },
  });
  return stored;
});
