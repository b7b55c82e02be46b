// The view of a debug session: its threads with their frames, its breakpoints and its last events, as of one moment.
import { z } from "zod";
import { bounds } from "../limits.ts";
import {
  type DebugBreakpointRow,
  type DebugEventRow,
  type DebugSessionRow,
  DebugView,
  type StoppedThreadRow,
} from "../model/debug.ts";
import { Id } from "../model/fields.ts";
import { fail, operation } from "../operation.ts";
import { all, first, sql, step } from "../sql.ts";
import { readThreads } from "./debugThreads.ts";
import { countWithin, getRow, textBytes } from "./rows.ts";

/** The number of times that `get` reads a debug session which changes while it is read. */
const readsMax = 20;

/**
 * Returns a debug session with its threads, breakpoints and last events, all as of one moment.
 *
 * Input    stopEpoch: the epoch of an earlier stop, whose threads are returned instead of the present ones. events: the
 *          number of last events to return; there are fewer if their bodies exceed 1 MiB
 * Result   { debugSession, breakpoints, threads, runningThreads, stopEpochs, events, lastOutput }. threads: those that
 *          are stopped, each with the frames of its own stop; `at` is null until they are stored. Beyond 1 MiB, frames
 *          of further threads are left out, and marked as cut. runningThreads: the others, as far as they are known;
 *          none with stopEpoch. stopEpochs: the stops of which frames are stored
 * Fails    not_found | busy when the debug session changes faster than it can be read
 * Cost     10 statements by key
 */
export const get = operation({
  access: "read",
  input: z.strictObject({
    debugSessionId: Id,
    stopEpoch: z.int().min(1).optional(),
    events: z.int().min(0).max(bounds.pageRowsMax).default(bounds.pageRows),
  }),
  output: DebugView,
  errors: ["not_found"],
  resultBytes: () => bounds.pageBytes + bounds.debugBreakpointBytes + bounds.debugThreadBytes,
  *run({ debugSessionId: id, stopEpoch, events }, { limits }) {
    let debugSession = yield* getRow("debug_session", id);
    for (let reads = 0; reads < readsMax; reads++) {
      const breakpoints = yield* all<DebugBreakpointRow>(sql`
        SELECT * FROM debug_breakpoints
        WHERE debug_session_id = ${id}
        ORDER BY kind, position LIMIT ${bounds.debugBreakpoints}`);
      const threads = yield* readView(debugSession, stopEpoch);
      const stopEpochs = yield* readStopEpochs(id, limits.debugStopEpochs + bounds.debugKnownThreads);
      const sizes = yield* all<{ bytes: number }>(sql`
        SELECT ${textBytes(sql`body`)} AS bytes FROM debug_events
        WHERE debug_session_id = ${id}
        ORDER BY position DESC LIMIT ${events}`);
      const lastEvents = yield* all<DebugEventRow>(sql`
        SELECT * FROM debug_events
        WHERE debug_session_id = ${id}
        ORDER BY position DESC LIMIT ${countWithin(sizes, bounds.pageBytes)}`);
      const lastOutput = yield* first<DebugEventRow>(sql`
        SELECT * FROM debug_events
        WHERE debug_session_id = ${id} AND event = 'output'
        ORDER BY position DESC LIMIT 1`);
      // Every write raises the revision, so an unchanged one proves that no other transaction changed the debug session
      // between these statements (D-073).
      const current = yield* getRow("debug_session", id);
      if (current.revision === debugSession.revision) {
        return {
          debugSession,
          breakpoints,
          ...threads,
          stopEpochs,
          events: lastEvents.reverse(),
          lastOutput: lastOutput ?? null,
        };
      }
      debugSession = current;
    }
    return fail("busy", {}, `debug session ${id} changes faster than it can be read: retry`);
  },
});

/** The columns of a stored thread that its row of debug_threads has not. */
type StoredFrames = Pick<StoppedThreadRow, "stop_epoch" | "thread_id" | "at" | "frames" | "omitted_frames" | "cut">;

/** Returns the threads of a debug session with their frames: as they are, or as they were at an earlier stop. */
const readView = step(function* (debugSession: DebugSessionRow, stopEpoch: number | undefined) {
  const { rows } = yield* readThreads(debugSession);
  const { id } = debugSession;
  const current = sql`
    debug_stops
    JOIN debug_threads
      ON debug_threads.debug_session_id = debug_stops.debug_session_id
      AND debug_threads.thread_id = debug_stops.thread_id
      AND debug_threads.stop_epoch = debug_stops.stop_epoch
    WHERE debug_threads.debug_session_id = ${id}
    ORDER BY debug_threads.thread_id`;
  const earlier = sql`
    debug_stops
    WHERE debug_stops.debug_session_id = ${id} AND debug_stops.stop_epoch = ${stopEpoch ?? 0}
    ORDER BY debug_stops.thread_id`;
  const source = stopEpoch === undefined ? current : earlier;
  const sizes = yield* all<{ bytes: number }>(sql`
    SELECT ${textBytes(sql`debug_stops.frames`)} AS bytes FROM ${source} LIMIT ${bounds.debugKnownThreads}`);
  const stored = yield* all<StoredFrames & { readonly name: string }>(sql`
    SELECT
      debug_stops.stop_epoch,
      debug_stops.thread_id,
      debug_stops.name,
      debug_stops.at,
      debug_stops.frames,
      debug_stops.omitted_frames,
      debug_stops.cut
    FROM ${source} LIMIT ${countWithin(sizes, bounds.debugThreadBytes)}`);
  if (stopEpoch !== undefined) {
    const noCause = { stop_reason: null, stop_description: null, hit_breakpoint_ids: null, stale_areas: null };
    return { threads: stored.map((thread) => ({ ...thread, ...noCause })), runningThreads: [] };
  }
  const framesOf = new Map(stored.map((thread) => [thread.thread_id, thread]));
  const cut = stored.length < sizes.length ? 1 : 0;
  const noFrames = { at: null, frames: '{"json":[]}', omitted_frames: 0, cut };
  const threads = rows
    .filter(({ stop_epoch }) => stop_epoch !== null)
    .map((row) => ({ ...noFrames, ...framesOf.get(row.thread_id), ...row, stop_epoch: Number(row.stop_epoch) }));
  return { threads, runningThreads: rows.filter(({ stop_epoch }) => stop_epoch === null) };
});

/** Lists the epochs of the stops whose threads are stored. */
const readStopEpochs = step(function* (id: string, limit: number) {
  const epochs = yield* all<{ stop_epoch: number }>(sql`
    SELECT DISTINCT stop_epoch FROM debug_stops
    WHERE debug_session_id = ${id}
    ORDER BY stop_epoch LIMIT ${limit}`);
  return epochs.map(({ stop_epoch }) => stop_epoch);
});
