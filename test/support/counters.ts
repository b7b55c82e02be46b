// Compares the counters of a store with the rows that they count, on a connection of the test.
import Database from "better-sqlite3";
import type { CountedEntity } from "../../src/context.ts";
import { countedTables } from "../../src/operations/counters.ts";
import { ask } from "./postgres.ts";

interface Counted {
  readonly entity: string;
  readonly state: string;
  readonly amount: number | string;
}

const storedText = "SELECT entity, state, amount FROM counters WHERE amount <> 0";

const countedText = (Object.keys(countedTables) as CountedEntity[])
  .map((entity) => {
    const { table, state, amount } = countedTables[entity];
    const [from, by, what] = [table, state, amount].map(({ strings }) => strings[0]);
    return `SELECT '${entity}' AS entity, ${by} AS state, sum(${what}) AS amount FROM ${from} GROUP BY 2`;
  })
  .join(" UNION ALL ");

/** Returns the counters that differ from what they count, in words. */
function differences(stored: readonly Counted[], counted: readonly Counted[]): readonly string[] {
  const words = (rows: readonly Counted[]) =>
    rows
      .filter(({ amount }) => Number(amount) !== 0)
      .map(({ entity, state, amount }) => `${entity} ${state}: ${amount}`);
  const [left, right] = [words(stored), words(counted)];
  return [
    ...left.filter((word) => !right.includes(word)).map((word) => `counter ${word}`),
    ...right.filter((word) => !left.includes(word)).map((word) => `rows ${word}`),
  ];
}

/** Returns the counters of an open database that differ from its rows. */
export function wrongCounters(db: Database.Database): readonly string[] {
  const read = (text: string) => db.prepare(text).all() as Counted[];
  return differences(read(storedText), read(countedText));
}

/** Returns the counters of a database that differ from its rows. The URL is that of a file or of PostgreSQL. */
export async function wrongCountersAt(url: string): Promise<readonly string[]> {
  if (!url.startsWith("sqlite:"))
    return differences(await ask<Counted>(url, storedText), await ask<Counted>(url, countedText));
  const db = new Database(url.slice("sqlite:".length), { readonly: true });
  try {
    return wrongCounters(db);
  } finally {
    db.close();
  }
}

/** Collects the wrong counters of each store in memory that this process closes from now on. */
export function watchCounters(): { readonly wrong: readonly string[]; readonly stores: () => number; stop(): void } {
  const { close } = Database.prototype;
  const wrong: string[] = [];
  let stores = 0;
  Database.prototype.close = function (this: Database.Database) {
    if (this.open && this.memory && hasCounters(this)) {
      stores++;
      wrong.push(...wrongCounters(this));
    }
    return close.call(this);
  } as typeof close;
  return {
    wrong,
    stores: () => stores,
    stop: () => void Object.assign(Database.prototype, { close }),
  };
}

function hasCounters(db: Database.Database): boolean {
  return db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'counters'").get() !== undefined;
}
