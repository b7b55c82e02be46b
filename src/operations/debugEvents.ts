// The events of a debug adapter. Only an event stops a thread. It raises stopEpoch, so that data of an earlier stop is never
// mistaken for data of a later one.
//
// An event is recorded in the order of its arrival, and takes effect in that of its number: one that arrives late changes
// nothing that a later one has changed. Rules cite https://microsoft.github.io/debug-adapter-protocol/specification.
import { z } from "zod";
import type { Context } from "../context.ts";
import { bounds } from "../limits.ts";
import { Applied, type DebugSessionRow, isEnded } from "../model/debug.ts";
import { countedEvents, mergedCapabilities } from "../model/debugEvents.ts";
import { EventInput, effectsOf, eventEffects, eventFields } from "../model/debugInputs.ts";
import {
  continueThreads,
  endThreads,
  isStopped,
  staleThreads,
  startThread,
  stopThreads,
  type Threads,
} from "../model/debugThreads.ts";
import { maskingOf } from "../model/masking.ts";
import { sealedOperation } from "../operation.ts";
import { type Body, change, changeEach, first, sql, step } from "../sql.ts";
import { bindByAdapter, countHits } from "./debugBindings.ts";
import { endRequestsOfThread } from "./debugRequestState.ts";
import { endDebugging, lockDebugSession, noStop, saveDebugSession } from "./debugState.ts";
import { focusOf, readThreads, saveThreads } from "./debugThreads.ts";
import { debugTopic } from "./topics.ts";

const eventInput = z.strictObject({ ...eventFields, ...eventEffects });
type EventRow = z.output<typeof eventInput>;

/**
 * Applies an event of the adapter once: an event with a number that was applied already changes nothing.
 *
 * Input    seq, event, body: as in the protocol. seq 0 is that of an adapter which does not number its messages: such
 *          events are applied in the order of arrival, and each time that they are sent. secretNames: as in debug.open
 * Result   { applied, state, stopEpoch } after the event
 * Fails    not_found | conflict { reason: "run", currentRun } when the adapter was replaced
 * Effect   the event becomes one of the last limits.debugEvents, whatever its name is, and is counted by its name.
 *          initialized, stopped, continued, thread, exited, terminated, invalidated, capabilities, process and breakpoint
 *          also change the debug session. An event may come up to limits.debugEvents numbers late; what a later one has
 *          changed stays. After the end, only an exit code is taken in. One row of changes when the state changes,
 *          another stop begins or one of several threads goes on; none for other events
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
  errors: ["not_found", "conflict"],
  *run(input, context) {
    const before = yield* lockDebugSession(input.debugSessionId, input.adapterRun, context);
    const { state, stop_epoch: stopEpoch } = before;
    if (yield* wasApplied(before, input, context)) return { applied: 0, state, stopEpoch };
    const { op, detail, ...transition } = yield* transitionOf(before, input, context);
    const changes = {
      ...transition,
      last_event: Math.max(before.last_event, input.seq),
      next_position: before.next_position + 1,
      event_counts: countedEvents(before.event_counts, input.event),
    };
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
      yield* saveEvent(before.id, changes, context);
      return { applied: 1, state, stopEpoch };
    }
    const after = yield* saveDebugSession(before, changes, context, op, detail);
    return { applied: 1, state: after.state, stopEpoch: after.stop_epoch };
  },
});

/**
 * Checks whether an event was applied before. The numbers of an adapter begin with 1 and grow (section Base Protocol,
 * ProtocolMessage), but calls may overtake each other on their way, so a lower one is looked up. One that is older than
 * all that is kept is taken for a repetition.
 */
const wasApplied = step(function* (
  { id, last_event }: DebugSessionRow,
  { seq, adapterRun }: EventRow,
  { limits }: Context,
) {
  if (seq === 0 || seq > last_event) return false;
  if (seq <= last_event - limits.debugEvents) return true;
  const known = yield* first(sql`
    SELECT 1 FROM debug_events
    WHERE debug_session_id = ${id} AND adapter_run = ${adapterRun} AND seq = ${seq} LIMIT 1`);
  return known !== undefined;
});

/** Writes the only columns that most events change, with a shorter statement than that of saveDebugSession. */
const saveEvent = step(function* (
  id: string,
  { last_event, event_counts }: Pick<DebugSessionRow, "last_event" | "event_counts">,
  { now, wake }: Context,
) {
  yield* change(sql`
    UPDATE debug_sessions SET
      last_event = ${last_event},
      event_counts = ${event_counts},
      next_position = next_position + 1,
      revision = revision + 1,
      updated_at = ${now}
    WHERE id = ${id}`);
  wake(debugTopic(id));
});

/** Columns to change; with an `op`, the change appears in the change feed. */
type Transition = Partial<DebugSessionRow> & { readonly op?: string; readonly detail?: object };

/** Returns the changes of the debug session that an event causes. Updates the rows that the event concerns. */
const transitionOf = step(function* (before: DebugSessionRow, input: EventRow, context: Context): Body<Transition> {
  const { state, stop_epoch: epoch } = before;
  const { seq, threadId } = input;
  // The end of debugging need not be the end of the program, which may still report its exit code (section Events,
  // Terminated).
  if (isEnded(state)) return input.event === "exited" ? exitCodeOf(input) : {};
  switch (input.event) {
    case "initialized":
      return state === "initializing" ? { state: "configuring", op: "configure" } : {};
    case "stopped":
      return yield* transitionOfStop(before, input, context);
    case "continued": {
      const when = { seq, epoch: epoch + 1 };
      const isAlone = input.all === false && threadId !== undefined;
      const detail = isAlone ? { threadId } : {};
      return yield* moveThreads(
        before,
        (threads) => continueThreads(threads, when, threadId, !isAlone),
        epoch + 1,
        detail,
      );
    }
    case "thread": {
      if (threadId === undefined) return {};
      const when = { seq, epoch };
      if (input.reason === "started")
        return yield* moveThreads(before, (threads) => startThread(threads, when, threadId), epoch);
      if (input.reason !== "exited") return {};
      const moved = yield* moveThreads(before, (threads) => endThreads(threads, when, threadId), epoch);
      yield* endRequestsOfThread({ ...before, next_position: before.next_position + 1 }, threadId, context);
      return moved;
    }
    case "exited": {
      const moved = yield* moveThreads(before, (threads) => endThreads(threads, { seq, epoch }, undefined), epoch);
      return { ...moved, ...exitCodeOf(input) };
    }
    case "terminated":
      return { ...(yield* endDebugging(before, "terminated", undefined, context)), op: "end" };
    case "invalidated":
      return yield* transitionOfInvalidated(before, input);
    case "capabilities":
      return { capabilities: mergedCapabilities(before.capabilities, input.capabilities), op: "update" };
    case "process":
      return { process: input.body ?? null };
    case "breakpoint":
      return input.breakpoint === undefined
        ? {}
        : yield* bindByAdapter(before, input.reason, input.breakpoint, context);
    default:
      return {};
  }
});

/** Returns the exit code that an adapter reports. It may report an exit without one, as of a program that was killed. */
function exitCodeOf({ exitCode }: EventRow): Transition {
  return exitCode === undefined ? {} : { exit_code: exitCode };
}

/**
 * Applies a rule of the protocol to the threads. When none is stopped any more, the debug session runs, from the next
 * epoch on: the stop is over.
 */
const moveThreads = step(function* (
  before: DebugSessionRow,
  rule: (threads: Threads) => Threads,
  epoch: number,
  detail: object = {},
): Body<Transition> {
  const threads = yield* readThreads(before);
  const after = rule(threads);
  const columns = yield* saveThreads(before, threads, after);
  if (columns === undefined) return {};
  const { state, stop_epoch } = before;
  const goesOn = epoch > stop_epoch;
  if (isStopped(after)) {
    const focus = { ...before, ...focusOf(before, after) };
    const { stop_reason, stop_description, stop_thread_id, hit_breakpoint_ids } = focus;
    const shown = { stop_reason, stop_description, stop_thread_id, hit_breakpoint_ids };
    const op = goesOn ? "continue" : stop_thread_id === before.stop_thread_id ? undefined : "update";
    return { ...columns, ...shown, stop_epoch: epoch, ...(op === undefined ? {} : { op, detail }) };
  }
  if (state === "stopped")
    return { ...columns, ...noStop, state: "running", stop_epoch: stop_epoch + 1, op: "continue", detail };
  if (!goesOn) return columns;
  return { ...columns, stop_epoch: epoch, ...(state === "configuring" ? { state: "running", op: "continue" } : {}) };
});

const transitionOfStop = step(function* (before: DebugSessionRow, input: EventRow, context: Context): Body<Transition> {
  const { seq, threadId, reason = "unknown", description = null } = input;
  const epoch = before.stop_epoch + 1;
  const threads = yield* readThreads(before);
  // A stop of no thread by name is one of all threads.
  const isOfAll = input.all === true || threadId === undefined;
  const ids = input.hitBreakpointIds ?? [];
  const cause = {
    stop_reason: reason,
    stop_description: description,
    hit_breakpoint_ids: null,
    awaits_place: Number(reason === "breakpoint" && ids.length === 0),
  };
  const stop = (hits: string | null) =>
    stopThreads(threads, { seq, epoch }, threadId, isOfAll, { ...cause, hit_breakpoint_ids: hits });
  // A breakpoint was hit also if the thread has left it since.
  const hits = yield* countHits(before, ids, context);
  const isLate =
    stop(null).rows.every((row, index) => row === threads.rows[index]) && stop(null).others === threads.others;
  if (isLate) return {};
  const named = hits.length === 0 ? null : JSON.stringify({ json: hits.slice(0, bounds.debugHits) });
  const after = stop(named);
  const columns = yield* saveThreads(before, threads, after);
  // With preserveFocusHint, the thread that is looked at stays the same (section Events, Stopped).
  const staysInFocus = input.keepsFocus === true && before.state === "stopped" && before.stop_thread_id !== null;
  const focus =
    threadId === undefined
      ? { stop_reason: reason, stop_description: description, stop_thread_id: null, hit_breakpoint_ids: named }
      : focusOf(staysInFocus ? before : { ...before, stop_thread_id: threadId }, after);
  return { ...columns, ...focus, state: "stopped", stop_epoch: epoch, op: "stop", detail: { reason } };
});

/** Marks what has become stale (section Events, Invalidated): data of one frame, of one thread, or of all threads. */
const transitionOfInvalidated = step(function* (before: DebugSessionRow, input: EventRow): Body<Transition> {
  const { areas = [], threadId, frameId } = input;
  if (frameId !== undefined) {
    const known: number[] = before.stale_frame_ids === null ? [] : JSON.parse(before.stale_frame_ids).json;
    const ids = [...new Set([...known, frameId])];
    if (ids.length <= bounds.debugStaleFrames) return { stale_frame_ids: JSON.stringify({ json: ids }) };
  }
  // Beyond the frames that are marked one by one, the data of all frames is declared stale.
  const isFrame = frameId !== undefined;
  const threads = yield* readThreads(before);
  const after = staleThreads(threads, isFrame ? undefined : threadId, isFrame ? ["variables"] : areas);
  return (yield* saveThreads(before, threads, after)) ?? {};
});
