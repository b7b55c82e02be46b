// The counts of a repository's worktrees that are not removed: one for each place, by which its limit is checked (D-144),
// and one of all places. Whoever changes them has locked the repository.
import type { WorktreeRow } from "../model/worktrees.ts";
import { change, first, type Statement, sql, step } from "../sql.ts";

type Placed = Pick<WorktreeRow, "repository_id" | "place">;

/** Returns the number of a repository's worktrees in a place. */
export const worktreesInPlace = step(function* (repositoryId: string, place: string) {
  const row = yield* first<{ worktree_count: number }>(sql`
    SELECT worktree_count FROM repository_places WHERE repository_id = ${repositoryId} AND place = ${place}`);
  return row?.worktree_count ?? 0;
});

/** Counts a new worktree. */
export const countWorktree = step(function* (row: Placed) {
  yield* change(sql`UPDATE repositories SET worktree_count = worktree_count + 1 WHERE id = ${row.repository_id}`);
  yield* enterPlace(row);
});

/** Counts a worktree that is removed no longer. */
export const uncountWorktree = step(function* (row: Placed) {
  yield* change(sql`UPDATE repositories SET worktree_count = worktree_count - 1 WHERE id = ${row.repository_id}`);
  yield* leavePlace(row);
});

/** Counts a worktree in another place. */
export const recountWorktree = step(function* (before: Placed, row: Placed) {
  yield* leavePlace(before);
  yield* enterPlace(row);
});

const enterPlace = step(function* ({ repository_id, place }: Placed) {
  yield* change(sql`
    INSERT INTO repository_places (repository_id, place, worktree_count) VALUES (${repository_id}, ${place}, 1)
    ON CONFLICT (repository_id, place) DO UPDATE SET worktree_count = repository_places.worktree_count + 1`);
});

/** Leaves no row of a place without worktrees: names of machines that are gone would be kept for ever. */
const leavePlace = step(function* ({ repository_id, place }: Placed) {
  yield* change(sql`
    UPDATE repository_places SET worktree_count = worktree_count - 1
    WHERE repository_id = ${repository_id} AND place = ${place}`);
  yield* change(sql`
    DELETE FROM repository_places
    WHERE repository_id = ${repository_id} AND place = ${place} AND worktree_count = 0`);
});

/**
 * Returns the statement for the number of a repository's worktrees in a place that are not removed: those that are free,
 * those that somebody leases, and those that are quarantined. Each of them has an index.
 */
export function countsOfPlace(repositoryId: Statement, place: Statement): Statement {
  const count = (condition: Statement) =>
    sql`(SELECT count(*) FROM worktrees AS w WHERE w.repository_id = ${repositoryId} AND w.place = ${place} AND ${condition})`;
  return sql`(
    ${count(sql`w.state IN ('idle', 'dirty')`)}
    + ${count(sql`w.lease_expires_at IS NOT NULL`)}
    + ${count(sql`w.state = 'quarantined'`)})`;
}
