// Repairs of rows that break a rule: what follows from other rows is written anew, in the transaction that has found the
// row again, with a new version and a row of changes.
import type { Context } from "../../context.ts";
import { newId } from "../../model/ids.ts";
import { type Body, change, first, forUpdate, one, type Statement, sql, step } from "../../sql.ts";
import { type Entity, tables } from "../rows.ts";
import { type ReadySessionRow, wakeClaims } from "../sessionState.ts";
import { repositoryTopic, sessionTopic } from "../topics.ts";
import { countsOfPlace } from "../worktreeCounts.ts";
import type { Check, FoundRow } from "./check.ts";

type Repair = NonNullable<Check["repair"]>;

/** The row that holds up everything that changes what a row of the entity follows from: it is locked first (D-041). */
const parents: Partial<Record<Entity, Statement>> = {
  artifact: sql`session_id`,
  command: sql`session_id`,
};

/**
 * Returns the repair that writes columns of a row of an entity. The row is locked by a statement of its own, so that the
 * next one sees what the transactions before it have left.
 */
export function writeColumns(entity: Entity, columns: (context: Context) => Statement): Repair {
  return step(function* (
    { finding, found, expected }: FoundRow,
    { name, rule }: Check,
    context: Context,
  ): Body<boolean> {
    const parent = parents[entity];
    if (parent !== undefined)
      yield* first(sql`
        SELECT id FROM sessions
        WHERE id = (SELECT ${parent} FROM ${tables[entity]} WHERE id = ${finding}) ${forUpdate}`);
    yield* first(sql`SELECT id FROM ${tables[entity]} WHERE id = ${finding} ${forUpdate}`);
    const row = yield* first<{ id: string; version: number; session_id?: string }>(sql`
      UPDATE ${tables[entity]} SET
        ${columns(context)},
        version = version + 1,
        updated_at = ${context.now}
      WHERE id = ${finding} AND (${rule.broken})
      RETURNING *`);
    if (row === undefined) return false;
    context.changed({
      entity,
      id: row.id,
      op: "repair",
      version: row.version,
      sessionId: entity === "session" ? row.id : row.session_id,
      detail: { check: name, found, expected },
    });
    if (entity === "session") {
      context.wake(sessionTopic(row.id));
      yield* wakeClaims(row as unknown as ReadySessionRow, context);
    }
    return true;
  });
}

/**
 * Counts the worktrees in a place of a repository anew: in the place of a count, or of a worktree. A count has neither a
 * version nor changes in the feed.
 */
export const countPlace: Repair = step(function* (
  { finding, repository_id, place }: FoundRow,
  _check,
  { wake },
): Body<boolean> {
  const at =
    repository_id === undefined
      ? yield* first<Placed>(sql`SELECT repository_id, place FROM worktrees WHERE id = ${finding}`)
      : ({ repository_id, place } as Placed);
  if (at === undefined) return false;
  const { repository_id: id, place: name } = at;
  yield* first(sql`SELECT id FROM repositories WHERE id = ${id} ${forUpdate}`);
  const { count } = yield* one<{ count: number }>(sql`SELECT ${countsOfPlace(sql`${id}`, sql`${name}`)} AS count`);
  const written = yield* change(
    count === 0
      ? sql`DELETE FROM repository_places WHERE repository_id = ${id} AND place = ${name}`
      : sql`
          INSERT INTO repository_places (repository_id, place, worktree_count) VALUES (${id}, ${name}, ${count})
          ON CONFLICT (repository_id, place) DO UPDATE SET worktree_count = excluded.worktree_count
          WHERE repository_places.worktree_count <> excluded.worktree_count`,
  );
  // A smaller count makes room.
  wake(repositoryTopic(id));
  return written > 0;
});

/**
 * Returns the repair that counts the ready environments of a place anew. Nobody changes which of them are ready while its
 * row is locked. `placeOf` returns the place that a finding is about.
 */
export function countEnvironments(placeOf: (finding: string) => Statement): Repair {
  return step(function* ({ finding }: FoundRow): Body<boolean> {
    const { place } = yield* one<{ place: string | null }>(sql`SELECT ${placeOf(finding)} AS place`);
    if (place === null) return false;
    yield* change(sql`
      INSERT INTO environment_places (id, place, environment_count, size_bytes) VALUES (${newId()}, ${place}, 0, 0)
      ON CONFLICT (place) DO NOTHING`);
    const before = yield* one<EnvironmentsOfPlace>(sql`
      SELECT environment_count, size_bytes FROM environment_places WHERE place = ${place} ${forUpdate}`);
    const counted = yield* one<EnvironmentsOfPlace>(sql`
      SELECT count(*) AS environment_count, COALESCE(sum(size_bytes), 0) AS size_bytes FROM environments
      WHERE place = ${place} AND uri IS NOT NULL`);
    const { environment_count } = counted;
    // The sum of many numbers is a text on PostgreSQL.
    const size_bytes = Number(counted.size_bytes);
    yield* change(
      environment_count === 0
        ? sql`DELETE FROM environment_places WHERE place = ${place}`
        : sql`
            UPDATE environment_places SET
              environment_count = ${environment_count},
              size_bytes = ${size_bytes}
            WHERE place = ${place}`,
    );
    return (
      environment_count === 0 || before.environment_count !== environment_count || before.size_bytes !== size_bytes
    );
  });
}

interface EnvironmentsOfPlace {
  readonly environment_count: number;
  readonly size_bytes: number;
}

interface Placed {
  readonly repository_id: string;
  readonly place: string;
}

/**
 * Returns the repair that writes columns of an attempt, which has neither a version nor changes in the feed. The bytes of
 * a sealed log are counted anew.
 */
export function writeLog(columns: Statement): Repair {
  return step(function* ({ id }: FoundRow, { rule }: Check, { counted }: Context): Body<boolean> {
    const attemptId = id as number;
    const lengths = sql`log_state, next_offset - dropped_bytes AS bytes`;
    const before = yield* first<LogLength>(sql`SELECT ${lengths} FROM attempts WHERE id = ${attemptId} ${forUpdate}`);
    const after = yield* first<LogLength>(sql`
      UPDATE attempts SET ${columns} WHERE id = ${attemptId} AND (${rule.broken}) RETURNING ${lengths}`);
    if (before === undefined || after === undefined) return false;
    if (after.log_state === "sealed") counted("log_bytes", undefined, "sealed", after.bytes - before.bytes);
    return true;
  });
}

interface LogLength {
  readonly log_state: string;
  readonly bytes: number;
}
