// The answers of a debug adapter: the data that was seen at a stop, and the state that its answers to requests imply.
import { z } from "zod";
import type { Context } from "../context.ts";
import { bounds } from "../limits.ts";
import { integer, record } from "../model/codec.ts";
import { type DebugBreakpointRow, DebugSession, type DebugSessionRow, isEnded } from "../model/debug.ts";
import { capThreads } from "../model/debugCaps.ts";
import { AdapterRun, StopEpoch, StoredThreadInput, ThreadId } from "../model/debugInputs.ts";
import { type Breakpoint, Thread } from "../model/debugProtocol.ts";
import { continueThreads, readThread, stopEpochOf, type Threads } from "../model/debugThreads.ts";
import { Id, Reason, Version } from "../model/fields.ts";
import { maskingOf } from "../model/masking.ts";
import { SecretNames } from "../model/secretNames.ts";
import { sourceKey } from "../model/sourcePaths.ts";
import { type DebugState, debugStates } from "../model/vocabulary.ts";
import { fail, sealedOperation } from "../operation.ts";
import { all, change, changeEach, type Statement, sql, step, valueList } from "../sql.ts";
import {
  endDebugging,
  lockDebugSession,
  noStop,
  publicPayloads,
  saveDebugSession,
  sealPayloads,
  wirePayloads,
} from "./debugState.ts";
import { focusOf, readThreads, saveThreads } from "./debugThreads.ts";
import { invalidTransition } from "./failures.ts";
import { requireVersion } from "./versions.ts";

/**
 * Stores the threads of a stopped debugger, with their frames, scopes and variables. It may be called once for each
 * thread, and again when more of a thread is known.
 *
 * Input    stopEpoch: the epoch of the stop at which they were read. threads: the most important first; at most 64
 *          threads, 50 frames in a thread, 10 scopes in a frame, 100 variables in a scope, and 128 KiB in all. Data
 *          beyond these bounds is left out, and counted in its place (omittedFrames, omittedScopes, omittedVariables,
 *          valueLength). secretNames: as in debug.open
 * Result   { stored }, the number of threads that were stored. A thread that has gone on, stopped again or ended since
 *          is skipped. One that stopped earlier and stands still keeps its own stop, and its data are stored there. One
 *          that was unknown becomes known; with frames it counts as stopped
 * Fails    not_found | conflict { reason: "epoch", currentEpoch } when that stop is over for all of the threads
 *          | conflict { reason: "run", currentRun }
 * Effect   one row of debug_stops for each thread, which replaces an earlier row of the same stop; the rows of the last
 *          limits.debugStopEpochs are kept, and those of threads that still stand there. What was stale of a thread is
 *          fresh again. A breakpoint at the place of the first frame counts a hit if the adapter has not said which one
 *          was hit. No row of changes
 */
export const putStop = sealedOperation({
  access: "write",
  publicInput: z.strictObject({
    debugSessionId: Id,
    adapterRun: AdapterRun,
    stopEpoch: StopEpoch,
    threads: z
      .array(Thread)
      .min(1)
      .max(10_000)
      .describe(
        "threads, as in the protocol, each with its frames, these with their scopes, these with their variables",
      ),
    secretNames: SecretNames,
  }),
  seal: ({ debugSessionId, adapterRun, stopEpoch, threads, secretNames }) => {
    const stored = capThreads(threads, maskingOf(secretNames));
    return {
      wireInput: { debugSessionId, adapterRun, stopEpoch, threads: stored.map((thread) => ({ ...thread })) },
    };
  },
  input: z.strictObject({
    debugSessionId: Id,
    adapterRun: AdapterRun,
    stopEpoch: StopEpoch,
    threads: z.array(StoredThreadInput).max(bounds.debugThreads),
  }),
  output: record({ stored: integer }),
  errors: ["not_found", "conflict"],
  *run({ debugSessionId, adapterRun, stopEpoch, threads }, context) {
    const before = yield* lockDebugSession(debugSessionId, adapterRun, context);
    const known = yield* readThreads(before);
    let after = known;
    const statements: Statement[] = [];
    for (const thread of before.state === "stopped" && stopEpoch <= before.stop_epoch ? threads : []) {
      const { threadId, name, frameIds } = thread;
      const read = readThread(after, stopEpoch, { threadId, name, hasFrames: frameIds.length > 0 });
      if (read.stopEpoch === undefined) continue;
      after = read.threads;
      statements.push(insertionOf(debugSessionId, read.stopEpoch, thread, context));
    }
    if (statements.length === 0) {
      const current = `${before.state} at epoch ${before.stop_epoch}`;
      const message = `debug session ${before.id} is ${current}, and none of these threads is at epoch ${stopEpoch}`;
      fail("conflict", { reason: "epoch", currentEpoch: before.stop_epoch, state: before.state }, message);
    }
    for (const thread of threads) after = yield* countHitsAtPlace(before, after, thread, context);
    const columns = yield* saveThreads(before, known, after);
    const droppedUpTo = before.stop_epoch - context.limits.debugStopEpochs;
    yield* changeEach([
      ...statements,
      sql`
        DELETE FROM debug_stops
        WHERE debug_session_id = ${debugSessionId} AND stop_epoch <= ${droppedUpTo} AND NOT EXISTS (
          SELECT 1 FROM debug_threads
          WHERE debug_threads.debug_session_id = debug_stops.debug_session_id
            AND debug_threads.thread_id = debug_stops.thread_id
            AND debug_threads.stop_epoch = debug_stops.stop_epoch)`,
    ]);
    const stale_frame_ids = freshened(before.stale_frame_ids, threads);
    yield* saveDebugSession(before, { ...columns, ...focusOf(before, after), stale_frame_ids }, context);
    return { stored: statements.length };
  },
});

function insertionOf(
  debugSessionId: string,
  stopEpoch: number,
  { threadId, name, frames, omittedFrames, cut }: z.output<typeof StoredThreadInput>,
  { now }: Context,
): Statement {
  return sql`
    INSERT INTO debug_stops (
      debug_session_id,
      stop_epoch,
      thread_id,
      name,
      at,
      frames,
      omitted_frames,
      cut
    ) VALUES (
      ${debugSessionId},
      ${stopEpoch},
      ${threadId},
      ${name},
      ${now},
      ${frames},
      ${omittedFrames},
      ${cut}
    )
    ON CONFLICT (debug_session_id, stop_epoch, thread_id) DO UPDATE SET
      name = excluded.name,
      at = excluded.at,
      frames = excluded.frames,
      omitted_frames = excluded.omitted_frames,
      cut = excluded.cut`;
}

/** Returns the ids of stale frames without those that were stored anew. */
function freshened(stored: string | null, threads: readonly { readonly frameIds: readonly number[] }[]): string | null {
  if (stored === null) return null;
  const fresh = new Set(threads.flatMap(({ frameIds }) => frameIds));
  const stale = (JSON.parse(stored).json as number[]).filter((id) => !fresh.has(id));
  return stale.length === 0 ? null : JSON.stringify({ json: stale });
}

/**
 * Counts a hit of each breakpoint at the place where a thread has stopped, if the adapter has named none: it need not
 * (section Events, Stopped: `hitBreakpointIds` is optional). A log point never stops a thread.
 */
const countHitsAtPlace = step(function* (
  { id }: DebugSessionRow,
  threads: Threads,
  { threadId, sourcePath, line }: z.output<typeof StoredThreadInput>,
  { now }: Context,
) {
  const thread = threads.rows.find(({ thread_id }) => thread_id === threadId);
  if (thread?.awaits_place !== 1 || sourcePath === undefined) return threads;
  const rows = yield* all<DebugBreakpointRow>(sql`
    SELECT * FROM debug_breakpoints
    WHERE debug_session_id = ${id} AND kind = 'source'
    ORDER BY position LIMIT ${bounds.debugBreakpoints}`);
  const hits = rows.filter((row) => isAt(row, sourceKey(sourcePath), line)).map((row) => row.id);
  if (hits.length > 0)
    yield* change(sql`
      UPDATE debug_breakpoints SET hit_count = hit_count + 1, updated_at = ${now} WHERE id IN (${valueList(hits)})`);
  const named = hits.length === 0 ? null : JSON.stringify({ json: hits.slice(0, bounds.debugHits) });
  const counted = { ...thread, awaits_place: 0, hit_breakpoint_ids: named };
  return { ...threads, rows: threads.rows.map((row) => (row === thread ? counted : row)) };
});

/** Checks whether a breakpoint is at a place: where the adapter has bound it, or else where it was asked for. */
function isAt({ source_path, line: askedLine, requested, bound }: DebugBreakpointRow, key: string, line?: number) {
  if ((JSON.parse(requested).json as { logMessage?: string }).logMessage !== undefined) return false;
  const at: Partial<Breakpoint> = bound === null ? {} : JSON.parse(bound).json;
  return (at.line ?? askedLine) === line && sourceKey(at.source?.path ?? source_path ?? "") === key;
}

const patchFields = {
  debugSessionId: Id,
  adapterRun: AdapterRun,
  expectedEpoch: StopEpoch,
  expectedState: z.enum(debugStates).optional(),
  expectedVersion: Version.optional(),
  state: z.enum(["configuring", "running", "terminated", "error"]).optional(),
  threadId: ThreadId.optional(),
  reason: Reason.optional(),
};

/** The states that patchState may set, by the current state. Only an event reports a stop. */
const patchableStates: Readonly<Record<DebugState, readonly DebugState[]>> = {
  initializing: ["configuring", "terminated", "error"],
  configuring: ["running", "terminated", "error"],
  running: ["terminated", "error"],
  stopped: ["running", "terminated", "error"],
  terminated: [],
  error: [],
};

/**
 * Records the state, capabilities or payload that an adapter's answer to a request implies, such as `running` after
 * configurationDone or continue. Fails when the debug session is no longer as the caller saw it.
 *
 * Input    expectedEpoch, expectedState, expectedVersion: the debug session as the caller saw it. state: the new state.
 *          threadId: only this thread goes on, as when the answer to continue has `allThreadsContinued: false`; state is
 *          running then, and expectedEpoch is that of the thread's stop. capabilities: all of them; an event of this name
 *          adds to them. reason: why the debug session ended. secretNames: as in debug.open
 * Fails    not_found | conflict { reason: "epoch", currentEpoch } | conflict { reason: "state", currentState } |
 *          conflict { reason: "version", currentVersion } | conflict { reason: "run", currentRun } | invalid_transition
 * Effect   one row of changes, unless nothing changed. When threads go on, stopEpoch is raised, as by a continued event.
 *          The debug session stays stopped while another thread is
 */
export const patchState = sealedOperation({
  access: "write",
  publicInput: z.strictObject({ ...patchFields, ...publicPayloads }),
  seal: sealPayloads,
  input: z.strictObject({ ...patchFields, ...wirePayloads }),
  output: DebugSession,
  errors: ["not_found", "conflict", "invalid_transition"],
  *run(input, context) {
    const before = yield* lockDebugSession(input.debugSessionId, input.adapterRun, context);
    const { state, stop_epoch, capabilities, payload } = before;
    if (input.threadId !== undefined && input.state !== "running")
      fail(
        "invalid_input",
        {},
        "threadId: a thread by itself can only become running: leave it out, or set state running",
      );
    const known = yield* readThreads(before);
    const epoch = input.threadId === undefined ? stop_epoch : stopEpochOf(known, input.threadId);
    if (input.expectedEpoch !== epoch) {
      const what = input.threadId === undefined ? `debug session ${before.id}` : `thread ${input.threadId}`;
      const message = `${what} is ${epoch === null ? "not stopped" : `at epoch ${epoch}`}, not at ${input.expectedEpoch}`;
      fail("conflict", { reason: "epoch", currentEpoch: epoch ?? stop_epoch }, message);
    }
    if (input.expectedState !== undefined && input.expectedState !== state) {
      const message = `debug session ${before.id} is ${state}, not ${input.expectedState}`;
      fail("conflict", { reason: "state", currentState: state }, message);
    }
    requireVersion(before, input.expectedVersion);
    const to = input.state ?? state;
    const moves = to !== state;
    if (moves && !patchableStates[state].includes(to))
      invalidTransition("debug_session", state, `debug session ${before.id} is ${state}, and cannot become ${to}`);
    const data = { capabilities: input.capabilities ?? capabilities, payload: input.payload ?? payload };
    if (!moves && data.capabilities === capabilities && data.payload === payload) return before;
    if (!moves) return yield* saveDebugSession(before, data, context, "update");
    if (isEnded(to)) {
      const changes = yield* endDebugging(before, to, input.reason, context);
      return yield* saveDebugSession(before, { ...changes, ...data }, context, "end");
    }
    if (state !== "stopped") return yield* saveDebugSession(before, { ...data, state: to }, context, "patch");
    return yield* letGoOn(before, known, input.threadId, data, context);
  },
});

/** Lets all threads of a stopped debugger go on, or one of them, and writes other columns with that. */
export const letGoOn = step(function* (
  before: DebugSessionRow,
  known: Threads,
  threadId: number | undefined,
  data: Partial<DebugSessionRow>,
  context: Context,
) {
  const stop_epoch = before.stop_epoch + 1;
  const after = continueThreads(known, { seq: 0, epoch: stop_epoch }, threadId, threadId === undefined);
  const columns = yield* saveThreads(before, known, after);
  const focus = focusOf(before, after) ?? { ...noStop, state: "running" as const };
  const changes = { ...columns, ...focus, ...data, stop_epoch };
  return yield* saveDebugSession(before, changes, context, "continue", threadId === undefined ? {} : { threadId });
});
