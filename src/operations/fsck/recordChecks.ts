// Checks of artifacts, tokens, idempotency keys, and the facts of the store.
import { change, type Statement, sql, step } from "../../sql.ts";
import { countedTables } from "../counters.ts";
import { byId, type Check, type FoundRow, raw } from "./check.ts";
import { writeColumns } from "./repair.ts";

const id = sql`id`;
const artifacts = byId(sql`artifacts`);

/** The counters beside what they count: a row for each entity and state that one of the two knows. */
const balance: Statement = Object.entries(countedTables)
  .map(
    ([entity, { table, state, amount }]) => sql`
      SELECT ${raw(`'${entity}'`)} AS entity, ${state} AS state, 0 AS stored, sum(${amount}) AS counted
      FROM ${table} GROUP BY 2`,
  )
  .reduce(
    (all, one) => sql`${all} UNION ALL ${one}`,
    sql`SELECT entity, state, amount AS stored, 0 AS counted FROM counters`,
  );

/** Adds to a counter what it lacks. What others add meanwhile is counted by them, so the difference stays the same. */
const addDifference = step(function* ({ entity, state, found, expected }: FoundRow) {
  yield* change(sql`
    INSERT INTO counters (
      entity,
      state,
      amount
    ) VALUES (
      ${entity as string},
      ${state as string},
      ${Number(expected) - Number(found)}
    )
    ON CONFLICT (entity, state) DO UPDATE SET
      amount = counters.amount + excluded.amount`);
  return true;
});

export const recordChecks: readonly Check[] = [
  {
    name: "counter",
    says: "A counter of maintenance.stats is the number of the rows that it counts.",
    walk: {
      from: sql`(
        SELECT
          entity/*+ COLLATE "C" */ AS entity,
          state/*+ COLLATE "C" */ AS state,
          sum(stored) AS stored,
          sum(counted) AS counted
        FROM (${balance}) AS both_sides
        GROUP BY 1, 2) AS balance`,
      key: ["entity", "state"],
      start: ["", ""],
    },
    rows: 5_000,
    isDeep: true,
    rule: {
      id: sql`entity || ' ' || state`,
      found: sql`stored`,
      expected: sql`counted`,
      broken: sql`stored <> counted`,
    },
    repair: addDifference,
    remedy: "Repair it: the counter becomes the number of the rows.",
  },
  {
    name: "artifact-parent",
    says: "The command of an artifact belongs to the same session, and has had the attempt that wrote it.",
    walk: artifacts,
    rows: 5_000,
    rule: {
      id,
      found: sql`command_id`,
      broken: sql`
        command_id IS NOT NULL AND NOT EXISTS (
          SELECT 1 FROM commands
          WHERE commands.id = artifacts.command_id AND commands.session_id = artifacts.session_id
            AND commands.attempt >= artifacts.attempt)`,
    },
    remedy: "Delete the artifact, or record it again for its session.",
  },
  {
    name: "artifact-pin",
    says: "An artifact that was deleted, or has failed, is not pinned.",
    walk: artifacts,
    rows: 5_000,
    rule: { id, found: sql`state`, broken: sql`pinned AND state IN ('failed', 'deleted')` },
    repair: writeColumns("artifact", () => sql`pinned = FALSE`),
    remedy: "Repair it: the pin is removed, which would keep its session for ever.",
  },
  {
    name: "token-successor",
    says: "A token was replaced by another token of the same account and the same name.",
    walk: byId(sql`tokens`),
    rows: 5_000,
    rule: {
      id,
      found: sql`rotated_to`,
      broken: sql`
        rotated_to IS NOT NULL AND NOT EXISTS (
          SELECT 1 FROM tokens AS later
          WHERE later.id = tokens.rotated_to AND later.id <> tokens.id
            AND later.account_id = tokens.account_id AND later.name = tokens.name AND later.kind = tokens.kind)`,
    },
    remedy: "Revoke both tokens (admin revoke-token), and create a new one.",
  },
  {
    name: "key-reply",
    says: "An idempotency key has the reply of its call.",
    walk: {
      from: sql`idempotency_keys`,
      key: ["operation", "actor", "key"],
      start: ["", "", ""],
    },
    rows: 5_000,
    rule: { id: sql`operation || ' ' || key`, broken: sql`reply IS NULL` },
    repair: step(function* ({ operation, actor, key }: FoundRow) {
      const deleted = yield* change(sql`
        DELETE FROM idempotency_keys
        WHERE operation = ${operation as string} AND actor = ${actor as string} AND key = ${key as string}
          AND reply IS NULL`);
      return deleted > 0;
    }),
    remedy: "Repair it: the key is released. A call that is repeated with it runs again.",
  },
  {
    name: "store-facts",
    says: "The store has an id, counts its starts, and knows up to which change its feed was pruned.",
    walk: {
      from: sql`(SELECT 'store_id' AS name UNION ALL SELECT 'epoch' UNION ALL SELECT 'feed_floor') AS facts`,
      key: ["name"],
      start: [""],
    },
    rows: 5_000,
    rule: {
      id: sql`name`,
      found: sql`(SELECT value FROM store_meta WHERE store_meta.key = name)`,
      broken: sql`
        NOT EXISTS (
          SELECT 1 FROM store_meta
          WHERE store_meta.key = name AND value <> ''
            AND (name = 'store_id' OR trim(value, '0123456789') = ''))`,
    },
    remedy: "Restore a backup: nothing else in the store says what it was.",
  },
];
