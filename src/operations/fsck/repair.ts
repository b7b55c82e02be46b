// Repairs of rows that break a rule: what follows from other rows is written anew, in the transaction that has found the
// row again, with a new version and a row of changes.
import type { Context } from "../../context.ts";
import type { SessionRow } from "../../model/sessions.ts";
import { type Body, change, first, forUpdate, type Statement, sql, step } from "../../sql.ts";
import { type Entity, tables } from "../rows.ts";
import { wakeClaims } from "../sessionState.ts";
import { freeWorktreeTopic, sessionTopic } from "../topics.ts";
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
    if (entity === "repository") context.wake(freeWorktreeTopic(row.id, row.id));
    if (entity === "session") {
      context.wake(sessionTopic(row.id));
      yield* wakeClaims(row as unknown as SessionRow, context);
    }
    return true;
  });
}

/** Returns the repair that writes columns of a row without a version, which is found by its key. */
export function writeUnversioned(table: Statement, keyOf: (row: FoundRow) => Statement, columns: Statement): Repair {
  return step(function* (row: FoundRow, { rule }: Check): Body<boolean> {
    yield* first(sql`SELECT 1 AS locked FROM ${table} WHERE ${keyOf(row)} ${forUpdate}`);
    return (yield* change(sql`UPDATE ${table} SET ${columns} WHERE ${keyOf(row)} AND (${rule.broken})`)) > 0;
  });
}
