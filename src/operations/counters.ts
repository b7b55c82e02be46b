// Counters of rows by state, so that figures of the store cost the same however many rows it has (D-114). Operations
// announce what they count (`context.counted`); the deltas of a whole transaction are written last, with its changes.
import type { CountedEntity, CountOf } from "../context.ts";
import { all, Statement, sql, step } from "../sql.ts";

/** The rows that a counter counts. */
export interface CountedTable {
  /** The table of the rows. */
  readonly table: Statement;
  /** The state of a row, as an expression over its columns. */
  readonly state: Statement;
  /** The amount that a row adds to the counter of its state. */
  readonly amount: Statement;
  /** The name of the rows in `maintenance.stats`, unless what is counted is not rows. */
  readonly name?: string;
}

const one = sql`1`;
const byState = sql`state`;

/** The rows that are counted, by the entity that the rows of `counters` name. */
export const countedTables: Readonly<Record<CountedEntity, CountedTable>> = {
  account: {
    table: sql`accounts`,
    state: sql`CASE WHEN disabled_at IS NULL THEN 'enabled' ELSE 'disabled' END`,
    amount: one,
    name: "accounts",
  },
  artifact: { table: sql`artifacts`, state: byState, amount: one, name: "artifacts" },
  command: { table: sql`commands`, state: byState, amount: one, name: "commands" },
  debug_request: { table: sql`debug_requests`, state: byState, amount: one, name: "debug_requests" },
  debug_session: { table: sql`debug_sessions`, state: byState, amount: one, name: "debug_sessions" },
  environment: { table: sql`environments`, state: byState, amount: one, name: "environments" },
  file: { table: sql`discarded_files`, state: sql`kind`, amount: one, name: "discarded_files" },
  log: { table: sql`attempts`, state: sql`log_state`, amount: one, name: "logs" },
  // The bytes of an open log change with each append, which is not counted; those of a pruned log are gone.
  log_bytes: {
    table: sql`attempts`,
    state: sql`log_state`,
    amount: sql`CASE WHEN log_state = 'sealed' THEN next_offset - dropped_bytes ELSE 0 END`,
  },
  patch: { table: sql`patches`, state: sql`'recorded'`, amount: one, name: "patches" },
  repository: {
    table: sql`repositories`,
    state: sql`CASE WHEN archived_at IS NULL THEN 'active' ELSE 'archived' END`,
    amount: one,
    name: "repositories",
  },
  runner: { table: sql`runners`, state: byState, amount: one, name: "runners" },
  session: { table: sql`sessions`, state: byState, amount: one, name: "sessions" },
  token: {
    table: sql`tokens`,
    state: sql`CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN rotated_to IS NOT NULL THEN 'rotated' ELSE 'live' END`,
    amount: one,
    name: "tokens",
  },
  worktree: { table: sql`worktrees`, state: byState, amount: one, name: "worktrees" },
};

/** A counter: how much of an entity is in a state. */
export interface Counter {
  readonly entity: CountedEntity;
  readonly state: string;
  readonly amount: number;
}

/** Returns the counters that are not zero, as they are stored. */
export const readCounters = step(function* () {
  return yield* all<Counter>(sql`SELECT entity, state, amount FROM counters WHERE amount <> 0 ORDER BY entity, state`);
});

/** Counts the rows of an entity by state, which reads all of them. For the check of the counters, and for their repair. */
export const countRows = step(function* (entity: CountedEntity) {
  const { table, state, amount } = countedTables[entity];
  const rows = yield* all<Omit<Counter, "entity">>(sql`
    SELECT state, amount
    FROM (SELECT ${state} AS state, sum(${amount}) AS amount FROM ${table} GROUP BY 1) AS counted
    WHERE amount <> 0 ORDER BY state`);
  return rows.map(({ state, amount }): Counter => ({ entity, state, amount: Number(amount) }));
});

/** The texts of the statements that add to a number of counters. There are as many as counters, and each is prepared once. */
const additions: (readonly string[])[] = [];

function textsOf(count: number): readonly string[] {
  additions[count] ??= [
    "INSERT INTO counters (entity, state, amount) VALUES (",
    ...Array.from({ length: count * 3 - 1 }, (_, index) => (index % 3 === 2 ? "), (" : ", ")),
    ") ON CONFLICT (entity, state) DO UPDATE SET amount = counters.amount + excluded.amount",
  ];
  return additions[count];
}

/** Returns the statement that adds what a transaction has counted to the counters, or undefined when nothing remains. */
export function additionOf(counts: readonly CountOf[]): Statement | undefined {
  const sums = new Map<string, { readonly entity: CountedEntity; readonly state: string; amount: number }>();
  for (const { entity, state, amount } of counts) {
    const key = `${entity} ${state}`;
    const sum = sums.get(key);
    if (sum === undefined) sums.set(key, { entity, state, amount });
    else sum.amount += amount;
  }
  const values = [...sums.values()].filter(({ amount }) => amount !== 0);
  if (values.length === 0) return undefined;
  return new Statement(
    textsOf(values.length),
    values.flatMap(({ entity, state, amount }) => [entity, state, amount]),
  );
}
