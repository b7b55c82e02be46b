// The sets of labels that commands require, found by steps from one set to the next along an index (D-147): their number
// has a bound, and how many rows have the same set does not matter.
import { bounds } from "../limits.ts";
import { covers, type LabelSet, type Labels } from "../model/labels.ts";
import { fail } from "../operation.ts";
import { all, plainText, type Statement, sql, step } from "../sql.ts";

/** The condition of a session without a worktree from which a command may be claimed, that of its index. */
export const isFree: Statement = sql`ready_at IS NOT NULL AND worktree_id IS NULL`;

/** Returns the part of a statement that finds the sets of a column, besides the empty one, in the rows of a partial index. */
const setsOf = (table: Statement, column: Statement, condition: Statement): Statement => sql`
  WITH RECURSIVE sets (requires) AS (
    SELECT ''${plainText}
    UNION ALL
    SELECT (
      SELECT ${column} FROM ${table}
      WHERE ${condition} AND ${column} > sets.requires
      ORDER BY ${column} LIMIT 1)
    FROM sets WHERE sets.requires IS NOT NULL
  )`;

export interface ReadySet {
  readonly requires: LabelSet;
  /** The time from which the first session of the set counts as waiting. */
  readonly ready_at: number;
}

/**
 * Returns the sets of labels of sessions without a worktree that a runner covers, the one with the session that has
 * waited longest first.
 */
export const coveredSets = step(function* (has: Labels) {
  const sets = yield* all<ReadySet>(sql`
    ${setsOf(sql`sessions`, sql`ready_requires`, isFree)}
    SELECT requires, (
      SELECT ready_at FROM sessions
      WHERE ${isFree} AND ready_requires = sets.requires
      ORDER BY ready_at, id LIMIT 1) AS ready_at
    FROM sets WHERE requires <> ''`);
  return sets.filter(({ requires }) => covers(has, requires)).sort((one, other) => one.ready_at - other.ready_at);
});

/**
 * Fails with `invalid_input` when commands that have not ended would require too many different sets of labels: a claim
 * may look at each of them.
 */
export const requireKnownSets = step(function* (rows: readonly { readonly requires: LabelSet }[]) {
  const added = new Set(rows.map(({ requires }) => requires).filter((set) => set !== ""));
  if (added.size === 0) return;
  const known = yield* all<{ requires: LabelSet }>(sql`
    ${setsOf(sql`commands`, sql`requires`, sql`requires <> '' AND ended_at IS NULL`)}
    SELECT requires FROM sets WHERE requires <> ''`);
  for (const { requires } of known) added.delete(requires);
  const count = known.length + added.size;
  if (added.size === 0 || count <= bounds.labelSets) return;
  const message = `requires: commands that have not ended would require ${count} different sets of labels, and at most ${bounds.labelSets} may: require fewer, or wait until some have ended`;
  fail("invalid_input", { labelSets: known.length }, message);
});
