// Worktrees: checkout directories of a repository, each leased to one holder at a time. A lease has a fencing token
// (`fence`), which every grant raises; a holder with an older one has lost the lease. The store only keeps records:
// the holder creates, cleans and removes the directory itself.
import { z } from "zod";
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import { page } from "../model/codec.ts";
import { Directory } from "../model/directories.ts";
import {
  CommitSha,
  Fence,
  Hash,
  Id,
  LeaseTtl,
  listInput,
  NewId,
  oneOrMore,
  Reason,
  Version,
  WaitMs,
} from "../model/fields.ts";
import { PlaceName } from "../model/places.ts";
import { releaseKinds, worktreeStates } from "../model/vocabulary.ts";
import { Lease, Worktree, type WorktreeRow } from "../model/worktrees.ts";
import { fail, operation } from "../operation.ts";
import { first, one, sql, step } from "../sql.ts";
import { leaseLost, requireState } from "./failures.ts";
import { filter, listPage } from "./paging.ts";
import { lockActiveRepository } from "./repositories.ts";
import {
  hasPath,
  holderRule,
  namesHolder,
  requireFreePath,
  reserveFields,
  reserveWorktree,
  tooManyWorktrees,
} from "./reservation.ts";
import { getRow, lockRow, type RowOf } from "./rows.ts";
import { dueSession, keepSessionActive, type WithDueSession } from "./sessionActivity.ts";
import { lockBoundSession } from "./sessionState.ts";
import { freeWorktreeTopic } from "./topics.ts";
import { requireVersion } from "./versions.ts";
import { countWorktree, recountWorktree, worktreesInPlace } from "./worktreeCounts.ts";
import { isSameRelease, saveWorktree, stateAfterRelease, unknownFacts, worktreeFacts } from "./worktreeLease.ts";
import {
  endWorktreeLease,
  lockRepositoryOfWorktree,
  requireWorktreeLease,
  saveLeasedWorktree,
} from "./worktreeState.ts";

/** The fields that identify a lease. */
const leaseKey = { worktreeId: Id, fence: Fence };

/** The facts that a holder may report about its worktree: null says that the commit, or the environment, is unknown. */
const factFields = {
  commitSha: CommitSha.nullable().optional(),
  environmentHash: Hash.nullable().optional(),
  sizeBytes: z.int().min(0).optional(),
};

/**
 * Leases the free worktree of a place that fits best. The best fit has the same commit and environment, the next the same
 * environment, the next the same commit, and the last is the one that was not used for the longest time; among equal
 * fits an idle worktree goes before a dirty one. If none is free and the repository has fewer than maxWorktrees in this
 * place, leases a new worktree in `creating`, which the caller then creates at its path.
 *
 * Input    sessionId: binds worktree and fence to the session; commitSha is then the session's commit by default, and
 *          only the runner that holds the worktree can claim the session's commands. waitMs: the time to wait for a free
 *          worktree. path: the absolute path of a new worktree (default: its id within the repository's worktreeRoot).
 *          place: where the caller can use directories (default: the place of the runner, or the one without a name);
 *          worktrees of other places are neither granted nor counted
 * Result   the lease; pass its fencing token (`fence`) with every later call about the worktree
 * Fails    not_found | invalid_transition | conflict { reason: "bound" | "path" | "repository" | "exists" }
 *          | capacity_exhausted { earliestExpiryAt, inUse, quarantined, maxWorktrees, place }, which is not retryable when
 *          all worktrees of the place are quarantined or none is allowed | invalid_input when a new worktree has no path
 * Effect   one row of worktrees, perhaps one of sessions; one row of changes for each. Expired leases that the search
 *          ends stay ended, also when no worktree became free and the call fails with capacity_exhausted
 * Cost     at most 15 statements, each by an index; the same for ten worktrees and for ten thousand, except that leased
 *          and quarantined ones are counted when none is free
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
 *          scrubbed before use. place: where the directory is, for callers of the same place (default: the one without
 *          a name)
 * Result   the worktree; registering the same path in the same place for the same repository again changes nothing
 * Fails    not_found | invalid_transition | conflict { reason: "path" | "exists" } | capacity_exhausted
 */
export const register = operation({
  access: "write",
  input: z.strictObject({
    id: NewId,
    repositoryId: Id,
    place: PlaceName.default(""),
    path: Directory,
    commitSha: CommitSha.optional(),
    environmentHash: Hash.optional(),
    sizeBytes: factFields.sizeBytes,
    clean: z.boolean().default(false),
    pinned: z.boolean().default(false),
  }),
  output: Worktree,
  errors: ["not_found", "invalid_transition", "conflict", "capacity_exhausted"],
  *run(input, context) {
    const { now, changed, wake, counted } = context;
    const repository = yield* lockActiveRepository(input.repositoryId);
    const known = yield* first<WorktreeRow>(
      sql`SELECT * FROM worktrees WHERE place = ${input.place} AND ${hasPath(input.path)} AND state <> 'removed'`,
    );
    if (known?.repository_id === input.repositoryId) return known;
    if (known !== undefined) {
      const message = `worktree ${known.id} of another repository has the path ${input.path}: choose another one`;
      fail("conflict", { reason: "path", worktreeId: known.id }, message);
    }
    yield* requireRoom(repository, input.place, context);
    const row = yield* one<WorktreeRow>(sql`
      INSERT INTO worktrees (
        id,
        repository_id,
        place,
        path,
        commit_sha,
        commit_fence,
        environment_hash,
        environment_fence,
        size_bytes,
        pinned,
        state,
        last_used_at,
        created_at,
        updated_at
      ) VALUES (
        ${input.id},
        ${input.repositoryId},
        ${input.place},
        ${input.path},
        ${input.commitSha ?? null},
        ${input.commitSha === undefined ? null : 0},
        ${input.environmentHash ?? null},
        ${input.environmentHash === undefined ? null : 0},
        ${input.sizeBytes ?? null},
        ${input.pinned},
        ${input.clean ? "idle" : "dirty"},
        ${now},
        ${now},
        ${now}
      )
      RETURNING *`);
    yield* countWorktree(row);
    counted("worktree", undefined, row.state);
    const detail = { place: row.place, path: row.path };
    changed({ entity: "worktree", id: row.id, op: "register", version: 1, fence: 0, detail });
    wake(freeWorktreeTopic(row));
    return row;
  },
});

/** Fails unless a locked repository allows one more worktree in the place. */
const requireRoom = step(function* (repository: RowOf["repository"], place: string, context: Context) {
  const count = yield* worktreesInPlace(repository.id, place);
  if (count >= repository.max_worktrees) throw yield* tooManyWorktrees(repository, place, count, context);
});

/**
 * Says that the directory of a worktree is in another place than was known: it counts there from now on, and is granted
 * there alone. Its lease, if there is one, goes on. For worktrees from before there were places, and for a machine that
 * has got another name. Repeating the call changes nothing.
 *
 * Input    place: where the directory is
 * Fails    not_found | invalid_transition when the worktree is removed | conflict { reason: "path" | "version" }
 *          | capacity_exhausted when the place has no room
 * Effect   one row of worktrees; one row of changes
 */
export const adopt = operation({
  access: "write",
  input: z.strictObject({ worktreeId: Id, place: PlaceName, expectedVersion: Version.optional() }),
  output: Worktree,
  errors: ["not_found", "invalid_transition", "conflict", "capacity_exhausted"],
  *run({ worktreeId, place, expectedVersion }, context) {
    const { repository_id } = yield* getRow("worktree", worktreeId);
    const repository = yield* lockRow("repository", repository_id);
    const before = yield* lockRow("worktree", worktreeId);
    if (before.place === place) return before;
    requireVersion(before, expectedVersion);
    requireState(before, "worktree", ["creating", "idle", "dirty", "leased", "quarantined", "evicting"]);
    yield* requireFreePath(place, before.path);
    yield* requireRoom(repository, place, context);
    const row = yield* saveWorktree(before, { place }, "adopt", context);
    yield* recountWorktree(before, row);
    // There is room in one place, and perhaps a free worktree in the other.
    for (const one of [before, row]) context.wake(freeWorktreeTopic(one));
    return row;
  },
});

/**
 * Reports that a new worktree has been created: `creating` becomes `leased`, under the same fence. Repeating the call
 * changes nothing, whatever it reports.
 *
 * Input    commitSha, environmentHash: what the holder has put into the worktree
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
    return yield* saveLeasedWorktree(
      before,
      { ...worktreeFacts(input, input.fence), state: "leased" },
      "ready",
      context,
    );
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
 * Input    commitSha, environmentHash: what the worktree has from now on; null, for example before a checkout, when it
 *          is unknown
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
    return yield* saveLeasedWorktree(before, worktreeFacts(input, input.fence), "update", context);
  },
});

/**
 * Releases a worktree. Repeating the call changes nothing; a second release that leads to another state is refused.
 *
 * Input    to: clean (the worktree becomes idle), dirty (it must be scrubbed before use), keep or broken (it is
 *          quarantined). A worktree in `creating` is removed with clean, because no directory was left behind, and is
 *          otherwise quarantined. commitSha, environmentHash: what the worktree has. What the holder has reported
 *          neither here nor earlier under this lease is unknown from now on, and so is everything about a worktree that
 *          becomes quarantined
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
      return isSameRelease(before, input.to) ? before : leaseLost(before, input.fence);
    const state = stateAfterRelease(before.state, input.to);
    const facts = worktreeFacts(input, input.fence);
    const end = { state, op: "release", reason: input.reason, isByHolder: true, facts };
    return yield* endWorktreeLease(before, session, end, context);
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
    const end = { state: "quarantined", op: "quarantine", reason: input.reason } as const;
    return yield* endWorktreeLease(before, session, end, context);
  },
});

/**
 * Returns a quarantined worktree to use as dirty, so that its next holder scrubs it. Its commit and environment are
 * unknown. Repeating the call changes nothing.
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
    if (before.state === "dirty") return before;
    requireVersion(before, expectedVersion);
    requireState(before, "worktree", ["quarantined"]);
    context.wake(freeWorktreeTopic(before));
    return yield* saveWorktree(before, { ...unknownFacts, state: "dirty", ended_from: null }, "restore", context);
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

/**
 * Lists worktrees. A row must match all filters that are present.
 *
 * Input    runnerId: the runner that holds the worktree. place: where the directories are; without it, all places
 * Cost     1 statement along an index. With filters besides runnerId, 2 statements that read at most 5 000 rows
 */
export const list = operation({
  access: "read",
  input: listInput("worktree", {
    repositoryId: Id.optional(),
    state: oneOrMore(worktreeStates),
    runnerId: Id.optional(),
    place: PlaceName.optional(),
  }),
  output: page(Worktree),
  errors: [],
  *run(input) {
    return yield* listPage("worktree", input, {
      filters: {
        runner: filter(sql`lease_runner_id`, input.runnerId),
        repository: filter(sql`repository_id`, input.repositoryId),
        state: filter(sql`state`, input.state),
        place: filter(sql`place`, input.place),
      },
      indexes: [["runner"], ["repository", "state"], ["repository"], ["state"], ["place"]],
    });
  },
});
