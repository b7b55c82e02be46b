// The log of a session: the logs of all its attempts, and its own marks, as one sequence. Its position names what was
// read of each attempt that had started and not ended there, so that it is exact although attempts run side by side.
import { z } from "zod";
import type { Context } from "../context.ts";
import { bounds } from "../limits.ts";
import type { RawOf } from "../model/codec.ts";
import { Fence, Id, Name, oneOrMore, reportedText, WaitMs } from "../model/fields.ts";
import type { StoredChunk } from "../model/logBlocks.ts";
import { LogMark, type SessionLogItem, SessionLogPage } from "../model/logs.ts";
import { formatPosition, Position, parsePosition, type SessionLogPosition } from "../model/sessionLogPosition.ts";
import { isOpen, type SessionRow } from "../model/sessions.ts";
import { type CommandOutcome, logStreams } from "../model/vocabulary.ts";
import { fail, NotYet, operation } from "../operation.ts";
import { all, change, first, one, sql, step, valueList } from "../sql.ts";
import { invalidTransition, leaseLost, notFound } from "./failures.ts";
import { chunksFrom, isOfStream, type LogRow, partFrom, type StreamFilter } from "./logStorage.ts";
import { getRow, lockRow } from "./rows.ts";
import { keepLockedSessionActive } from "./sessionActivity.ts";
import { logTopic, sessionLogTopic, sessionTopic } from "./topics.ts";

/**
 * Adds a mark to the log of a session: the beginning of a phase, such as a checkout, a line of text, or both. The runner
 * and the server write here what belongs to the session, and to none of its commands.
 *
 * Input    phase: the name of the phase that begins. text: what is longer than 1 000 characters is cut. commandId: the
 *          command that the mark concerns, with the fencing token of its claim. Give a phase, a text, or both
 * Result   the mark; its number counts the marks of the session from 1
 * Fails    not_found | lease_lost { currentFence } when the command has another fencing token
 *          | invalid_transition when the session has ended, and its commands too
 *          | invalid_input { marks } when the session has 1 000 marks
 * Effect   one row of session_marks; no row of changes, because a log has its own cursor. It keeps the session active
 * Cost     4 statements by key, and 2 more for a command
 */
export const mark = operation({
  access: "write",
  input: z
    .strictObject({
      sessionId: Id,
      phase: Name.optional(),
      text: reportedText(bounds.logMarkLength).optional(),
      commandId: Id.optional(),
      fence: Fence.optional(),
    })
    .refine(({ phase, text }) => phase !== undefined || text !== undefined, {
      error: "give a phase, a text, or both",
      path: ["phase"],
    })
    .refine(({ commandId, fence }) => (commandId === undefined) === (fence === undefined), {
      error: "commandId and fence belong together",
      path: ["fence"],
    }),
  output: LogMark,
  errors: ["not_found", "lease_lost", "invalid_transition"],
  *run({ sessionId, phase, text, commandId, fence }, context) {
    const session = yield* lockRow("session", sessionId);
    const held = commandId === undefined ? undefined : yield* heldAttempt(sessionId, commandId, fence as number);
    if (hasEnded(session))
      invalidTransition("session", session.state, `session ${sessionId} is ${session.state}, and so is its log`);
    const last = yield* first<{ number: number }>(sql`
      SELECT number FROM session_marks WHERE session_id = ${sessionId} ORDER BY number DESC LIMIT 1`);
    const number = (last?.number ?? 0) + 1;
    if (number > bounds.logMarks) {
      const message = `session ${sessionId} has ${bounds.logMarks} marks, and no more are kept: write to the log of a command`;
      fail("invalid_input", { marks: bounds.logMarks }, message);
    }
    yield* change(sql`
      INSERT INTO session_marks (
        session_id,
        number,
        at,
        phase,
        text,
        command_id,
        attempt,
        log_offset
      ) VALUES (
        ${sessionId},
        ${number},
        ${context.now},
        ${phase ?? null},
        ${text ?? null},
        ${commandId ?? null},
        ${held?.attempt ?? null},
        ${held?.next_offset ?? null}
      )`);
    yield* keepLockedSessionActive(session, context);
    context.wake(sessionLogTopic(sessionId));
    return {
      sessionId,
      number,
      at: context.now.getTime(),
      phase: phase ?? null,
      text: text ?? null,
      commandId: commandId ?? null,
      attempt: held?.attempt ?? null,
    };
  },
});

/** Returns the attempt that runs under this fencing token, or fails with `lease_lost`. */
const heldAttempt = step(function* (sessionId: string, commandId: string, fence: number) {
  const command = yield* getRow("command", commandId);
  if (command.session_id !== sessionId) notFound("command", commandId);
  if (command.fence !== fence || command.lease_expires_at === null) leaseLost(command, fence);
  return yield* one<{ attempt: number; next_offset: number }>(sql`
    SELECT attempt, next_offset FROM attempts WHERE command_id = ${commandId} AND fence = ${fence}`);
});

/** Checks whether nothing can be added to the log of a session any more. */
function hasEnded({ state, active_commands }: Pick<SessionRow, "state" | "active_commands">): boolean {
  return !isOpen(state) && active_commands === 0;
}

/** The items of one page. */
const itemsMax = 500;
/** The bytes that one call reads at most to find those of some streams. Most of a log may be of others. */
const scanBytesMax = 4 * 1024 * 1024;

/**
 * Follows the log of a session: the output of all its commands and attempts, their starts and ends, and its marks, until
 * the session has ended, and its commands too. Nothing is left out or repeated.
 *
 * Input    after: the position of an item, or of a page, to go on behind it; without it, the iteration begins with the
 *          first item. start: "end" leaves out what there is now. stream: only output of these streams
 * Result   items, by the time at which they were stored. The items of one attempt are in their order: its start, its
 *          output, its end. Attempts that run at a time alternate, and may do so in another way when they are read again
 * Fails    not_found | invalid_input when `after` is a position of another log
 * Cost     about 4 statements by key, and 1 for each attempt that has new output
 */
export const followSession = operation({
  access: "read",
  input: z
    .strictObject({
      sessionId: Id,
      after: Position.optional(),
      start: z.enum(["beginning", "end"]).default("beginning"),
      stream: oneOrMore(logStreams),
      maxBytes: z
        .int()
        .min(1)
        .max(bounds.logReadBytes)
        .default(256 * 1024),
      waitMs: WaitMs.default(20_000),
    })
    .refine(({ after, start }) => after === undefined || start === "beginning", {
      error: "after and start exclude each other",
      path: ["start"],
    }),
  output: SessionLogPage,
  errors: ["not_found"],
  waitMs: (input) => input.waitMs,
  resultBytes: ({ maxBytes }) => maxBytes,
  stream: {
    items: (page): SessionLogItem[] => page.items,
    next: (input, { position, ended }) =>
      ended ? undefined : { ...input, start: "beginning" as const, after: position },
  },
  *run(input, context) {
    const { sessionId, after, start } = input;
    // Read before the rest: what has ended by now gets no further item.
    const session = yield* getRow("session", sessionId);
    if (start === "end")
      return { items: [], position: formatPosition(yield* endOf(sessionId)), ended: hasEnded(session) ? 1 : 0 };
    const { items, position, isAtEnd, topics } = yield* readItems(session, parsePosition(after), input, context);
    const page = { items, position: formatPosition(position), ended: isAtEnd && hasEnded(session) ? 1 : 0 };
    const waits = items.length === 0 && isAtEnd && page.ended === 0;
    return waits ? new NotYet([sessionLogTopic(sessionId), sessionTopic(sessionId), ...topics], page) : page;
  },
});

/** Returns the position behind everything that the log of a session has now. */
const endOf = step(function* (sessionId: string) {
  const { marks, started } = (yield* first<{ marks: number | null; started: number | null }>(sql`
    SELECT
      (SELECT max(number) FROM session_marks WHERE session_id = ${sessionId}) AS marks,
      (SELECT max(id) FROM attempts WHERE session_id = ${sessionId}) AS started`)) as {
    marks: number | null;
    started: number | null;
  };
  const open = yield* all<{ id: number; next_offset: number }>(sql`
    SELECT attempts.id, attempts.next_offset
    FROM commands JOIN attempts ON attempts.command_id = commands.id AND attempts.fence = commands.fence
    WHERE commands.session_id = ${sessionId} AND commands.lease_expires_at IS NOT NULL`);
  return {
    marks: marks ?? 0,
    started: started ?? 0,
    open: new Map(open.map(({ id, next_offset }) => [id, next_offset])),
  };
});

type Item = RawOf<typeof SessionLogItem>;
type MarkRow = Omit<RawOf<typeof LogMark>, "sessionId"> & { readonly logOffset: number | null };

interface AttemptRow extends LogRow {
  readonly command_id: string;
  readonly attempt: number;
  readonly runner_id: string;
  readonly started_at: number;
  readonly outcome: CommandOutcome | null;
  readonly exit_code: number | null;
  readonly signal: string | null;
  readonly ended_at: number | null;
  readonly log_state: "open" | "sealed" | "pruned";
}

/** The log of an attempt whose start was read. */
interface OpenLog {
  readonly row: AttemptRow;
  /** The offset up to which it was read. */
  offset: number;
  /** Chunks from there on that are at hand. */
  chunks: StoredChunk[];
  /** True when the log has no more chunks than these. */
  isWhole: boolean;
}

/** The number of marks, or of attempts, that one call reads at most. */
const rowsPerRead = 64;
/** The number of chunks that are read at a time, of all open logs together. */
const chunksPerRead = 64;

/** Reads items behind a position: of the marks, the starts, and the open logs, always the earliest one. */
const readItems = step(function* (
  session: SessionRow,
  from: SessionLogPosition,
  { stream, maxBytes }: { readonly stream?: StreamFilter; readonly maxBytes: number },
  context: Context,
) {
  const position = { marks: from.marks, started: from.started, open: new Map(from.open) };
  const marks = yield* marksFrom(session, from.marks);
  const starts = yield* startsFrom(session, from.started);
  const logs = yield* openLogs(session.id, from.open);
  const items: Item[] = [];
  const add = (item: DistributiveOmit<Item, "position">): number => {
    const text = formatPosition(position);
    items.push({ ...item, position: text });
    return text.length;
  };
  let [readBytes, scannedBytes] = [0, 0];
  let isAtEnd = false;
  while (items.length < itemsMax && readBytes < maxBytes && scannedBytes < scanBytesMax) {
    const [mark, start] = [marks.rows[0], starts.rows[0]];
    // Those that were not read yet may be earlier than all others.
    if ((mark === undefined && marks.hasMore) || (start === undefined && starts.hasMore)) break;
    const log = yield* earliestLog(logs, marks.rows, maxBytes, context);
    const [logAt, startAt] = [log && timeOf(log), start?.started_at].map((at) => at ?? Infinity) as [number, number];
    // Items of one time are shown in the order in which one can have led to another.
    if (mark !== undefined && mark.at < Math.min(logAt, startAt) && isDue(mark, logs, starts.rows)) {
      marks.rows.shift();
      position.marks = mark.number;
      readBytes += add({ kind: "mark", ...mark });
    } else if (start !== undefined && startAt < logAt) {
      starts.rows.shift();
      logs.push(openLog(start, 0));
      position.started = start.id;
      position.open.set(start.id, 0);
      readBytes += add({ kind: "started", at: start.started_at, ...nameOf(start), runnerId: start.runner_id });
    } else if (log === undefined) {
      isAtEnd = true;
      break;
    } else if (log.chunks[0] === undefined) {
      logs.splice(logs.indexOf(log), 1);
      position.open.delete(log.row.id);
      readBytes += add(endOfAttempt(log.row));
    } else {
      const chunk = log.chunks[0];
      const part = partFrom(chunk, log.offset);
      const droppedBytes = part.offset - log.offset;
      log.chunks.shift();
      log.offset = part.offset + part.data.byteLength;
      position.open.set(log.row.id, log.offset);
      scannedBytes += part.data.byteLength;
      if (isOfStream(chunk, stream)) {
        const { stream: name, at } = chunk;
        readBytes +=
          part.data.byteLength + add({ kind: "output", at, ...nameOf(log.row), ...part, droppedBytes, stream: name });
      }
    }
  }
  return { items, position, isAtEnd, topics: logs.map(({ row }) => logTopic(row.command_id)) };
});

type DistributiveOmit<Value, Key extends PropertyKey> = Value extends unknown ? Omit<Value, Key> : never;

function endOfAttempt(row: AttemptRow) {
  return {
    kind: "ended" as const,
    at: row.ended_at as number,
    ...nameOf(row),
    outcome: row.outcome as CommandOutcome,
    exitCode: row.exit_code,
    signal: row.signal,
    logState: row.log_state,
  };
}

function nameOf({ command_id, attempt }: AttemptRow) {
  return { commandId: command_id, attempt };
}

const marksFrom = step(function* (session: SessionRow, number: number) {
  const rows = yield* all<MarkRow>(sql`
    SELECT number, at, phase, text, command_id AS "commandId", attempt, log_offset AS "logOffset"
    FROM session_marks
    WHERE session_id = ${session.id} AND number >= ${number}
    ORDER BY number LIMIT ${rowsPerRead}`);
  return behind(rows, session, number, (row) => row.number);
});

const startsFrom = step(function* (session: SessionRow, id: number) {
  const rows = yield* all<AttemptRow>(sql`
    SELECT * FROM attempts WHERE session_id = ${session.id} AND id >= ${id} ORDER BY id LIMIT ${rowsPerRead}`);
  return behind(rows, session, id, (row) => row.id);
});

/** Returns the rows behind the last one that was read. When that is missing, the position is of another log. */
function behind<Row>(rows: Row[], { id, state }: SessionRow, last: number, numberOf: (row: Row) => number) {
  const hasMore = rows.length === rowsPerRead;
  const [head] = rows;
  if (head !== undefined && numberOf(head) === last) rows.shift();
  // Rows of a session that has ended may have been removed.
  else if (last > 0 && isOpen(state)) {
    const message = `after: session ${id} has no such position: it is of another session, or the store was restored`;
    fail("invalid_input", { sessionId: id }, message);
  }
  return { rows, hasMore };
}

/** Returns the logs that were read in part, except those that were removed. */
const openLogs = step(function* (sessionId: string, offsets: ReadonlyMap<number, number>) {
  if (offsets.size === 0) return [];
  const rows = yield* all<AttemptRow>(sql`
    SELECT * FROM attempts WHERE id IN (${valueList([...offsets.keys()])}) AND session_id = ${sessionId} ORDER BY id`);
  return rows.map((row) => openLog(row, offsets.get(row.id) as number));
});

function openLog(row: AttemptRow, offset: number): OpenLog {
  // The chunks of a log that was removed may be gone in part.
  return { row, offset, chunks: [], isWhole: row.log_state === "pruned" || offset >= row.next_offset };
}

/** Returns the log whose next item is the earliest one, if any has one. A log waits for the marks of its attempt. */
const earliestLog = step(function* (
  logs: readonly OpenLog[],
  marks: readonly MarkRow[],
  maxBytes: number,
  context: Context,
) {
  let earliest: OpenLog | undefined;
  for (const log of logs) {
    if (marks.some((mark) => isOf(mark, log.row) && (mark.logOffset as number) <= log.offset)) continue;
    if (log.chunks.length === 0 && !log.isWhole) {
      const share = {
        wantedBytes: Math.ceil(maxBytes / logs.length),
        chunksMax: Math.ceil(chunksPerRead / logs.length),
      };
      const { chunks, areLast } = yield* chunksFrom(
        log.row,
        { from: log.offset, isBoundary: false, ...share },
        context,
      );
      log.chunks = [...chunks];
      log.isWhole = areLast;
    }
    const at = timeOf(log);
    if (at !== undefined && (earliest === undefined || at < (timeOf(earliest) as number))) earliest = log;
  }
  return earliest;
});

function isOf({ commandId, attempt }: MarkRow, row: AttemptRow): boolean {
  return commandId === row.command_id && attempt === row.attempt;
}

/** Checks whether the start of a mark's attempt was read, and its log up to where the mark was made. */
function isDue(mark: MarkRow, logs: readonly OpenLog[], starts: readonly AttemptRow[]): boolean {
  const isBehind = ({ row, offset }: OpenLog) => isOf(mark, row) && offset < (mark.logOffset as number);
  return !starts.some((row) => isOf(mark, row)) && !logs.some(isBehind);
}

/** Returns the time of the next item of a log: of its next chunk, or of its end. */
function timeOf({ chunks, row }: OpenLog): number | undefined {
  return chunks[0]?.at ?? row.ended_at ?? undefined;
}
