// Reads of the change feed: the filters, and a page of the rows that pass them.
import { z } from "zod";
import { bounds } from "../limits.ts";
import type { ChangeRow } from "../model/changes.ts";
import type { RawOf } from "../model/codec.ts";
import { valuesOf } from "../model/cursors.ts";
import { filledText, Id, Time, text } from "../model/fields.ts";
import { fail } from "../operation.ts";
import { all, and, first, sql, step, valueList, when } from "../sql.ts";
import { countWithin, textBytes } from "./rows.ts";
import { changesTopic, entityChangesTopic, sessionChangesTopic } from "./topics.ts";

/** A filter that accepts one value, or a list of them. */
const oneOrSome = (one: z.ZodString) => z.union([one, z.array(one).min(1).max(16)]).optional();

/** The filters of the feed. A change must pass all of them. */
export const feedFilters = {
  /** One entity or several, such as "session", or "event" for what `changes.publish` has written. */
  entity: oneOrSome(z.string().max(50)),
  entityId: filledText(bounds.entityIdLength).optional(),
  /** One operation or several, such as "create"; of events their topics. */
  op: oneOrSome(z.string().max(bounds.topicLength)),
  actor: text(bounds.callerLength).optional(),
  sessionId: Id.optional(),
  /** The time at or after which the transaction of the change began. */
  since: Time,
  /** The time before which it began. */
  until: Time,
};

export type FeedFilters = z.output<z.ZodObject<typeof feedFilters>>;

/**
 * The number of rows that one call may read to find those that pass the filters. An index exists for sessions alone
 * (D-035), and the search for rare rows must not hold up other calls (D-149).
 */
export const scanRowsMax = 10_000;

/** The size of the largest rows of changes: most of it is a URI or a path in the detail, or the detail of an event. */
const rowBytesMax = 32 * 1024;
export const feedBytes = ({ limit }: { readonly limit: number }): number =>
  Math.min(limit * rowBytesMax, bounds.pageBytes);

/** Returns the topics of the changes that pass the filters, and perhaps of others. */
export function feedTopics({ entity, sessionId }: FeedFilters): readonly string[] {
  if (sessionId !== undefined) return [sessionChangesTopic(sessionId)];
  return entity === undefined ? [changesTopic] : valuesOf(entity).map(entityChangesTopic);
}

/** Returns the number up to which the feed was pruned, and that of the newest change, also when it was pruned. */
export const feedRange = step(function* () {
  const meta = yield* first<{ value: string }>(sql`SELECT value FROM store_meta WHERE key = 'feed_floor'`);
  const floor = Number(meta?.value ?? 0);
  const newest = (yield* first<{ seq: number }>(sql`SELECT seq FROM changes ORDER BY seq DESC LIMIT 1`))?.seq ?? floor;
  return { floor, newest };
});

interface Position extends FeedFilters {
  /** The number after which the page begins. Without it, that is the oldest row. */
  readonly after?: number | undefined;
  /** The number with which the last page ends. Without it, that is the newest row. */
  readonly end?: number | undefined;
  readonly limit: number;
}

/**
 * Reads a page of the feed: its rows, the number up to which rows were read, and the one where the feed, or the asked
 * part of it, ends.
 */
export const readChanges = step(function* ({ after: given, end, limit, ...filters }: Position) {
  const { floor, newest } = yield* feedRange();
  const after = given ?? floor;
  const last = Math.min(newest, end ?? newest);
  if (limit === 0) return { changes: [], nextSeq: newest, end: last };
  if (after < floor)
    fail("feed_truncated", { floor, newest }, `changes up to ${floor} were pruned, and ${after} is before that`);
  // Numbers only grow and every cursor is that of a committed row, so this cursor is from before a restore, or from
  // another store. To wait here would skip the changes that get the numbers up to it.
  if (after > newest)
    fail(
      "feed_truncated",
      { floor, newest },
      `the newest change is ${newest}, and ${after} is after that: the store was restored, or it is another store`,
    );
  const { entity, entityId, op, actor, sessionId, since, until } = filters;
  const isFiltered = Object.values(filters).some((filter) => filter !== undefined);
  const upTo = isFiltered && sessionId === undefined ? Math.min(last, after + scanRowsMax) : last;
  const conditions = and(
    sql`seq > ${after} AND seq <= ${upTo}`,
    when(entity, (value) => oneOf(sql`entity`, value)),
    when(sessionId, (value) => sql`session_id = ${value}`),
    when(entityId, (value) => sql`entity_id = ${value}`),
    when(op, (value) => oneOf(sql`op`, value)),
    when(actor, (value) => sql`actor = ${value}`),
    when(since, (value) => sql`at >= ${value}`),
    when(until, (value) => sql`at < ${value}`),
  );
  // Followers near the end of the feed ask for few rows, whose sizes do not matter.
  const sizes =
    Math.min(limit, upTo - after) * rowBytesMax <= bounds.pageBytes
      ? []
      : yield* all<{ bytes: number }>(sql`
          SELECT ${textBytes(sql`detail`)} AS bytes FROM changes WHERE ${conditions} ORDER BY seq LIMIT ${limit}`);
  const count = sizes.length === 0 ? limit : countWithin(sizes, bounds.pageBytes);
  const changes = yield* all<RawOf<typeof ChangeRow>>(sql`
    SELECT * FROM changes WHERE ${conditions} ORDER BY seq LIMIT ${count}`);
  // A full page ends at its last row. A page that is not full has read everything up to `upTo`.
  const isFull = changes.length === limit || count < sizes.length;
  const nextSeq = isFull ? (changes.at(-1)?.seq ?? after) : Math.max(after, upTo);
  return { changes, nextSeq, end: last };
});

function oneOf(column: ReturnType<typeof sql>, value: string | readonly string[]) {
  return typeof value === "string" ? sql`${column} = ${value}` : sql`${column} IN (${valueList(value)})`;
}
