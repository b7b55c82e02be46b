// The form of a check: a rule of the store as SQL that finds the rows which break it. A large table is read in ranges of
// its key, so that a step is short; each row is judged within one statement, so that nothing that changes between two
// steps can look like a fault.
import type { Context } from "../../context.ts";
import { idPattern } from "../../model/ids.ts";
import { type BlockAddress, blockName, type ExamineDepth } from "../../model/logBlocks.ts";
import { endForBlocks } from "../../operation.ts";
import { all, and, type Body, first, one, type SqlValue, Statement, sql, step } from "../../sql.ts";

/** The place in a walk: the values of its key. */
export type Position = readonly (string | number)[];

/** The order in which the rows of a table are checked. */
export interface Walk {
  readonly from: Statement;
  readonly key: readonly string[];
  /** A position before that of every row. */
  readonly start: Position;
  /** A condition on the rows to check, when the key stands for several rows. */
  readonly where?: Statement;
}

/** The part of a check that says which rows break its rule. The names of columns are those of `walk`, or of `rows`. */
export interface Rule {
  readonly broken: Statement;
  /** The id by which the row is reported. */
  readonly id: Statement;
  readonly found?: Statement;
  readonly expected?: Statement;
}

/** A row that was found, with its key. */
export interface FoundRow {
  /** The id by which the row is reported. */
  readonly finding: string;
  readonly found: string | null;
  readonly expected: string | null;
  readonly [key: string]: unknown;
}

export interface Check {
  readonly name: string;
  /** The rule in a sentence, for a person who sees that it is broken. */
  readonly says: string;
  readonly walk: Walk;
  /** The number of rows of one step. Few where each of them stands for many rows of another table. */
  readonly rows: number;
  readonly rule: Rule;
  /** The rows to judge, when they are not those of the table: a select that ends with the condition on the range. */
  readonly select?: (range: Statement) => Statement;
  /** The depth to which blocks of archived logs are examined. The rule names the blocks, and their faults are the findings. */
  readonly depth?: ExamineDepth;
  /** Makes the row right, as far as that follows from other rows. Returns false when the row is right or cannot be repaired. */
  readonly repair?: (row: FoundRow, check: Check, context: Context) => Body<boolean>;
  /** The advice to a person about what is not repaired. */
  readonly remedy: string;
  /** True for a check whose one step reads a whole table: it runs only when it is named. */
  readonly isDeep?: boolean;
}

/** The largest number of findings of one step. A page of them is small, whatever is wrong with a store. */
const findingsMax = 100;

/** An id before all others. */
export const firstId = "00000000-0000-0000-0000-000000000000";

/** Returns the walk over a table whose rows have an id. */
export function byId(from: Statement): Walk {
  return { from, key: ["id"], start: [firstId] };
}

/** Returns a text of the code as a part of a statement. */
export function raw(text: string): Statement {
  return new Statement([text], []);
}

/** Returns a value as text, as which both engines return it. */
export function asText(value: Statement): Statement {
  return sql`CAST(${value} AS text)`;
}

function columns({ key }: Walk): Statement {
  return raw(key.join(", "));
}

/** The key of a walk as one value: SQLite has no rows of one column. */
function keyOf({ key }: Walk): Statement {
  return raw(key.length === 1 ? (key[0] as string) : `(${key.join(", ")})`);
}

function valuesOf(position: Position): Statement {
  const [head, ...tail] = position as readonly SqlValue[];
  const list = tail.reduce<Statement>((joined, value) => sql`${joined}, ${value}`, sql`${head as SqlValue}`);
  return tail.length === 0 ? list : sql`(${list})`;
}

/** The condition of the rows after one position, and up to another. */
function within(walk: Walk, after: Position, until?: Position): Statement {
  return and(
    sql`${keyOf(walk)} > ${valuesOf(after)}`,
    until === undefined ? undefined : sql`${keyOf(walk)} <= ${valuesOf(until)}`,
    walk.where,
  );
}

/** Checks whether a value that a caller has sent is a position of the walk. */
export function isPosition({ start }: Walk, value: unknown): value is Position {
  return (
    Array.isArray(value) &&
    value.length === start.length &&
    value.every((part, index) => {
      const kind = start[index];
      if (kind === firstId) return typeof part === "string" && idPattern.test(part);
      return typeof kind === "number" ? Number.isSafeInteger(part) : typeof part === "string";
    })
  );
}

/** The rows of a step that break a rule, and the position at which the next step begins, if there is one. */
export interface Step {
  readonly found: readonly FoundRow[];
  readonly rows: number;
  readonly next: Position | undefined;
  /** True when the check needs the log archive, and there is none. */
  readonly isSkipped?: boolean;
}

/** Checks the rows after a position. */
export const checkStep = step(function* (check: Check, after: Position, context: Context): Body<Step> {
  const { walk, rows } = check;
  const last = yield* first<Record<string, string | number>>(sql`
    SELECT ${columns(walk)} FROM ${walk.from}
    WHERE ${within(walk, after)}
    ORDER BY ${columns(walk)} LIMIT 1 OFFSET ${rows - 1}`);
  const until = last && walk.key.map((name) => last[name] as string | number);
  const range = within(walk, after, until);
  const found = yield* check.depth === undefined
    ? all<FoundRow>(findings(check, range))
    : faultsOf(check, range, check.depth, context);
  if (found === "no archive") return { found: [], rows: 0, next: undefined, isSkipped: true };
  const end = found.length < findingsMax ? undefined : found.at(-1);
  // The last of so many findings ends the step. Several rows may share its key, and the next step begins after it.
  const next = end === undefined ? until : walk.key.map((name) => end[name] as string | number);
  if (until !== undefined) return { found, rows, next };
  const { count } = yield* one<{ count: number }>(sql`SELECT count(*) AS count FROM ${walk.from} WHERE ${range}`);
  return { found, rows: count, next };
});

/** The rule stands in a CASE, because SQLite would take an index of its columns, and read rows outside of the range. */
function findings({ walk, rule, select }: Check, range: Statement): Statement {
  const { id, found = sql`NULL`, expected = sql`NULL`, broken } = rule;
  const source = select === undefined ? sql`${walk.from} WHERE ${range} AND` : sql`(${select(range)}) AS judged WHERE`;
  return sql`
    SELECT ${columns(walk)}, ${asText(id)} AS finding, ${asText(found)} AS found, ${asText(expected)} AS expected
    FROM ${source} CASE WHEN ${broken} THEN TRUE END
    ORDER BY ${columns(walk)} LIMIT ${findingsMax}`;
}

/** Returns the faults of the blocks that the rule names (D-122). Ends the body when some of them were not examined yet. */
const faultsOf = step(function* (
  { walk, rule }: Check,
  range: Statement,
  depth: ExamineDepth,
  { examined = new Map() }: Context,
): Body<readonly FoundRow[] | "no archive"> {
  const rows = yield* all<BlockAddress & { readonly finding: string }>(sql`
    SELECT ${columns(walk)}, ${asText(rule.id)} AS finding, object_offset, object_length, raw_length, checksum, byte_length,
      (SELECT log_uri FROM attempts WHERE attempts.id = attempt_id) AS uri
    FROM ${walk.from} WHERE ${range} AND CASE WHEN ${rule.broken} THEN TRUE END
    ORDER BY ${columns(walk)}`);
  if (rows.length === 0) return [];
  if (examined === "no archive") return examined;
  const others = rows.filter((row) => !examined.has(blockName(row)));
  if (others.length > 0) endForBlocks(others.map(addressOf), depth);
  return rows.flatMap((row) => {
    const found = examined.get(blockName(row)) as string | null;
    return found === null ? [] : [{ ...row, found, expected: null }];
  });
});

function addressOf({
  uri,
  object_offset,
  object_length,
  raw_length,
  checksum,
  byte_length,
}: BlockAddress): BlockAddress {
  return { uri, object_offset, object_length, raw_length, checksum, byte_length };
}
