// What an adapter says: events, what was seen at a stop, and what the answers to requests tell of its state.
import { z } from "zod";
import type { Context } from "../context.ts";
import { bounds } from "../limits.ts";
import { integer, record } from "../model/codec.ts";
import {
  AdapterRun,
  Applied,
  DebugSession,
  type DebugSessionRow,
  EventInput,
  effectsOf,
  eventEffects,
  eventFields,
  isEnded,
  StopEpoch,
  StoredThreadInput,
} from "../model/debug.ts";
import { capThreads } from "../model/debugCaps.ts";
import { Thread } from "../model/debugProtocol.ts";
import { Id, Reason, Version } from "../model/fields.ts";
import { maskingOf, SecretNames } from "../model/masking.ts";
import { type DebugState, debugStates } from "../model/vocabulary.ts";
import { fail, sealedOperation } from "../operation.ts";
import { all, type Body, change, changeEach, first, sql, step } from "../sql.ts";
import {
  endChanges,
  lockDebugSession,
  noStop,
  publicPayloads,
  requireOpenDebugSession,
  saveDebugSession,
  sealPayloads,
  wirePayloads,
} from "./debugState.ts";
import { invalidTransition } from "./failures.ts";
import { debugTopic } from "./topics.ts";
import { requireVersion } from "./versions.ts";

const eventInput = z.strictObject({ ...eventFields, ...eventEffects });
type EventRow = z.output<typeof eventInput>;

/**
 * Applies an event of the adapter, once: one whose seq is not above the last is known, and changes nothing.
 *
 * Input    seq, event, body: as in the protocol; an adapter that does not number its messages is numbered for, from 1, in the order of arrival; secretNames:
 *          as open
 * Result   { applied, state, stopEpoch } after the event
 * Fails    not_found | conflict { reason: "run", currentRun } from an adapter that was replaced | invalid_transition for stopped or continued while it
 *          initializes or after its end
 * Effect   the event is kept among the last limits.debugEvents. initialized, stopped, continued, exited, terminated and breakpoint change what is stored;
 *          a row of changes when the state changes or another stop begins, none for other events
 */
export const applyEvent = sealedOperation({
  access: "write",
  publicInput: EventInput,
  seal: (input) => {
    const { debugSessionId, adapterRun, seq, event } = input;
    return {
      wireInput: { debugSessionId, adapterRun, seq, event, ...effectsOf(input, maskingOf(input.secretNames)) },
    };
  },
  open: (output) => output,
  input: eventInput,
  output: Applied,
  errors: ["not_found", "conflict", "invalid_transition"],
  *run(input, context) {
    const before = yield* lockDebugSession(input.debugSessionId, input.adapterRun);
    const { state, stop_epoch: stopEpoch } = before;
    if (input.seq <= before.last_event) return { applied: 0, state, stopEpoch };
    const { op, ...moved } = yield* transition(before, input, context);
    const changes = { ...moved, last_event: input.seq, next_position: before.next_position + 1 };
    const epoch = changes.stop_epoch ?? stopEpoch;
    yield* changeEach([
      sql`
      INSERT INTO debug_events (debug_session_id, position, adapter_run, seq, stop_epoch, at, event, body, cut)
      VALUES (${before.id}, ${before.next_position}, ${input.adapterRun}, ${input.seq}, ${epoch}, ${context.now}, ${input.event}, ${input.body ?? null},
        ${input.cut})`,
      sql`DELETE FROM debug_events WHERE debug_session_id = ${before.id} AND position <= ${before.next_position - context.limits.debugEvents}`,
    ]);
    if (Object.keys(moved).length === 0) {
      yield* noteEvent(before.id, input.seq, context);
      return { applied: 1, state, stopEpoch };
    }
    const after = yield* saveDebugSession(
      before,
      changes,
      context,
      op,
      op === "stop" ? { reason: changes.stop_reason } : {},
    );
    return { applied: 1, state: after.state, stopEpoch: after.stop_epoch };
  },
});

/** Most events change nothing else. */
const noteEvent = step(function* (id: string, seq: number, { now, wake }: Context) {
  yield* change(sql`
    UPDATE debug_sessions SET last_event = ${seq}, next_position = next_position + 1, revision = revision + 1, updated_at = ${now} WHERE id = ${id}`);
  wake(debugTopic(id));
});

type Moved = Partial<DebugSessionRow> & { readonly op?: string };

/** What an event makes of the row; with an `op`, as a recorded change. */
const transition = step(function* (before: DebugSessionRow, input: EventRow, context: Context): Body<Moved> {
  const { state, stop_epoch } = before;
  switch (input.event) {
    case "initialized":
      return state === "initializing" ? { state: "configuring", op: "configure" } : {};
    case "stopped": {
      refuseUnstarted(state);
      const hits = yield* countHits(before, input.hitBreakpointIds ?? [], context);
      return {
        state: "stopped",
        stop_epoch: stop_epoch + 1,
        stop_reason: input.reason ?? "unknown",
        stop_description: input.description ?? null,
        stop_thread_id: input.threadId ?? null,
        hit_breakpoint_ids: hits.length === 0 ? null : JSON.stringify({ json: hits }),
        op: "stop",
      };
    }
    case "continued":
      refuseUnstarted(state);
      return goesOn(before, input);
    case "exited":
      return { exit_code: input.exitCode ?? null };
    case "terminated":
      return isEnded(state) ? {} : { ...endChanges("terminated", undefined, context), op: "end" };
    case "breakpoint":
      return input.breakpoint === undefined || isEnded(state)
        ? {}
        : yield* bindByAdapter(before, input.reason, input.breakpoint, context);
    default:
      return {};
  }
});

function refuseUnstarted(state: DebugState): void {
  requireOpenDebugSession({ state });
  if (state === "initializing") invalidTransition("debug_session", state, "the debugger is not configured yet");
}

/** While one thread goes on and others stay, the debugger stays stopped if the one that it stopped for stays. */
function goesOn(
  { state, stop_epoch, stop_thread_id }: DebugSessionRow,
  { threadId, allThreadsContinued }: EventRow,
): Moved {
  const othersOnly =
    allThreadsContinued === false && state === "stopped" && threadId !== undefined && threadId !== stop_thread_id;
  if (othersOnly) return { stop_epoch: stop_epoch + 1, op: "continue" };
  return {
    ...noStop,
    state: "running",
    stop_epoch: stop_epoch + 1,
    ...(state === "running" ? {} : { op: "continue" }),
  };
}

/** The ids of our breakpoints that have these ids at the adapter. */
const countHits = step(function* ({ id }: DebugSessionRow, adapterIds: readonly number[], { now }: Context) {
  const hits: string[] = [];
  for (const adapterId of new Set(adapterIds)) {
    const rows = yield* all<{ id: string }>(sql`
      UPDATE debug_breakpoints SET hit_count = hit_count + 1, updated_at = ${now}
      WHERE debug_session_id = ${id} AND adapter_id = ${adapterId} RETURNING id`);
    hits.push(...rows.map((row) => row.id));
  }
  return hits;
});

/** The adapter has moved, verified, removed or made a breakpoint by itself. */
const bindByAdapter = step(function* (
  before: DebugSessionRow,
  reason: string | undefined,
  bound: NonNullable<EventRow["breakpoint"]>,
  { now }: Context,
) {
  const { id: debugSessionId, breakpoint_count } = before;
  const adapterId = bound.adapterId ?? null;
  const known = yield* first<{ id: string }>(sql`
    SELECT id FROM debug_breakpoints WHERE debug_session_id = ${debugSessionId} AND adapter_id = ${adapterId} LIMIT 1`);
  if (known !== undefined) {
    const removed = reason === "removed";
    yield* change(sql`
      UPDATE debug_breakpoints SET adapter_id = ${removed ? null : adapterId}, verified = ${removed ? false : bound.verified},
        bound = ${removed ? null : bound.bound}, version = version + 1, updated_at = ${now}
      WHERE id = ${known.id}`);
    return {};
  }
  // One that nobody asked for, set at the debugger's own console; only with a place can it be shown, and be replaced by setBreakpoints.
  if (
    reason !== "new" ||
    bound.sourcePath === undefined ||
    bound.line === undefined ||
    breakpoint_count >= bounds.debugBreakpoints
  )
    return {};
  const last = yield* first<{ position: number }>(sql`
    SELECT position FROM debug_breakpoints WHERE debug_session_id = ${debugSessionId} AND kind = 'source' ORDER BY position DESC LIMIT 1`);
  yield* change(sql`
    INSERT INTO debug_breakpoints (id, debug_session_id, kind, source_path, position, line, requested, adapter_id, verified, bound, created_at, updated_at)
    VALUES (${bound.id}, ${debugSessionId}, 'source', ${bound.sourcePath}, ${(last?.position ?? -1) + 1}, ${bound.line}, ${bound.requested}, ${adapterId},
      ${bound.verified}, ${bound.bound}, ${now}, ${now})`);
  return { breakpoint_count: breakpoint_count + 1 };
});

/**
 * Stores what is seen while the debugger is stopped: threads, their frames, the scopes of these and their variables. May be called for each thread, and
 * again when more is known.
 *
 * Input    stopEpoch: of the stop that was looked at; threads: the most interesting first, at most 64 with 50 frames each, 10 scopes to a frame, 100 variables
 *          to a scope, 128 KiB in all; what goes beyond it is left out and counted where it was (omittedFrames, omittedScopes, omittedVariables, valueLength).
 *          secretNames: as open
 * Result   { stored }: how many threads were stored
 * Fails    not_found | conflict { reason: "epoch", currentEpoch } when that stop is over | conflict { reason: "run", currentRun }
 * Effect   a row of debug_stops for each thread, instead of an earlier one of the same stop; the last limits.debugStopEpochs are kept. No row of changes
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
  open: (output) => output,
  input: z.strictObject({
    debugSessionId: Id,
    adapterRun: AdapterRun,
    stopEpoch: StopEpoch,
    threads: z.array(StoredThreadInput).max(bounds.debugThreads),
  }),
  output: record({ stored: integer }),
  errors: ["not_found", "conflict"],
  *run({ debugSessionId, adapterRun, stopEpoch, threads }, context) {
    const before = yield* lockDebugSession(debugSessionId, adapterRun);
    const { state, stop_epoch } = before;
    if (state !== "stopped" || stopEpoch !== stop_epoch) {
      fail(
        "conflict",
        { reason: "epoch", currentEpoch: stop_epoch, state },
        `the debugger is ${state} at epoch ${stop_epoch}, not stopped at ${stopEpoch}`,
      );
    }
    yield* changeEach([
      sql`DELETE FROM debug_stops WHERE debug_session_id = ${debugSessionId} AND stop_epoch <= ${stopEpoch - context.limits.debugStopEpochs}`,
      ...threads.map(
        ({ threadId, name, frames, omittedFrames, cut }) => sql`
        INSERT INTO debug_stops (debug_session_id, stop_epoch, thread_id, name, at, frames, omitted_frames, cut)
        VALUES (${debugSessionId}, ${stopEpoch}, ${threadId}, ${name}, ${context.now}, ${frames}, ${omittedFrames}, ${cut})
        ON CONFLICT (debug_session_id, stop_epoch, thread_id) DO UPDATE SET name = excluded.name, at = excluded.at, frames = excluded.frames,
          omitted_frames = excluded.omitted_frames, cut = excluded.cut`,
      ),
    ]);
    yield* saveDebugSession(before, {}, context);
    return { stored: threads.length };
  },
});

const patchFields = {
  debugSessionId: Id,
  adapterRun: AdapterRun,
  expectedEpoch: StopEpoch,
  expectedState: z.enum(debugStates).optional(),
  expectedVersion: Version.optional(),
  state: z.enum(["configuring", "running", "terminated", "error"]).optional(),
  reason: Reason.optional(),
};

/** What the answer to a request may tell; stops are told by events alone. */
const patches: Readonly<Record<DebugState, readonly DebugState[]>> = {
  initializing: ["configuring", "terminated", "error"],
  configuring: ["running", "terminated", "error"],
  running: ["terminated", "error"],
  stopped: ["running", "terminated", "error"],
  terminated: [],
  error: [],
};

/**
 * Changes what the answer to a request told, if nothing has happened meanwhile: that it runs after configurationDone or continue, what it can do, that it
 * failed.
 *
 * Input    expectedEpoch, expectedState, expectedVersion: what the caller saw; state: the new one; reason: why it ended; secretNames: as open
 * Fails    not_found | conflict { reason: "epoch", currentEpoch } | conflict { reason: "state", currentState } | conflict { reason: "version", currentVersion }
 *          | conflict { reason: "run", currentRun } | invalid_transition
 * Effect   a row of changes, unless nothing changed. From stopped to running raises stopEpoch, as the event would
 */
export const patchState = sealedOperation({
  access: "write",
  publicInput: z.strictObject({
    ...patchFields,
    ...publicPayloads,
  }),
  seal: sealPayloads,
  open: (output) => output,
  input: z.strictObject({ ...patchFields, ...wirePayloads }),
  output: DebugSession,
  errors: ["not_found", "conflict", "invalid_transition"],
  *run(input, context) {
    const before = yield* lockDebugSession(input.debugSessionId, input.adapterRun);
    const { state, stop_epoch, capabilities, payload } = before;
    if (input.expectedEpoch !== stop_epoch)
      fail("conflict", { reason: "epoch", currentEpoch: stop_epoch }, `the epoch is ${stop_epoch}`);
    if (input.expectedState !== undefined && input.expectedState !== state)
      fail("conflict", { reason: "state", currentState: state }, `it is ${state}`);
    requireVersion(before, input.expectedVersion);
    const to = input.state ?? state;
    if (to !== state && !patches[state].includes(to)) fail("invalid_transition", { entity: "debug_session", state });
    const data = { capabilities: input.capabilities ?? capabilities, payload: input.payload ?? payload };
    if (to === state && data.capabilities === capabilities && data.payload === payload) return before;
    const moved = to === state ? {} : isEnded(to) ? endChanges(to, input.reason, context) : { ...noStop, state: to };
    const epoch = state === "stopped" && to === "running" ? stop_epoch + 1 : stop_epoch;
    const op =
      to === state ? "update" : isEnded(to) ? "end" : to === "running" && state === "stopped" ? "continue" : "patch";
    return yield* saveDebugSession(before, { ...moved, ...data, stop_epoch: epoch }, context, op);
  },
});
