// Eviction of worktrees: a holder leases a worktree for removal, deletes its directory, and reports that.
import { z } from "zod";
import { after } from "../clock.ts";
import { bounds } from "../limits.ts";
import { list, optional } from "../model/codec.ts";
import { Fence, Id, LeaseTtl } from "../model/fields.ts";
import { Worktree, type WorktreeRow } from "../model/worktrees.ts";
import { fail, NotYet, operation } from "../operation.ts";
import { all, first, forUpdate, skipLocked, sql, step } from "../sql.ts";
import { requireState } from "./failures.ts";
import { evictionGrant, grantWorktree, holderFields, holderRule, namesHolder, resolveHolder } from "./reservation.ts";
import { getRow, lockRow } from "./rows.ts";
import { checkWorktreeLease, endWorktreeLease, lockRepositoryOfWorktree } from "./worktreeState.ts";

/** The longest time for which a worktree can be asked to have been unused: ten years. */
const unusedMsMax = 10 * 365 * 86_400_000;

/**
 * Leases a worktree for removal: the one named by worktreeId, or the least recently used one of the holder's place that is
 * neither pinned, leased nor quarantined. The holder deletes the directory, and then calls completeEvict.
 *
 * Input    place: where the directory is (default: the place of the runner, or the one without a name). An owner who
 *          names worktreeId and no place means the worktree wherever it is
 * Result   the worktree in `evicting`, or undefined when there is none to evict
 * Fails    not_found | invalid_transition when the worktree named by worktreeId is in use or removed
 *          | conflict { reason: "place", place } when it is in another place than the holder
 * Effect   one row of worktrees; one row of changes
 */
export const evict = operation({
  access: "write",
  input: z
    .strictObject({ repositoryId: Id, worktreeId: Id.optional(), ...holderFields, ttlMs: LeaseTtl.default(60_000) })
    .refine(namesHolder, holderRule),
  output: optional(Worktree),
  errors: ["not_found", "invalid_transition", "conflict"],
  *run(input, context) {
    const holder = yield* resolveHolder(input);
    const isAnywhere = input.runnerId === undefined && input.place === undefined;
    const worktree =
      input.worktreeId === undefined
        ? yield* leastRecentlyUsed(input.repositoryId, holder.place)
        : yield* requireEvictable(input.repositoryId, input.worktreeId, isAnywhere ? undefined : holder.place);
    if (worktree !== undefined) return yield* grantWorktree(worktree, evictionGrant, holder, input.ttlMs, context);
    yield* getRow("repository", input.repositoryId);
    // "Nothing yet" is not kept under an idempotency key: a repetition looks again.
    return new NotYet([], undefined);
  },
});

/**
 * Leases for removal, in one transaction, all worktrees of a repository in the holder's place that nobody has used for
 * some time, least recently used first. A worktree that is used in between is not among them. Pinned and leased worktrees
 * stay. The holder deletes the directories, and then calls completeEvict for each.
 *
 * Input    unusedForMs: the time since the last lease began or ended. quarantined: true for the quarantined worktrees
 *          instead of the free ones. place: where the directories are (default: the place of the runner, or the one
 *          without a name)
 * Result   the worktrees in `evicting`, at most `limit`; as many as `limit` when more may follow
 * Fails    not_found
 * Effect   one row of worktrees and one row of changes for each
 */
export const evictUnused = operation({
  access: "write",
  input: z
    .strictObject({
      repositoryId: Id,
      unusedForMs: z.int().min(0).max(unusedMsMax).default(0),
      quarantined: z.boolean().default(false),
      limit: z.int().min(1).max(bounds.pageRowsMax).default(bounds.pageRows),
      ...holderFields,
      ttlMs: LeaseTtl.default(60_000),
    })
    .refine(namesHolder, holderRule),
  output: list(Worktree),
  errors: ["not_found", "invalid_transition"],
  *run(input, context) {
    const holder = yield* resolveHolder(input);
    const states = input.quarantined ? sql`state = 'quarantined'` : sql`state IN ('idle', 'dirty')`;
    const unused = yield* all<WorktreeRow>(sql`
      SELECT * FROM worktrees
      WHERE repository_id = ${input.repositoryId} AND place = ${holder.place} AND ${states} AND NOT pinned
        AND last_used_at <= ${after(context.now, -input.unusedForMs)}
      ORDER BY last_used_at LIMIT ${input.limit} ${forUpdate}`);
    if (unused.length === 0) {
      yield* getRow("repository", input.repositoryId);
      return new NotYet([], []);
    }
    const rows: WorktreeRow[] = [];
    for (const worktree of unused)
      rows.push(yield* grantWorktree(worktree, evictionGrant, holder, input.ttlMs, context));
    return rows;
  },
});

/**
 * Locks the least recently used worktree of a place that may be evicted, and returns it, or undefined. Waits for one that
 * another transaction has locked only when there is no other (D-105).
 */
const leastRecentlyUsed = step(function* (repositoryId: string, place: string) {
  const any = sql`
    SELECT * FROM worktrees
    WHERE repository_id = ${repositoryId} AND place = ${place} AND state IN ('idle', 'dirty') AND NOT pinned
    ORDER BY last_used_at LIMIT 1`;
  return (
    (yield* first<WorktreeRow>(sql`${any} ${skipLocked}`)) ?? (yield* first<WorktreeRow>(sql`${any} ${forUpdate}`))
  );
});

/** Locks and returns a worktree, or fails unless it belongs to the repository, is in the place, and may be evicted. */
const requireEvictable = step(function* (repositoryId: string, worktreeId: string, place: string | undefined) {
  const row = yield* lockRow("worktree", worktreeId);
  if (row.repository_id !== repositoryId) {
    const message = `worktree ${worktreeId} belongs to repository ${row.repository_id}, not ${repositoryId}`;
    fail("not_found", { entity: "worktree", id: worktreeId }, message);
  }
  requireState(row, "worktree", ["idle", "dirty", "quarantined"]);
  if (place !== undefined && place !== row.place) {
    const message = `worktree ${worktreeId} is in the place ${nameOf(row.place)}, not ${nameOf(place)}`;
    fail("conflict", { reason: "place", place: row.place }, message);
  }
  return row;
});

/** Returns the name of a place as a message shows it. */
const nameOf = (place: string): string => (place === "" ? "without a name" : JSON.stringify(place));

/**
 * Reports that the directory of an evicted worktree is deleted, and frees its path. Repeating the call changes nothing.
 *
 * Fails    not_found | lease_lost { currentFence } | invalid_transition
 */
export const completeEvict = operation({
  access: "write",
  input: z.strictObject({ worktreeId: Id, fence: Fence }),
  output: Worktree,
  errors: ["not_found", "lease_lost", "invalid_transition"],
  *run({ worktreeId, fence }, context) {
    yield* lockRepositoryOfWorktree(worktreeId, "evicting");
    const before = yield* lockRow("worktree", worktreeId);
    if (before.state === "removed" && before.fence === fence) return before;
    checkWorktreeLease(before, fence);
    requireState(before, "worktree", ["evicting"]);
    return yield* endWorktreeLease(before, undefined, { state: "removed", op: "remove" }, context);
  },
});
