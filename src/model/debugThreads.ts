// The rules by which the events of an adapter change the threads of a process. Each names the section of the Debug Adapter
// Protocol that it rests on: https://microsoft.github.io/debug-adapter-protocol/specification
//
// Threads without a row are known together, as `others`: an adapter may say that all threads have stopped without ever
// naming them.
import { bounds } from "../limits.ts";
import type { DebugThreadRow } from "./debug.ts";

/** The knowledge about all threads that have no row. */
export interface OtherThreads {
  /** The stop at which they are, null while they run. */
  readonly stopEpoch: number | null;
  /** The epoch from which this is so, or at which one of them was heard of for the last time. */
  readonly changedEpoch: number;
  /** The adapter's number of the last event about them. */
  readonly lastEvent: number;
}

export interface Threads {
  readonly rows: readonly DebugThreadRow[];
  readonly others: OtherThreads;
}

/** The number of an event and the epoch that it begins. A number of 0 is that of an adapter which does not number. */
interface When {
  readonly seq: number;
  readonly epoch: number;
}

/** Why a thread has stopped. */
export interface StopCause {
  readonly stop_reason: string;
  readonly stop_description: string | null;
  readonly hit_breakpoint_ids: string | null;
  readonly awaits_place: number;
}

const noCause = { stop_reason: null, stop_description: null, hit_breakpoint_ids: null, awaits_place: 0 } as const;

/** Checks whether an event comes after the last one about a thread. Events that arrive late must not undo later ones. */
function isNewer(seq: number, lastEvent: number): boolean {
  return seq === 0 || seq > lastEvent;
}

export function isStopped({ rows, others }: Threads): boolean {
  return others.stopEpoch !== null || rows.some(({ stop_epoch }) => stop_epoch !== null);
}

/** Returns the thread whose stop is the last one that an event has named; undefined if none is left. */
export function lastStopped({ rows }: Threads): DebugThreadRow | undefined {
  return rows
    .filter(({ stop_reason }) => stop_reason !== null)
    .reduce<DebugThreadRow | undefined>(
      (last, row) => (last === undefined || Number(row.stop_epoch) > Number(last.stop_epoch) ? row : last),
      undefined,
    );
}

/**
 * Applies `stopped` (section Events, Stopped): without `allThreadsStopped: true`, only the thread that is named has
 * stopped. A thread that was stopped already keeps its stop and its frames, unless the event is about it. If it stops
 * again together with all threads, it has run since without an event, as after a step (section Events, Continued), and
 * all threads have run with it. A stop that names no thread is one of all threads.
 */
export function stopThreads(
  threads: Threads,
  { seq, epoch }: When,
  threadId: number | undefined,
  all: boolean,
  cause: StopCause,
): Threads {
  const { rows, others } = threads;
  const named = rows.find(({ thread_id }) => thread_id === threadId);
  const haveRun = threadId === undefined || (named?.stop_reason ?? null) !== null;
  const stopped = (row: DebugThreadRow, why: StopCause | typeof noCause): DebugThreadRow => ({
    ...row,
    ...why,
    stop_epoch: epoch,
    changed_epoch: epoch,
    last_event: Math.max(seq, row.last_event),
    stale_areas: null,
  });
  const stays = (stopEpoch: number | null) => !all || (stopEpoch !== null && !haveRun);
  const after = rows.map((row) => {
    if (!isNewer(seq, row.last_event)) return row;
    if (row.thread_id === threadId) return stopped(row, cause);
    return stays(row.stop_epoch) ? row : stopped(row, noCause);
  });
  if (!isNewer(seq, others.lastEvent)) return { rows: after, others };
  const rest = stays(others.stopEpoch)
    ? others
    : { stopEpoch: epoch, changedEpoch: epoch, lastEvent: Math.max(seq, others.lastEvent) };
  const isNew = threadId !== undefined && named === undefined;
  return { rows: isNew ? withRow(after, rest, stopped(rowOf(threadId, rest), cause)) : after, others: rest };
}

/**
 * Applies `continued` (section Events, Continued) and the answer to `continue` (section Requests, Continue): all threads
 * go on unless `allThreadsContinued` is false; then only the thread that is named.
 */
export function continueThreads(
  { rows, others }: Threads,
  { seq, epoch }: When,
  threadId: number | undefined,
  all: boolean,
): Threads {
  const everything = all || threadId === undefined;
  const isKnown = rows.some(({ thread_id }) => thread_id === threadId);
  const concernsOthers = (everything || !isKnown) && isNewer(seq, others.lastEvent);
  return {
    rows: rows.map((row) =>
      (everything || row.thread_id === threadId) && isNewer(seq, row.last_event)
        ? {
            ...row,
            ...noCause,
            stop_epoch: null,
            changed_epoch: epoch,
            last_event: Math.max(seq, row.last_event),
            stale_areas: null,
          }
        : row,
    ),
    others: concernsOthers
      ? {
          stopEpoch: everything ? null : others.stopEpoch,
          changedEpoch: epoch,
          lastEvent: Math.max(seq, others.lastEvent),
        }
      : others,
  };
}

/**
 * Applies `thread` with the reason `started` (section Events, Thread). A thread that is heard of for the first time while
 * all threads are stopped is stopped too.
 */
export function startThread(threads: Threads, { seq, epoch }: When, threadId: number): Threads {
  const { rows, others } = threads;
  const isKnown = rows.some(({ thread_id }) => thread_id === threadId);
  if (isKnown || !isNewer(seq, others.lastEvent)) return threads;
  const someRun = rows.some(({ stop_epoch }) => stop_epoch === null);
  const row = { ...rowOf(threadId, others), changed_epoch: epoch, last_event: seq };
  return { rows: withRow(rows, others, someRun ? { ...row, stop_epoch: null } : row), others };
}

/**
 * Applies `thread` with the reason `exited` to one thread (section Events, Thread), and `exited` to all of them (section
 * Events, Exited). What was read of a thread before its end is refused from here on, because `changedEpoch` is after it.
 */
export function endThreads({ rows, others }: Threads, { seq, epoch }: When, threadId: number | undefined): Threads {
  const isOver = (row: DebugThreadRow) =>
    (threadId === undefined || row.thread_id === threadId) && isNewer(seq, row.last_event);
  return {
    rows: rows.filter((row) => !isOver(row)),
    others: isNewer(seq, others.lastEvent)
      ? {
          stopEpoch: threadId === undefined ? null : others.stopEpoch,
          changedEpoch: epoch + 1,
          lastEvent: Math.max(seq, others.lastEvent),
        }
      : others,
  };
}

/** The areas that `invalidated` names (section Types, InvalidatedAreas), besides `all`. */
const areaNames = ["threads", "stacks", "variables"] as const;

/**
 * Applies `invalidated` (section Events, Invalidated) to one thread, or to all: without an area that the protocol knows,
 * everything is stale.
 */
export function staleThreads(
  { rows, others }: Threads,
  threadId: number | undefined,
  areas: readonly string[],
): Threads {
  const named = areaNames.filter((area) => areas.includes(area));
  const stale = named.length === 0 || areas.includes("all") ? areaNames : named;
  return {
    others,
    rows: rows.map((row) => {
      if (threadId !== undefined && row.thread_id !== threadId) return row;
      const known: readonly string[] = row.stale_areas === null ? [] : JSON.parse(row.stale_areas).json;
      const both = areaNames.filter((area) => known.includes(area) || stale.includes(area));
      return { ...row, stale_areas: JSON.stringify({ json: both }) };
    }),
  };
}

/** A thread that was read at a stop. */
export interface ReadThread {
  readonly threadId: number;
  readonly name: string;
  readonly hasFrames: boolean;
}

/**
 * Takes in what was read of a thread at a stop, and returns the stop at which its frames are; undefined for the stop if
 * the thread is past it, and of no use. A thread with frames is stopped, even if the adapter has not said so: the protocol
 * knows frames of stopped threads alone (section Requests, StackTrace).
 */
export function readThread(
  threads: Threads,
  stopEpoch: number,
  { threadId, name, hasFrames }: ReadThread,
): { readonly threads: Threads; readonly stopEpoch: number | undefined } {
  const { rows, others } = threads;
  const known = rows.find(({ thread_id }) => thread_id === threadId);
  const row = known ?? rowOf(threadId, others);
  if (row.changed_epoch > stopEpoch) return { threads, stopEpoch: undefined };
  const at = row.stop_epoch ?? (hasFrames ? stopEpoch : null);
  const read = { ...row, name, stop_epoch: at, changed_epoch: at ?? row.changed_epoch, stale_areas: null };
  const after = known === undefined ? withRow(rows, others, read) : rows.map((one) => (one === known ? read : one));
  if (known === undefined && after === rows) return { threads, stopEpoch: undefined };
  return { threads: { rows: after, others }, stopEpoch: at ?? stopEpoch };
}

/** Returns the epoch of the stop at which a thread is, null while it runs. */
export function stopEpochOf({ rows, others }: Threads, threadId: number): number | null {
  const row = rows.find(({ thread_id }) => thread_id === threadId);
  return row === undefined ? others.stopEpoch : row.stop_epoch;
}

/** Checks whether a thread, or without one any thread, is at a stop. */
export function standsAt(threads: Threads, stopEpoch: number, threadId: number | null): boolean {
  if (threadId !== null) return stopEpochOf(threads, threadId) === stopEpoch;
  return threads.others.stopEpoch === stopEpoch || threads.rows.some(({ stop_epoch }) => stop_epoch === stopEpoch);
}

/** Returns the row of a thread that has none yet: it is as the others are. */
function rowOf(threadId: number, { stopEpoch, changedEpoch, lastEvent }: OtherThreads): DebugThreadRow {
  return {
    thread_id: threadId,
    name: "",
    ...noCause,
    stop_epoch: stopEpoch,
    changed_epoch: changedEpoch,
    last_event: lastEvent,
    stale_areas: null,
  };
}

/**
 * Adds a row. When there is no room, a thread that has stopped by itself takes the place of one that is as those without
 * a row are, and any other thread stays without one.
 */
function withRow(
  rows: readonly DebugThreadRow[],
  { stopEpoch }: OtherThreads,
  row: DebugThreadRow,
): readonly DebugThreadRow[] {
  if (rows.length < bounds.debugKnownThreads) return [...rows, row];
  const spare = rows.findIndex(({ stop_epoch, stop_reason }) => stop_epoch === stopEpoch && stop_reason === null);
  return row.stop_reason === null || spare === -1 ? rows : [...rows.toSpliced(spare, 1), row];
}
