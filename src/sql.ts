// SQL as values, and the queries that a body yields. Knows no database: a driver turns a Query into rows.
import { StoreError } from "./errors.ts";

export type SqlValue = string | number | bigint | boolean | Date | Uint8Array | null;

/**
 * A statement that keeps its text and its values apart. `strings` is one object per place in the code, so a driver
 * finds its prepared statement by identity.
 */
export class Statement {
  readonly strings: readonly string[];
  readonly values: readonly SqlValue[];
  constructor(strings: readonly string[], values: readonly SqlValue[]) {
    this.strings = strings;
    this.values = values;
  }
}

/**
 * Builds a statement, or a part of one. A nested part is spliced in; every other value becomes a parameter, never text.
 */
export function sql(strings: TemplateStringsArray, ...parts: readonly (SqlValue | Statement)[]): Statement {
  for (const part of parts) if (part instanceof Statement) return splice(strings, parts);
  return new Statement(strings, parts as readonly SqlValue[]);
}

/**
 * The shapes of all spliced statements so far. Their number is bounded, because the text of a part comes from the code
 * and never from data.
 */
const splicedShapes = new Map<string, readonly string[]>();

/** A shape that a template had with certain parts. */
interface KnownShape {
  /** The texts of each part that is a statement, and undefined for each that is a value. */
  readonly parts: readonly (readonly string[] | undefined)[];
  readonly shape: readonly string[];
}

/** The last shape of each template. Most have only one, because their parts are constants. */
const lastShapes = new WeakMap<readonly string[], KnownShape>();

function splice(strings: readonly string[], parts: readonly (SqlValue | Statement)[]): Statement {
  const last = lastShapes.get(strings);
  const shape = last !== undefined && hasParts(last, parts) ? last.shape : shapeOf(strings, parts);
  const values: SqlValue[] = [];
  for (const part of parts) {
    if (!(part instanceof Statement)) values.push(part);
    else for (const value of part.values) values.push(value);
  }
  return new Statement(shape, values);
}

function hasParts({ parts: known }: KnownShape, parts: readonly (SqlValue | Statement)[]): boolean {
  for (let index = 0; index < parts.length; index++) {
    const part = parts[index];
    if ((part instanceof Statement ? part.strings : undefined) !== known[index]) return false;
  }
  return true;
}

function shapeOf(strings: readonly string[], parts: readonly (SqlValue | Statement)[]): readonly string[] {
  const texts = [strings[0] as string];
  for (const [index, part] of parts.entries()) {
    const after = strings[index + 1] as string;
    if (part instanceof Statement) {
      texts[texts.length - 1] += part.strings[0] as string;
      texts.push(...part.strings.slice(1));
      texts[texts.length - 1] += after;
    } else texts.push(after);
  }
  const key = texts.join("\u0000");
  const shape = splicedShapes.get(key) ?? texts;
  splicedShapes.set(key, shape);
  lastShapes.set(strings, {
    parts: parts.map((part) => (part instanceof Statement ? part.strings : undefined)),
    shape,
  });
  return shape;
}

/** A part without text, for the branch of a condition that adds nothing. */
export const empty: Statement = sql``;

/** A lock clause of PostgreSQL, in a comment that SQLite ignores, because it has only one writer at a time (D-042). */
export const forUpdate: Statement = sql`/*+ FOR UPDATE */`;
/** A lock clause that keeps rows from being deleted, and nothing else. */
export const forKeyShare: Statement = sql`/*+ FOR KEY SHARE */`;
/**
 * A lock clause that skips rows which another transaction has locked. A row that it skips may still be there: what finds
 * nothing this way has to look again without it, unless it comes again by itself (D-105).
 */
export const skipLocked: Statement = sql`/*+ FOR UPDATE SKIP LOCKED */`;
/** The same for the rows of `sessions` only, and none of the tables joined with it. */
export const skipLockedSessions: Statement = sql`/*+ FOR UPDATE OF sessions SKIP LOCKED */`;

/** A unit after a number of milliseconds that is added to a time: in SQLite, times are such numbers themselves. */
export const milliseconds: Statement = sql`/*+ * interval '1 millisecond' */`;
/** A type after a parameter that is a time, where PostgreSQL cannot tell. */
export const timestamp: Statement = sql`/*+ ::timestamptz */`;

/** A type after a text of the statement that is compared with a column, whose order is that of no language. */
export const plainText: Statement = sql`/*+ ::text COLLATE "C" */`;

/**
 * Joins selects of one table that have the same order into one that merges them. PostgreSQL merges only what is ordered
 * already, in parentheses that SQLite does not allow there, and does not need.
 */
export function merge(selects: readonly Statement[], order: Statement): Statement {
  const [only, ...others] = selects;
  if (only === undefined) throw new StoreError("internal", "there is nothing to merge");
  const part = (select: Statement) => sql`/*+ ( */ ${select} /*+ ORDER BY ${order}) */`;
  const merged = others.reduce((union, select) => sql`${union} UNION ALL ${part(select)}`, part(only));
  return sql`${others.length === 0 ? only : merged} ORDER BY ${order}`;
}

/** Joins conditions with AND and skips the absent ones. Returns `TRUE` when none is present. */
export function and(...conditions: readonly (Statement | undefined)[]): Statement {
  const [head, ...tail] = conditions.filter((condition) => condition !== undefined);
  return tail.reduce((joined, condition) => sql`${joined} AND ${condition}`, head ?? sql`TRUE`);
}

/**
 * Returns a part of a statement for a value that is present. For an absent one it returns undefined, which `and` leaves
 * out.
 */
export function when<Value>(value: Value | undefined, part: (value: Value) => Statement): Statement | undefined {
  return value === undefined ? undefined : part(value);
}

/**
 * Returns quoted words for `state IN (...)`. They become text of the statement and not parameters, because the planner
 * uses a partial index only for constants: its condition must list the same words in the same order.
 */
export function words(values: readonly string[]): Statement {
  const wrong = values.find((value) => !/^\w+$/.test(value));
  if (wrong !== undefined)
    throw new StoreError("internal", `${wrong} is not a word, so it cannot become text of a statement`);
  return new Statement([values.map((value) => `'${value}'`).join(", ")], []);
}

/**
 * Returns parameters for `column IN (...)`, at least one. Repeats the last value up to the next power of four, so that
 * the number of shapes stays small.
 */
export function valueList(values: readonly SqlValue[]): Statement {
  const length = 4 ** Math.ceil(Math.log(values.length) / Math.log(4));
  const padded = Array.from({ length }, (_, index) => values[Math.min(index, values.length - 1)] as SqlValue);
  return new Statement(["", ...padded.slice(1).map(() => ", "), ""], padded);
}

/** Quotes the name of a table or column, for a text that contains names read from a database. */
export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A row as a driver returns it: times are milliseconds, booleans 0 or 1, JSON is text. */
export type RawRow = Record<string, unknown>;

export type QueryKind = "all" | "first" | "change";

/**
 * The numbers of queries and steps that one body has created and completed. They differ when a `yield*` is missing,
 * which no other check would find (D-014).
 */
interface StepCount {
  created: number;
  completed: number;
}

/** The count for queries and steps that are created outside of a body. It is never read. */
const uncounted: StepCount = { created: 0, completed: 0 };

/** The count of the body that is running now. */
let current = uncounted;

/**
 * One query of a body. It is its own iterator: under `yield*` it first yields itself to the driver, and then returns
 * the driver's answer to the body.
 */
export class Query<Result> implements Iterator<Query<unknown>, Result, unknown> {
  readonly kind: QueryKind;
  readonly statements: readonly Statement[];
  /** The number of statements as which the query counts: one that inserts several rows counts as one for each. */
  readonly weight: number;
  readonly #needsRow: boolean;
  readonly #count: StepCount;
  #yielded = false;

  constructor(kind: QueryKind, statements: readonly Statement[], needsRow = false, weight = statements.length) {
    this.kind = kind;
    this.statements = statements;
    this.weight = weight;
    this.#needsRow = needsRow;
    this.#count = current;
    this.#count.created++;
  }

  [Symbol.iterator](): this {
    return this;
  }

  next(answer?: unknown): IteratorResult<Query<unknown>, Result> {
    if (!this.#yielded) {
      this.#yielded = true;
      return { done: false, value: this };
    }
    this.#count.completed++;
    if (this.#needsRow && answer === undefined)
      throw new StoreError("internal", "a statement that always returns a row returned none");
    return { done: true, value: answer as Result };
  }

  /**
   * Throws the failure of the query into the body. Only migrations see one (D-060): the transaction of an operation is
   * over by then.
   */
  throw(error: unknown): IteratorResult<Query<unknown>, Result> {
    throw error;
  }
}

/** A generator that yields queries, receives their answers, and returns its result (D-001). */
export type Body<Result> = Generator<Query<unknown>, Result, unknown>;

/** Queries all rows. */
export function all<Row = RawRow>(statement: Statement): Query<Row[]> {
  return new Query("all", [statement]);
}

/** Queries the first row, or undefined when there is none. */
export function first<Row = RawRow>(statement: Statement): Query<Row | undefined> {
  return new Query("first", [statement]);
}

/**
 * Queries the row of a statement that always returns one, such as an INSERT with RETURNING, or an UPDATE of a locked
 * row.
 */
export function one<Row = RawRow>(statement: Statement): Query<Row> {
  return new Query("first", [statement], true);
}

/** Changes rows, and returns their number. */
export function change(statement: Statement): Query<number> {
  return new Query("change", [statement]);
}

/** Inserts a number of rows with one statement, and returns how many there are. */
export function insert(statement: Statement, rows: number): Query<number> {
  return new Query("change", [statement], false, rows);
}

/**
 * Runs several statements in order, in one message to the database, and returns the number of rows that all of them
 * changed.
 */
export function changeEach(statements: readonly Statement[]): Query<number> {
  return new Query("change", statements);
}

/** Makes a generator function a helper for bodies. A body that calls the helper without `yield*` fails. */
export function step<Args extends unknown[], Result>(
  run: (...args: Args) => Body<Result>,
): (...args: Args) => Body<Result> {
  return (...args) => {
    const count = current;
    count.created++;
    return counted(run(...args), count);
  };
}

function* counted<Result>(body: Body<Result>, count: StepCount): Body<Result> {
  const result = yield* body;
  count.completed++;
  return result;
}

/** The answer to a query, or its failure. */
export type QueryOutcome = { readonly answer: unknown } | { readonly failure: Error };

/**
 * One run of a body. The engine takes a query from it, runs the query, and passes the outcome back, until the body
 * returns.
 */
export class BodyRun<Result> {
  readonly #body: Body<Result>;
  readonly #count: StepCount = { created: 0, completed: 0 };

  constructor(body: Body<Result>) {
    this.#body = body;
  }

  /**
   * Resumes the body up to its next query, or to its result. Fails with `internal` when the body has returned and a
   * `yield*` is missing.
   */
  advance(outcome: QueryOutcome = { answer: undefined }): IteratorResult<Query<unknown>, Result> {
    current = this.#count;
    try {
      const next = "failure" in outcome ? this.#body.throw(outcome.failure) : this.#body.next(outcome.answer);
      if (next.done) assertAllRan(this.#count);
      return next;
    } finally {
      current = uncounted;
    }
  }
}

function assertAllRan({ created, completed }: StepCount): void {
  if (created === completed) return;
  throw new StoreError(
    "internal",
    `${created - completed} of ${created} queries and steps were created but never run: is a yield* missing?`,
  );
}
