// The kinds of rows that retention removes one by one, because little or nothing belongs to them. They are found by the
// time of their end, along an index, and stay while another row names them.
import { after } from "../clock.ts";
import type { Context, CountedEntity } from "../context.ts";
import { all, and, type Body, type Statement, skipLocked, sql, step, valueList, when } from "../sql.ts";
import { countedTables } from "./counters.ts";
import { deleteSomeOfDebugSession } from "./debugState.ts";
import { isEnvironmentKept, removeEnvironments } from "./environmentState.ts";
import { isPatchNamed, removePatches } from "./patchState.ts";
import { notePruned, nothing, refused, type Walk, type Walked } from "./pruneWalk.ts";

/** A table whose ended rows go. */
interface Source {
  readonly kind: "debug" | "artifacts" | "worktrees" | "runners" | "tokens" | "patches" | "environments" | "files";
  readonly setting:
    | "debugMs"
    | "artifactsMs"
    | "worktreesMs"
    | "runnersMs"
    | "tokensMs"
    | "patchesMs"
    | "environmentsMs"
    | "filesMs";
  readonly table: Statement;
  readonly entity: CountedEntity;
  /** The time of the end, in the words of the index on it; null while there is none. */
  readonly time: Statement;
  /** The condition of rows that stay. Checked for the rows that an index finds, so that a step reads a bounded number. */
  readonly kept: Statement;
  /** True when rows of debug sessions belong to it. */
  readonly hasRows?: true;
  /** Removes locked rows that fulfill a condition, when more belongs to it than a DELETE, each with a row of changes. */
  readonly remove?: (condition: Statement, context: Context) => Body<readonly { readonly id: string }[]>;
}

const sources: readonly Source[] = [
  {
    kind: "debug",
    setting: "debugMs",
    table: sql`debug_sessions`,
    entity: "debug_session",
    time: sql`ended_at`,
    kept: sql`EXISTS (SELECT 1 FROM sessions WHERE sessions.id = debug_sessions.session_id AND sessions.pinned)`,
    hasRows: true,
  },
  {
    kind: "artifacts",
    setting: "artifactsMs",
    table: sql`artifacts`,
    entity: "artifact",
    time: sql`CASE WHEN state IN ('failed', 'deleted') THEN updated_at END`,
    kept: sql`EXISTS (SELECT 1 FROM sessions WHERE sessions.id = artifacts.session_id AND sessions.pinned)`,
  },
  {
    kind: "worktrees",
    setting: "worktreesMs",
    table: sql`worktrees`,
    entity: "worktree",
    time: sql`CASE WHEN state = 'removed' THEN updated_at END`,
    kept: sql`EXISTS (SELECT 1 FROM sessions WHERE sessions.worktree_id = worktrees.id)`,
  },
  {
    kind: "runners",
    setting: "runnersMs",
    table: sql`runners`,
    entity: "runner",
    time: sql`CASE WHEN state = 'gone' THEN updated_at END`,
    kept: sql`
      EXISTS (SELECT 1 FROM attempts WHERE attempts.runner_id = runners.id)
      OR EXISTS (SELECT 1 FROM commands WHERE commands.runner_id = runners.id)
      OR EXISTS (SELECT 1 FROM worktrees WHERE worktrees.lease_runner_id = runners.id)
      OR EXISTS (SELECT 1 FROM environments WHERE environments.lease_runner_id = runners.id)`,
  },
  {
    kind: "tokens",
    setting: "tokensMs",
    table: sql`tokens`,
    entity: "token",
    time: sql`coalesce(revoked_at, expires_at)`,
    kept: sql`
      EXISTS (SELECT 1 FROM sessions WHERE sessions.token_id = tokens.id)
      OR EXISTS (SELECT 1 FROM tokens AS other WHERE other.created_by = tokens.id)
      OR EXISTS (SELECT 1 FROM tokens AS other WHERE other.rotated_to = tokens.id)`,
  },
  {
    kind: "patches",
    setting: "patchesMs",
    table: sql`patches`,
    entity: "patch",
    time: sql`last_used_at`,
    kept: isPatchNamed,
    remove: removePatches,
  },
  {
    kind: "environments",
    setting: "environmentsMs",
    table: sql`environments`,
    entity: "environment",
    time: sql`last_used_at`,
    kept: isEnvironmentKept,
    remove: (condition, context) => removeEnvironments(condition, "expired", context),
  },
  {
    kind: "files",
    setting: "filesMs",
    table: sql`discarded_files`,
    entity: "file",
    time: sql`created_at`,
    // A collector that has one removes it all the same, and its acknowledgement changes nothing.
    kept: sql`FALSE`,
  },
];

/** The walks over these tables, by kind. */
export const tableWalks = Object.fromEntries(
  sources.map((source) => [source.kind, (walk: Walk) => walkTable(source, walk)]),
) as Record<Source["kind"], (walk: Walk) => ReturnType<typeof walkTable>>;

const walkTable = step(function* (source: Source, walk: Walk) {
  const { position, limit, dryRun, settings, context } = walk;
  const { kind, table, time, kept } = source;
  const ms = settings[source.setting];
  if (ms === null) return nothing;
  const isAfter = when(
    position.at,
    (at) => sql`${time} >= ${new Date(at)} AND (${time}, id) > (${new Date(at)}, ${position.id as string})`,
  );
  const rows = yield* all<{ id: string; at: number; kept: number }>(sql`
    SELECT
      id,
      ${time} AS at,
      (${kept}) AS kept
    FROM ${table}
    WHERE ${and(sql`${time} IS NOT NULL AND ${time} <= ${after(context.now, -ms)}`, isAfter)}
    ORDER BY ${time}, id LIMIT ${limit}`);
  const next = rows.length < limit ? undefined : rows.at(-1);
  const walked: Walked = { used: rows.length, rows: 0, next: next && { at: next.at, id: next.id } };
  const ids = rows.filter((row) => row.kept === 0).map(({ id }) => id);
  if (dryRun || ids.length === 0) return { ...walked, rows: ids.length };
  if (!(yield* walk.mayRemove())) return refused;
  // Only rows that go are locked: a lock is a write. What another transaction has locked waits for the next pass.
  const locked = yield* all<{ id: string }>(sql`
    SELECT id FROM ${table} WHERE id IN (${valueList(ids)}) ORDER BY id ${skipLocked}`);
  const free = new Set(locked.map(({ id }) => id));
  if (source.hasRows)
    return yield* removeWithRows(
      source,
      rows.map((row) => ({ ...row, kept: free.has(row.id) ? row.kept : 1 })),
      walk,
    );
  const gone = locked.length === 0 ? [] : yield* removeUnlessKept(source, [...free], context);
  yield* notePruned(kind, gone.length, source.remove === undefined ? gone : [], context);
  return { ...walked, rows: gone.length };
});

/** Deletes locked rows that no other row names by now, and returns their ids. */
const removeUnlessKept = step(function* (
  { table, entity, kept, remove }: Source,
  ids: readonly string[],
  context: Context,
) {
  const { counted } = context;
  if (remove !== undefined) {
    const gone: readonly { readonly id: string }[] = yield* remove(
      sql`id IN (${valueList(ids)}) AND NOT (${kept})`,
      context,
    );
    return gone.map(({ id }) => id);
  }
  const rows = yield* all<{ id: string; state: string }>(sql`
    DELETE FROM ${table} WHERE id IN (${valueList(ids)}) AND NOT (${kept})
    RETURNING id, ${countedTables[entity].state} AS state`);
  for (const { state } of rows) counted(entity, state, undefined);
  return rows.map(({ id }) => id);
});

/** Removes rows after those that belong to them, and stops in between when the limit is used up. */
const removeWithRows = step(function* (
  source: Source,
  rows: readonly { readonly id: string; readonly at: number; readonly kept: number }[],
  { limit, position, context }: Walk,
) {
  const ids: string[] = [];
  let [used, next] = [0, position];
  const isUsedUp = () => used >= limit;
  for (const { id, at, kept } of rows) {
    for (let left = kept === 0 ? 1 : 0; left > 0 && !isUsedUp(); used += left)
      left = yield* deleteSomeOfDebugSession(id, context);
    // The next step goes on with this one.
    if (isUsedUp()) break;
    used++;
    if (kept === 0) ids.push(id);
    next = { at, id };
  }
  const gone = ids.length === 0 ? [] : yield* removeUnlessKept(source, ids, context);
  yield* notePruned(source.kind, gone.length, gone, context);
  return { used, rows: gone.length, next: used < limit && rows.length < limit ? undefined : next } as Walked;
});
