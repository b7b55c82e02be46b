// Worktrees: checkout directories of a repository, each leased to one holder at a time. A lease has a fencing token
// (`fence`), which every grant raises; a holder with an older one has lost the lease. The store only keeps records:
// the holder creates, cleans and removes the directory itself.
import { z } from "zod";
import { after } from "../clock.ts";
import { optional, page } from "../model/codec.ts";
import { Directory } from "../model/directories.ts";
import { CommitSha, Fence, Hash, Id, LeaseTtl, NewId, paging, Reason, Version, WaitMs } from "../model/fields.ts";
import { releaseKinds, worktreeStates } from "../model/vocabulary.ts";
import { Lease, Worktree, type WorktreeRow } from "../model/worktrees.ts";
import { fail, operation } from "../operation.ts";
import { change, first, one, skipLocked, sql, step, when } from "../sql.ts";
import { leaseLost, requireState } from "./failures.ts";
import { listPage } from "./paging.ts";
import { lockActiveRepository } from "./repositories.ts";
import {
  capacityExhausted,
  grantWorktree,
  holderFields,
  holderRule,
  namesHolder,
  reserveFields,
  reserveWorktree,
  resolveHolder,
} from "./reservation.ts";
import { getRow, lockRow } from "./rows.ts";
import { dueSession, keepSessionActive, type WithDueSession } from "./sessionActivity.ts";
import { lockBoundSession } from "./sessionState.ts";
import { freeWorktreeTopic } from "./topics.ts";
import { requireVersion } from "./versions.ts";
import {
  checkWorktreeLease,
  endWorktreeLease,
  isSameRelease,
  lockRepositoryOfWorktree,
  requireWorktreeLease,
  saveLeasedWorktree,
  saveWorktree,
  stateAfterRelease,
  worktreeFacts,
} from "./worktreeState.ts";

/** The fields that identify a lease. */
const leaseKey = { worktreeId: Id, fence: Fence };

/** The facts that a holder may record about its worktree. */
const factFields = {
  commitSha: CommitSha.optional(),
  environmentHash: Hash.optional(),
  sizeBytes: z.int().min(0).optional(),
};

/**
 * Leases the free worktree that fits best. The best fit has the same commit and environment, the next the same
 * environment, the next the same commit, and the last is the one that was not used for the longest time; among equal
 * fits an idle worktree goes before a dirty one. If none is free and the repository has fewer than maxWorktrees, leases
 * a new worktree in `creating`, which the caller then creates at its path.
 *
 * Input    sessionId: binds worktree and fence to the session; commitSha is then the session's commit by default.
 *          waitMs: the time to wait for a free worktree. path: the absolute path of a new worktree (default: its id
 *          within the repository's worktreeRoot)
 * Result   the lease; pass its fencing token (`fence`) with every later call about the worktree
 * Fails    not_found | invalid_transition | conflict { reason: "bound" | "path" | "repository" | "exists" }
 *          | capacity_exhausted { earliestExpiryAt } | invalid_input when a new worktree has no path
 * Effect   one row of worktrees, perhaps one of sessions; one row of changes for each
 * Cost     at most 12 statements, each by an index; the same for ten worktrees and for ten thousand
 */
export const reserve = operation({
  access: "write",
  input: z
    .strictObject({
      repositoryId: Id,
      sessionId: Id.optional(),
      commitSha: CommitSha.optional(),
      id: NewId,
      ...reserveFields,
      waitMs: WaitMs.default(0),
    })
    .refine(namesHolder, holderRule),
  output: Lease,
  errors: ["invalid_input", "not_found", "invalid_transition", "conflict", "capacity_exhausted"],
  waitMs: (input) => input.waitMs,
  *run(input, context) {
    return yield* reserveWorktree(input, context);
  },
});

/**
 * Registers an existing directory as a free worktree.
 *
 * Input    path: absolute; /a/, /a//b and /a/./b are stored as what they mean. clean: false when the directory must be
 *          scrubbed before use
 * Result   the worktree; registering the same path of the same repository again changes nothing
 * Fails    not_found | invalid_transition | conflict { reason: "path" | "exists" } | capacity_exhausted
 */
export const register = operation({
  access: "write",
  input: z.strictObject({
    id: NewId,
    repositoryId: Id,
    path: Directory,
    ...factFields,
    clean: z.boolean().default(false),
    pinned: z.boolean().default(false),
  }),
  output: Worktree,
  errors: ["not_found", "invalid_transition", "conflict", "capacity_exhausted"],
  *run(input, { now, changed, wake }) {
    const repository = yield* lockActiveRepository(input.repositoryId);
    const known = yield* first<WorktreeRow>(
      sql`SELECT * FROM worktrees WHERE path = ${input.path} AND state <> 'removed'`,
    );
    if (known?.repository_id === input.repositoryId) return known;
    if (known !== undefined) {
      const message = `worktree ${known.id} of another repository has the path ${input.path}: choose another one`;
      fail("conflict", { reason: "path", worktreeId: known.id }, message);
    }
    if (repository.worktree_count >= repository.max_worktrees) throw yield* capacityExhausted(repository.id);
    const row = yield* one<WorktreeRow>(sql`
      INSERT INTO worktrees (
        id,
        repository_id,
        path,
        commit_sha,
        environment_hash,
        size_bytes,
        pinned,
        state,
        last_used_at,
        created_at,
        updated_at
      ) VALUES (
        ${input.id},
        ${input.repositoryId},
        ${input.path},
        ${input.commitSha ?? null},
        ${input.environmentHash ?? null},
        ${input.sizeBytes ?? null},
        ${input.pinned},
        ${input.clean ? "idle" : "dirty"},
        ${now},
        ${now},
        ${now}
      )
      RETURNING *`);
    yield* change(sql`UPDATE repositories SET worktree_count = worktree_count + 1 WHERE id = ${repository.id}`);
    changed({ entity: "worktree", id: row.id, op: "register", version: 1, fence: 0, detail: { path: row.path } });
    wake(freeWorktreeTopic(repository.id));
    return row;
  },
});

/**
 * Reports that a new worktree has been created: `creating` becomes `leased`, under the same fence. Repeating the call
 * changes nothing.
 *
 * Fails    not_found | lease_lost { currentFence } | invalid_transition
 */
export const ready = operation({
  access: "write",
  input: z.strictObject({ ...leaseKey, ...factFields }),
  output: Worktree,
  errors: ["not_found", "lease_lost", "invalid_transition"],
  *run(input, context) {
    const before = yield* requireWorktreeLease(input.worktreeId, input.fence);
    if (before.state === "leased") return before;
    requireState(before, "worktree", ["creating"]);
    return yield* saveLeasedWorktree(before, { ...worktreeFacts(input), state: "leased" }, "ready", context);
  },
});

/**
 * Extends a lease, even one whose time has passed, as long as the reaper has not ended it and the worktree was not
 * leased again. A renewal counts as activity of the session that holds the worktree; a runner's heartbeat, which renews
 * all leases of the runner, does not.
 *
 * Input    ttlMs: the time until the lease expires, in milliseconds from now
 * Result   the worktree with its new leaseExpiresAt
 * Fails    not_found | lease_lost { currentFence }
 * Effect   lease_expires_at of one row; no row of changes
 * Cost     1 statement by primary key, and at most once a second 2 more for the session; lane urgent
 */
export const renew = operation({
  access: "write",
  lane: "urgent",
  input: z.strictObject({ ...leaseKey, ttlMs: LeaseTtl.default(60_000) }),
  output: Worktree,
  errors: ["not_found", "lease_lost"],
  *run({ worktreeId, fence, ttlMs }, context) {
    const { now } = context;
    // A renewal does not count as a change, so the version stays (D-029).
    const row = yield* first<WorktreeRow & WithDueSession>(sql`
      UPDATE worktrees SET lease_expires_at = ${after(now, ttlMs)}
      WHERE id = ${worktreeId} AND fence = ${fence} AND lease_expires_at IS NOT NULL
      RETURNING
        *,
        ${dueSession(sql`worktree_id = worktrees.id AND worktree_fence = worktrees.fence`, context)}`);
    if (row !== undefined && row.due_session_id !== null) yield* keepSessionActive(row.due_session_id, context);
    // Fails with the reason why no row was updated.
    return row ?? (yield* requireWorktreeLease(worktreeId, fence));
  },
});

/**
 * Records facts about a leased worktree: its commit, environment and size, and whether it is pinned.
 *
 * Fails    not_found | lease_lost { currentFence } | conflict { reason: "version" }
 */
export const update = operation({
  access: "write",
  input: z.strictObject({
    ...leaseKey,
    ...factFields,
    pinned: z.boolean().optional(),
    expectedVersion: Version.optional(),
  }),
  output: Worktree,
  errors: ["not_found", "lease_lost", "conflict"],
  *run(input, context) {
    const before = yield* requireWorktreeLease(input.worktreeId, input.fence);
    requireVersion(before, input.expectedVersion);
    return yield* saveLeasedWorktree(before, worktreeFacts(input), "update", context);
  },
});

/**
 * Releases a worktree. Repeating the call with the same fence changes nothing.
 *
 * Input    to: clean (the worktree becomes idle), dirty (it must be scrubbed before use), keep or broken (it is
 *          quarantined). A worktree in `creating` is removed with clean, because no directory was left behind, and is
 *          otherwise quarantined
 * Fails    not_found | lease_lost { currentFence }
 * Effect   one row of worktrees; the open session that held the worktree is unbound
 * Cost     at most 7 statements, each by an index
 */
export const release = operation({
  access: "write",
  input: z.strictObject({
    ...leaseKey,
    ...factFields,
    to: z.enum(releaseKinds).default("dirty"),
    reason: Reason.optional(),
  }),
  output: Worktree,
  errors: ["not_found", "lease_lost"],
  *run(input, context) {
    if (input.to === "clean") yield* lockRepositoryOfWorktree(input.worktreeId, "creating");
    const session = yield* lockBoundSession(input.worktreeId, input.fence);
    const before = yield* lockRow("worktree", input.worktreeId);
    if (before.fence !== input.fence) leaseLost(before, input.fence);
    if (before.lease_expires_at === null)
      return isSameRelease(before.state, input.to) ? before : leaseLost(before, input.fence);
    return yield* endWorktreeLease(
      { ...before, ...worktreeFacts(input) },
      session,
      stateAfterRelease(before.state, input.to),
      "release",
      context,
      input.reason,
    );
  },
});

/**
 * Quarantines a worktree, which stays out of use until it is restored or evicted. Does the same as release with `keep`,
 * but fails when it is repeated.
 *
 * Fails    not_found | lease_lost { currentFence }
 */
export const quarantine = operation({
  access: "write",
  input: z.strictObject({ ...leaseKey, reason: Reason.optional() }),
  output: Worktree,
  errors: ["not_found", "lease_lost"],
  *run(input, context) {
    const session = yield* lockBoundSession(input.worktreeId, input.fence);
    const before = yield* requireWorktreeLease(input.worktreeId, input.fence);
    return yield* endWorktreeLease(before, session, "quarantined", "quarantine", context, input.reason);
  },
});

/**
 * Returns a quarantined worktree to use as dirty, so that its next holder scrubs it. Repeating the call changes
 * nothing.
 *
 * Fails    not_found | invalid_transition | conflict { reason: "version" }
 */
export const restore = operation({
  access: "write",
  input: z.strictObject({ worktreeId: Id, expectedVersion: Version.optional() }),
  output: Worktree,
  errors: ["not_found", "invalid_transition", "conflict"],
  *run({ worktreeId, expectedVersion }, context) {
    const before = yield* lockRow("worktree", worktreeId);
    requireVersion(before, expectedVersion);
    if (before.state === "dirty") return before;
    requireState(before, "worktree", ["quarantined"]);
    context.wake(freeWorktreeTopic(before.repository_id));
    return yield* saveWorktree(before, { state: "dirty" }, "restore", context);
  },
});

/**
 * Leases a worktree for removal: the one named by worktreeId, or the least recently used one that is neither pinned,
 * leased nor quarantined. The holder deletes the directory, and then calls completeEvict.
 *
 * Result   the worktree in `evicting`, or undefined when there is none to evict
 * Fails    not_found | invalid_transition when the worktree named by worktreeId is in use or removed
 */
export const evict = operation({
  access: "write",
  input: z
    .strictObject({ repositoryId: Id, worktreeId: Id.optional(), ...holderFields, ttlMs: LeaseTtl.default(60_000) })
    .refine(namesHolder, holderRule),
  output: optional(Worktree),
  errors: ["not_found", "invalid_transition"],
  *run(input, context) {
    const holder = yield* resolveHolder(input);
    const id =
      input.worktreeId === undefined
        ? yield* leastRecentlyUsed(input.repositoryId)
        : yield* requireEvictable(input.repositoryId, input.worktreeId);
    if (id !== undefined) return yield* grantWorktree(id, "evicting", holder, input.ttlMs, context);
    yield* getRow("repository", input.repositoryId);
    return undefined;
  },
});

/** Locks the least recently used worktree that may be evicted, and returns its id, or undefined. */
const leastRecentlyUsed = step(function* (repositoryId: string) {
  const row = yield* first<{ id: string }>(sql`
    SELECT id FROM worktrees
    WHERE repository_id = ${repositoryId} AND state IN ('idle', 'dirty') AND NOT pinned
    ORDER BY last_used_at LIMIT 1 ${skipLocked}`);
  return row?.id;
});

/** Locks a worktree, and fails unless it belongs to the repository and may be evicted. */
const requireEvictable = step(function* (repositoryId: string, worktreeId: string) {
  const row = yield* lockRow("worktree", worktreeId);
  if (row.repository_id !== repositoryId) {
    const message = `worktree ${worktreeId} belongs to repository ${row.repository_id}, not ${repositoryId}`;
    fail("not_found", { entity: "worktree", id: worktreeId }, message);
  }
  requireState(row, "worktree", ["idle", "dirty", "quarantined"]);
  return worktreeId;
});

/**
 * Reports that the directory of an evicted worktree is deleted, and frees its path. Repeating the call changes nothing.
 *
 * Fails    not_found | lease_lost { currentFence } | invalid_transition
 */
export const completeEvict = operation({
  access: "write",
  input: z.strictObject(leaseKey),
  output: Worktree,
  errors: ["not_found", "lease_lost", "invalid_transition"],
  *run({ worktreeId, fence }, context) {
    yield* lockRepositoryOfWorktree(worktreeId, "evicting");
    const before = yield* lockRow("worktree", worktreeId);
    if (before.state === "removed" && before.fence === fence) return before;
    checkWorktreeLease(before, fence);
    requireState(before, "worktree", ["evicting"]);
    return yield* endWorktreeLease(before, undefined, "removed", "remove", context);
  },
});

/**
 * Returns one worktree.
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
    return yield* getRow("worktree", worktreeId);
  },
});

/** Lists worktrees, oldest first. A row must match all filters that are present. */
export const list = operation({
  access: "read",
  input: z.strictObject({ repositoryId: Id.optional(), state: z.enum(worktreeStates).optional(), ...paging }),
  output: page(Worktree),
  errors: [],
  *run(input) {
    return yield* listPage(
      "worktree",
      input,
      when(input.repositoryId, (repositoryId) => sql`repository_id = ${repositoryId}`),
      when(input.state, (state) => sql`state = ${state}`),
    );
  },
});
