// Reports of a debug adapter: its events, the data that was seen at a stop, and the state that its answers to requests
// imply. Only an event stops the debugger. It raises stopEpoch, so that data of an earlier stop is never mistaken for
// data of a later one.
import { z } from "zod";
import type { Context } from "../context.ts";
import { bounds } from "../limits.ts";
import { integer, record } from "../model/codec.ts";
import { Applied, DebugSession, type DebugSessionRow, isEnded } from "../model/debug.ts";
import { capThreads } from "../model/debugCaps.ts";
import {
  AdapterRun,
  EventInput,
  effectsOf,
  eventEffects,
  eventFields,
  StopEpoch,
  StoredThreadInput,
} from "../model/debugInputs.ts";
import { Thread } from "../model/debugProtocol.ts";
import { Id, Reason, Version } from "../model/fields.ts";
import { maskingOf } from "../model/masking.ts";
import { SecretNames } from "../model/secretNames.ts";
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
 * Applies an event of the adapter once: an event whose seq is not above the last one changes nothing.
 *
 * Input    seq, event, body: as in the protocol. For an adapter that does not number its messages, the caller numbers
 *          them from 1 in the order of arrival. secretNames: as in debug.open
 * Result   { applied, state, stopEpoch } after the event
 * Fails    not_found | conflict { reason: "run", currentRun } when the adapter was replaced | invalid_transition for
 *          stopped or continued before the debug session is configured, or after its end
 * Effect   the event becomes one of the last limits.debugEvents. initialized, stopped, continued, exited, terminated
 *          and breakpoint also change the debug session. One row of changes when the state changes or another stop
 *          begins; none for other events
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
  input: eventInput,
  output: Applied,
  errors: ["not_found", "conflict", "invalid_transition"],
  *run(input, context) {
    const before = yield* lockDebugSession(input.debugSessionId, input.adapterRun, context);
    const { state, stop_epoch: stopEpoch } = before;
    if (input.seq <= before.last_event) return { applied: 0, state, stopEpoch };
    const { op, ...transition } = yield* transitionOf(before, input, context);
    const changes = { ...transition, last_event: input.seq, next_position: before.next_position + 1 };
    const epoch = changes.stop_epoch ?? stopEpoch;
    const droppedUpTo = before.next_position - context.limits.debugEvents;
    yield* changeEach([
      sql`
        INSERT INTO debug_events (
          debug_session_id,
          position,
          adapter_run,
          seq,
          stop_epoch,
          at,
          event,
          body,
          cut
        ) VALUES (
          ${before.id},
          ${before.next_position},
          ${input.adapterRun},
          ${input.seq},
          ${epoch},
          ${context.now},
          ${input.event},
          ${input.body ?? null},
          ${input.cut}
        )`,
      sql`DELETE FROM debug_events WHERE debug_session_id = ${before.id} AND position <= ${droppedUpTo}`,
    ]);
    if (Object.keys(transition).length === 0) {
      yield* saveEventPosition(before.id, input.seq, context);
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

/** Writes the only columns that most events change, with a shorter statement than that of saveDebugSession. */
const saveEventPosition = step(function* (id: string, seq: number, { now, wake }: Context) {
  yield* change(sql`
    UPDATE debug_sessions SET
      last_event = ${seq},
      next_position = next_position + 1,
      revision = revision + 1,
      updated_at = ${now}
    WHERE id = ${id}`);
  wake(debugTopic(id));
});

/** Columns to change; with an `op`, the change appears in the change feed. */
type Transition = Partial<DebugSessionRow> & { readonly op?: string };

/** Returns the changes of the debug session that an event causes. Updates the breakpoints that the event concerns. */
const transitionOf = step(function* (before: DebugSessionRow, input: EventRow, context: Context): Body<Transition> {
  const { state, stop_epoch } = before;
  switch (input.event) {
    case "initialized":
      return state === "initializing" ? { state: "configuring", op: "configure" } : {};
    case "stopped": {
      requireConfigured(before);
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
      requireConfigured(before);
      return transitionOfContinued(before, input);
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

function requireConfigured(row: DebugSessionRow): void {
  requireOpenDebugSession(row);
  if (row.state === "initializing")
    invalidTransition("debug_session", row.state, `debug session ${row.id} is not configured yet`);
}

/** Returns the transition for `continued`. The debugger stays stopped while the thread that stopped it does. */
function transitionOfContinued(
  { state, stop_epoch, stop_thread_id }: DebugSessionRow,
  { threadId, allThreadsContinued }: EventRow,
): Transition {
  const onlyOthersContinue =
    allThreadsContinued === false && state === "stopped" && threadId !== undefined && threadId !== stop_thread_id;
  if (onlyOthersContinue) return { stop_epoch: stop_epoch + 1, op: "continue" };
  return {
    ...noStop,
    state: "running",
    stop_epoch: stop_epoch + 1,
    ...(state === "running" ? {} : { op: "continue" }),
  };
}

/** Counts a hit for each breakpoint that the adapter knows by one of these ids, and returns the ids of their rows. */
const countHits = step(function* ({ id }: DebugSessionRow, adapterIds: readonly number[], { now }: Context) {
  const hits: string[] = [];
  for (const adapterId of new Set(adapterIds)) {
    const rows = yield* all<{ id: string }>(sql`
      UPDATE debug_breakpoints SET
        hit_count = hit_count + 1,
        updated_at = ${now}
      WHERE debug_session_id = ${id} AND adapter_id = ${adapterId}
      RETURNING id`);
    hits.push(...rows.map((row) => row.id));
  }
  return hits;
});

/** Applies a `breakpoint` event: the adapter has moved, verified, removed or created a breakpoint by itself. */
const bindByAdapter = step(function* (
  before: DebugSessionRow,
  reason: string | undefined,
  breakpoint: NonNullable<EventRow["breakpoint"]>,
  { now }: Context,
) {
  const { id: debugSessionId, breakpoint_count } = before;
  const adapterId = breakpoint.adapterId ?? null;
  const known = yield* first<{ id: string }>(sql`
    SELECT id FROM debug_breakpoints WHERE debug_session_id = ${debugSessionId} AND adapter_id = ${adapterId} LIMIT 1`);
  if (known !== undefined) {
    const removed = reason === "removed";
    yield* change(sql`
      UPDATE debug_breakpoints SET
        adapter_id = ${removed ? null : adapterId},
        verified = ${removed ? false : breakpoint.verified},
        bound = ${removed ? null : breakpoint.bound},
        version = version + 1,
        updated_at = ${now}
      WHERE id = ${known.id}`);
    return {};
  }
  // The caller did not set this breakpoint; it comes, for example, from the debugger's own console. Without a source
  // and a line it could neither be shown nor be replaced by setBreakpoints.
  const { sourcePath, line } = breakpoint;
  if (reason !== "new" || sourcePath === undefined || line === undefined) return {};
  if (breakpoint_count >= bounds.debugBreakpoints) return {};
  const last = yield* first<{ position: number }>(sql`
    SELECT position FROM debug_breakpoints
    WHERE debug_session_id = ${debugSessionId} AND kind = 'source'
    ORDER BY position DESC LIMIT 1`);
  yield* change(sql`
    INSERT INTO debug_breakpoints (
      id,
      debug_session_id,
      kind,
      source_path,
      position,
      line,
      requested,
      adapter_id,
      verified,
      bound,
      created_at,
      updated_at
    ) VALUES (
      ${breakpoint.id},
      ${debugSessionId},
      'source',
      ${sourcePath},
      ${(last?.position ?? -1) + 1},
      ${line},
      ${breakpoint.requested},
      ${adapterId},
      ${breakpoint.verified},
      ${breakpoint.bound},
      ${now},
      ${now}
    )`);
  return { breakpoint_count: breakpoint_count + 1 };
});

/**
 * Stores the threads of a stopped debugger, with their frames, scopes and variables. It may be called once for each
 * thread, and again when more of a thread is known.
 *
 * Input    stopEpoch: the epoch of the stop that was inspected. threads: the most important first; at most 64
 *          threads, 50 frames in a thread, 10 scopes in a frame, 100 variables in a scope, and 128 KiB in all. Data
 *          beyond these bounds is left out, and counted in its place (omittedFrames, omittedScopes, omittedVariables,
 *          valueLength). secretNames: as in debug.open
 * Result   { stored }, the number of threads that were stored
 * Fails    not_found | conflict { reason: "epoch", currentEpoch } when that stop is over
 *          | conflict { reason: "run", currentRun }
 * Effect   one row of debug_stops for each thread, which replaces an earlier row of the same stop; the rows of the last
 *          limits.debugStopEpochs are kept. No row of changes
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
    const { state, stop_epoch } = before;
    if (state !== "stopped" || stopEpoch !== stop_epoch) {
      const current = `${state} at epoch ${stop_epoch}`;
      const message = `debug session ${before.id} is ${current}, not stopped at epoch ${stopEpoch}`;
      fail("conflict", { reason: "epoch", currentEpoch: stop_epoch, state }, message);
    }
    const droppedUpTo = stopEpoch - context.limits.debugStopEpochs;
    yield* changeEach([
      sql`DELETE FROM debug_stops WHERE debug_session_id = ${debugSessionId} AND stop_epoch <= ${droppedUpTo}`,
      ...threads.map(
        ({ threadId, name, frames, omittedFrames, cut }) => sql`
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
            ${context.now},
            ${frames},
            ${omittedFrames},
            ${cut}
          )
          ON CONFLICT (debug_session_id, stop_epoch, thread_id) DO UPDATE SET
            name = excluded.name,
            at = excluded.at,
            frames = excluded.frames,
            omitted_frames = excluded.omitted_frames,
            cut = excluded.cut`,
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
 *          reason: why the debug session ended. secretNames: as in debug.open
 * Fails    not_found | conflict { reason: "epoch", currentEpoch } | conflict { reason: "state", currentState } |
 *          conflict { reason: "version", currentVersion } | conflict { reason: "run", currentRun } | invalid_transition
 * Effect   one row of changes, unless nothing changed. Going from stopped to running raises stopEpoch, as a continued
 *          event does
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
    if (input.expectedEpoch !== stop_epoch) {
      const message = `debug session ${before.id} is at epoch ${stop_epoch}, not ${input.expectedEpoch}`;
      fail("conflict", { reason: "epoch", currentEpoch: stop_epoch }, message);
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
    if (isEnded(to))
      return yield* saveDebugSession(before, { ...endChanges(to, input.reason, context), ...data }, context, "end");
    const continues = state === "stopped" && to === "running";
    const changes = { ...noStop, ...data, state: to, stop_epoch: continues ? stop_epoch + 1 : stop_epoch };
    return yield* saveDebugSession(before, changes, context, continues ? "continue" : "patch");
  },
});
