// Timelines of logs: how much was written when. Offsets, lines and times of chunks grow together, so the chunk with which a
// span of time begins is found by halving, and what was written in between is a difference (D-163).
import { z } from "zod";
import { Id, Time } from "../model/fields.ts";
import type { TimedPosition } from "../model/logBlocks.ts";
import { LogTimeline } from "../model/logs.ts";
import { operation } from "../operation.ts";
import { step } from "../sql.ts";
import { type AttemptLog, findLog } from "./logAttempt.ts";
import { timedPartAt } from "./logStorage.ts";

const bucketsMax = 500;
const [secondMs, minuteMs, hourMs, dayMs] = [1_000, 60_000, 3_600_000, 86_400_000];

/** The lengths of buckets up to a day, in milliseconds: those by which people count. */
const lengths = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500],
  ...[1, 2, 5, 10, 15, 30].map((seconds) => seconds * secondMs),
  ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * minuteMs),
  ...[1, 2, 3, 6, 12, 24].map((hours) => hours * hourMs),
];

/**
 * Counts the lines and bytes of a log by time, and says where each span of time begins, without reading the log. The
 * buckets have the shortest length of which so many suffice: 1, 2 or 5 milliseconds, ... seconds, ... minutes, ... or whole
 * days. Each begins at a multiple of it, so those of several logs with the same `since` and `until` can be added.
 *
 * Input    attempt: the number of the attempt (default: the latest one). since, until: the time to look at, of which until is
 *          exclusive. By default it is that of the whole log, and the first and the last bucket then have all that was
 *          written before and after, which happens when the clock is set back. buckets: 2 .. 500, the largest number of buckets
 * Result   { attempt, bucketMs, buckets, endOffset, droppedBytes, state }; pass the `offset` of a bucket to logs.read. A chunk
 *          counts where it was appended, a line where it ended, and bytes that were dropped from the middle where the bytes
 *          before them do. buckets is empty for a log that was pruned, before the first attempt, and for a log that was
 *          archived before its times were kept. In other archived logs, what was written in the first 1/256 of the log's time
 *          after the beginning of a bucket may count in the one before
 * Fails    not_found
 * Cost     3 statements by key; for each bucket about 20 at most, and fewer in a shorter log
 */
export const timeline = operation({
  access: "read",
  input: z
    .strictObject({
      commandId: Id,
      attempt: z.int().positive().optional(),
      since: Time,
      until: Time,
      buckets: z.int().min(2).max(bucketsMax).default(60),
    })
    .refine(({ since, until }) => since === undefined || until === undefined || since < until, {
      error: "must be later than since",
      path: ["until"],
    }),
  output: LogTimeline,
  errors: ["not_found"],
  resultBytes: ({ buckets }) => buckets * bucketBytes,
  extent: () => "page",
  *run({ commandId, attempt: number, since, until, buckets: count }, { now }) {
    const { log, commandEnded } = yield* findLog({ commandId, attempt: number });
    if (log === undefined) {
      const state = commandEnded ? "sealed" : "open";
      return { attempt: 0, bucketMs: secondMs, buckets: [], endOffset: 0, droppedBytes: 0, state } as const;
    }
    const from = since?.getTime() ?? log.started_at;
    const end = until === undefined ? Math.max(log.ended_at ?? now.getTime(), from) + 1 : until.getTime();
    const { bucketMs, times } = spans(Math.min(from, end - 1), end, count);
    const { attempt, next_offset: endOffset, dropped_bytes: droppedBytes, log_state: state } = log;
    const isKnown = state !== "pruned" && (endOffset === 0 || (yield* timedPartAt(log, 0)) !== undefined);
    const edges = isKnown ? yield* findPositions(log, times) : [];
    // Without a time to begin or to end with, nothing of the log is left out.
    if (since === undefined) edges[0] = { start_offset: 0, start_line: 0 };
    if (until === undefined) edges[times.length - 1] = endOf(log);
    const buckets = isKnown ? times.slice(0, -1).map((at, index) => bucketOf(at, edges, index)) : [];
    return { attempt, bucketMs, buckets, endOffset, droppedBytes, state };
  },
});

/** The size of a bucket in a result, by estimate. */
const bucketBytes = 128;

type Position = Omit<TimedPosition, "at">;

function bucketOf(at: number, edges: readonly Position[], index: number) {
  const [start, end] = [edges[index] as Position, edges[index + 1] as Position];
  const { start_offset: offset, start_line: line } = start;
  return { at, offset, line, lines: end.start_line - line, bytes: end.start_offset - offset };
}

function endOf({ next_offset, next_line }: AttemptLog): Position {
  return { start_offset: next_offset, start_line: next_line };
}

/** A part of a log, in which the positions of some of the times are: one of its own, or the one that follows it. */
interface Range {
  readonly low: number;
  readonly high: number;
  readonly following: Position;
  readonly from: number;
  readonly to: number;
}

/**
 * Returns for each of some times, which are in their order, the first position that is not earlier, or the end of the log.
 * Each look-up halves the part of the log in which several of them may be. Positions are in the order of the times also
 * when those of the chunks are not, because the clock was set back.
 */
const findPositions = step(function* (log: AttemptLog, times: readonly number[]) {
  const found = times.map(() => endOf(log));
  const ranges: Range[] = [{ low: 0, high: log.next_offset, following: endOf(log), from: 0, to: times.length }];
  for (let range = ranges.pop(); range !== undefined; range = ranges.pop()) {
    const { low, high, following, from, to } = range;
    if (low >= high) found.fill(following, from, to);
    if (low >= high || from === to) continue;
    const middle = Math.floor((low + high) / 2);
    const part = yield* timedPartAt(log, middle);
    const behind = Math.max(middle + 1, part?.end_offset ?? 0);
    if (part === undefined || part.start_offset < low) {
      ranges.push({ ...range, low: behind });
      continue;
    }
    let split = from;
    while (split < to && (times[split] as number) <= part.at) split++;
    ranges.push({ low: behind, high, following, from: split, to });
    ranges.push({ low, high: part.start_offset, following: part, from, to: split });
  }
  return found;
});

/** Divides the time from one moment up to another one. Returns where the spans begin, and last where the last one ends. */
function spans(from: number, end: number, count: number): { readonly bucketMs: number; readonly times: number[] } {
  const startOf = (length: number) => Math.floor(from / length) * length;
  const suffices = (length: number) => Math.ceil((end - startOf(length)) / length) <= count;
  const bucketMs = lengths.find(suffices) ?? Math.ceil((end - from) / (count - 1) / dayMs) * dayMs;
  const start = startOf(bucketMs);
  const needed = Math.ceil((end - start) / bucketMs);
  return { bucketMs, times: Array.from({ length: needed + 1 }, (_, index) => start + index * bucketMs) };
}
