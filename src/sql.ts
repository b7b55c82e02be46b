// SQL as values, and the verbs a body yields. Knows no database: a driver turns a Query into rows.
import { StoreError } from "./errors.ts";

export type SqlValue = string | number | bigint | boolean | Date | Uint8Array | null;

/** Text and values apart; `strings` is one object per place in the code, so a driver finds its prepared statement by identity. */
export class Statement {
  readonly strings: readonly string[];
  readonly values: readonly SqlValue[];
  constructor(strings: readonly string[], values: readonly SqlValue[]) {
    this.strings = strings;
    this.values = values;
  }
}

/**
 * A statement, or a part of one: a nested part is spliced in.
 * Every other value becomes a parameter, never text.
 */
export function sql(strings: TemplateStringsArray, ...parts: readonly (SqlValue | Statement)[]): Statement {
  for (const part of parts) if (part instanceof Statement) return splice(strings, parts);
  return new Statement(strings, parts as readonly SqlValue[]);
}

/** The shapes that spliced statements took so far; finite, because parts stand in the code and not in the data. */
const spliced = new Map<string, readonly string[]>();

function splice(strings: readonly string[], parts: readonly (SqlValue | Statement)[]): Statement {
  const texts = [strings[0] as string];
  const values: SqlValue[] = [];
  parts.forEach((part, index) => {
    const after = strings[index + 1] as string;
    if (part instanceof Statement) {
      texts[texts.length - 1] += part.strings[0] as string;
      texts.push(...part.strings.slice(1));
      texts[texts.length - 1] += after;
      values.push(...part.values);
    } else {
      texts.push(after);
      values.push(part);
    }
  });
  const shape = texts.join("\u0000");
  const known = spliced.get(shape);
  if (known !== undefined) return new Statement(known, values);
  spliced.set(shape, texts);
  return new Statement(texts, values);
}

/** A part without text, for the other half of a conditional part. */
export const empty: Statement = sql``;

/** Lock clauses of PostgreSQL, in comments that SQLite passes over: its writers are alone anyway (D-042). */
export const forUpdate: Statement = sql`/*+ FOR UPDATE */`;
export const skipLocked: Statement = sql`/*+ FOR UPDATE SKIP LOCKED */`;
/** Of the rows that are joined, those of `sessions` alone. */
export const skipLockedSessions: Statement = sql`/*+ FOR UPDATE OF sessions SKIP LOCKED */`;

/** Joins conditions with AND and skips the absent ones. Returns `TRUE` when none is present. */
export function and(...conditions: readonly (Statement | undefined)[]): Statement {
  const [head, ...tail] = conditions.filter((condition) => condition !== undefined);
  return tail.reduce((joined, condition) => sql`${joined} AND ${condition}`, head ?? sql`TRUE`);
}

/** Returns a part of a statement for a value that is present. For an absent one it returns undefined, which `and` leaves out. */
export function when<Value>(value: Value | undefined, part: (value: Value) => Statement): Statement | undefined {
  return value === undefined ? undefined : part(value);
}

/**
 * Returns quoted words for `state IN (...)`. They become text of the statement and not parameters: only with constants does the planner use a
 * partial index whose condition lists the same words in the same order.
 */
export function words(values: readonly string[]): Statement {
  const wrong = values.find((value) => !/^\w+$/.test(value));
  if (wrong !== undefined)
    throw new StoreError("internal", `${wrong} is not a word, and cannot be text of a statement`);
  return new Statement([values.map((value) => `'${value}'`).join(", ")], []);
}

/** Rows as the driver reads them: times are milliseconds, booleans 0 or 1, JSON is text. */
export type RawRow = Record<string, unknown>;

export type QueryKind = "all" | "first" | "change";

/** Counts of what one call made and finished: a verb or step without `yield*` runs nothing and says nothing otherwise (D-014). */
export interface Ledger {
  made: number;
  finished: number;
}

const noLedger: Ledger = { made: 0, finished: 0 };
let current: Ledger = noLedger;

/** Drivers name the call that runs next, before each resumption of its body. */
export function bill(ledger: Ledger | undefined): void {
  current = ledger ?? noLedger;
}

/** One statement on its way to the driver and back. It is what `yield*` runs over and also what it yields. */
export class Query<Result> implements Iterator<Query<unknown>, Result, unknown> {
  readonly kind: QueryKind;
  readonly statements: readonly Statement[];
  readonly #needsRow: boolean;
  readonly #ledger: Ledger;
  #asked = false;

  constructor(kind: QueryKind, statements: readonly Statement[], needsRow = false) {
    this.kind = kind;
    this.statements = statements;
    this.#needsRow = needsRow;
    this.#ledger = current;
    this.#ledger.made++;
  }

  [Symbol.iterator](): this {
    return this;
  }

  next(answer?: unknown): IteratorResult<Query<unknown>, Result> {
    if (!this.#asked) {
      this.#asked = true;
      return { done: false, value: this };
    }
    this.#ledger.finished++;
    if (this.#needsRow && answer === undefined)
      throw new StoreError("internal", "a statement that always returns a row returned none");
    return { done: true, value: answer as Result };
  }

  /** No driver does this to an operation: its transaction is over. Migrations say where they failed (D-060). */
  throw(error: unknown): IteratorResult<Query<unknown>, Result> {
    throw error;
  }
}

/** What a body is: it yields queries, is handed their answers, and returns its result (D-001). */
export type Body<Result> = Generator<Query<unknown>, Result, unknown>;

/** All rows. */
export function all<Row = RawRow>(statement: Statement): Query<Row[]> {
  return new Query("all", [statement]);
}

/** The first row, if there is one. */
export function first<Row = RawRow>(statement: Statement): Query<Row | undefined> {
  return new Query("first", [statement]);
}

/** The row of a statement that always returns one, such as an INSERT with RETURNING, or an UPDATE of a locked row. */
export function one<Row = RawRow>(statement: Statement): Query<Row> {
  return new Query("first", [statement], true);
}

/** How many rows were changed. */
export function change(statement: Statement): Query<number> {
  return new Query("change", [statement]);
}

/** Several statements in order, sent together; how many rows were changed in all. */
export function changeEach(statements: readonly Statement[]): Query<number> {
  return new Query("change", statements);
}

/** Makes a helper of a generator, so that one that is made and not run fails the call. */
export function step<Args extends unknown[], Result>(
  run: (...args: Args) => Body<Result>,
): (...args: Args) => Body<Result> {
  return (...args) => {
    const ledger = current;
    ledger.made++;
    return finish(run(...args), ledger);
  };
}

function* finish<Result>(body: Body<Result>, ledger: Ledger): Body<Result> {
  const result = yield* body;
  ledger.finished++;
  return result;
}

/** Called by drivers when a body has returned. */
export function settleLedger(ledger: Ledger): void {
  if (ledger.made === ledger.finished) return;
  throw new StoreError(
    "internal",
    `${ledger.made - ledger.finished} of ${ledger.made} verbs or steps were made and not run: is a yield* missing?`,
  );
}
