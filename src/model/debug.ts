// Debug session: one debugger attached inside a session, in the terms of the Debug Adapter Protocol.
//
//   initializing -> configuring -> running <-> stopped
//   any open -> terminated | error
//   with a restart of its adapter, anything -> initializing, under the next adapterRun
//
// Every `stopped` and `continued` event raises stopEpoch. A debug session is stopped while any of its threads is. Each
// thread is at the epoch of its own stop, to which its frames and variables belong.
import {
  boolean,
  integer,
  json,
  list,
  nullable,
  oneOf,
  type RawOf,
  record,
  row,
  text,
  time,
  type ValueOf,
} from "./codec.ts";
import { stamps } from "./common.ts";
import { type Breakpoint, breakpointKinds, type RequestedBreakpoint, type StackFrame } from "./debugProtocol.ts";
import { type DebugState, debugStates } from "./vocabulary.ts";

export function isEnded(state: DebugState): boolean {
  return state === "terminated" || state === "error";
}

export const DebugSession = row({
  id: text,
  sessionId: text,
  commandId: nullable(text),
  name: text,
  adapter: text,
  request: oneOf(["launch", "attach"]),
  state: oneOf(debugStates),
  capabilities: nullable(json<Record<string, unknown>>()),
  payload: nullable(json()),
  /**
   * The number of the adapter's run; every start raises it. Reports carry it, so that a replaced adapter cannot change
   * anything.
   */
  adapterRun: integer,
  stopEpoch: integer,
  /** Why the thread in focus has stopped; of several that are stopped it is the last one, unless the adapter differs. */
  stopReason: nullable(text),
  stopDescription: nullable(text),
  stopThreadId: nullable(integer),
  /** The ids of the stored breakpoints that the thread in focus has hit. */
  hitBreakpointIds: nullable(json<string[]>()),
  /** The ids of frames whose data are stale, where the adapter has named frames. */
  staleFrameIds: nullable(json<number[]>()),
  /** The body of the last event `process`. */
  process: nullable(json<Record<string, unknown>>()),
  /** The number of events by name, also of those that are no longer kept. */
  eventCounts: nullable(json<Record<string, number>>()),
  /** The highest `seq` of the events of this run of the adapter. */
  lastEvent: integer,
  /** The position that the next event will get. */
  nextPosition: integer,
  breakpointCount: integer,
  /** The revision; every write to this debug session raises it. */
  revision: integer,
  exitCode: nullable(integer),
  endReason: nullable(text),
  endedAt: nullable(time),
  /** The time from which no event is expected any more. An adapter that has ended may still report an exit code. */
  closedAt: nullable(time),
  ...stamps,
});
export type DebugSession = ValueOf<typeof DebugSession>;
/**
 * The row, with what is known of the threads that have no row: the stop at which they are, since when, and by which event;
 * and with the end of the lease that its bridge has taken, if it has taken one.
 */
export type DebugSessionRow = RawOf<typeof DebugSession> & {
  readonly others_stop_epoch: number | null;
  readonly others_changed_epoch: number;
  readonly others_last_event: number;
  readonly bridge_expires_at: number | null;
};

export const DebugBreakpoint = row({
  id: text,
  debugSessionId: text,
  kind: oneOf(breakpointKinds),
  /** The maker: a client with setBreakpoints, or the adapter by itself, as for a command in its console. */
  origin: oneOf(["client", "adapter"]),
  sourcePath: nullable(text),
  /** The position among the breakpoints that were set together. */
  position: integer,
  line: nullable(integer),
  requested: json<RequestedBreakpoint>(),
  adapterId: nullable(integer),
  verified: boolean,
  /** The breakpoint as the adapter bound it, for example on another line; null until the adapter has reported it. */
  bound: nullable(json<Breakpoint>()),
  hitCount: integer,
  ...stamps,
});
export type DebugBreakpoint = ValueOf<typeof DebugBreakpoint>;
/** The row, with the position of the last event when the breakpoint was set, or was reported by an event. */
export type DebugBreakpointRow = RawOf<typeof DebugBreakpoint> & { readonly as_of: number };

/** A report about a breakpoint that the answer of the adapter has not bound yet. */
export interface EarlyReportRow {
  readonly adapter_id: number;
  readonly position: number;
  readonly removed: number;
  readonly bound: string | null;
  readonly hit_count: number;
}

export const DebugEvent = row({
  position: integer,
  adapterRun: integer,
  seq: integer,
  /** The stop epoch after the event. */
  stopEpoch: integer,
  at: time,
  event: text,
  body: nullable(json<Record<string, unknown>>()),
  cut: boolean,
});
export type DebugEvent = ValueOf<typeof DebugEvent>;
export type DebugEventRow = RawOf<typeof DebugEvent>;

/** A thread of the process, without its frames. */
const DebugThread = row({
  threadId: integer,
  name: text,
  stopEpoch: nullable(integer),
  changedEpoch: integer,
  lastEvent: integer,
  stopReason: nullable(text),
  stopDescription: nullable(text),
  hitBreakpointIds: nullable(json<string[]>()),
  awaitsPlace: boolean,
  staleAreas: nullable(json<string[]>()),
});
export type DebugThreadRow = RawOf<typeof DebugThread>;

/** A thread that is stopped, or was at an earlier stop. */
export const StoppedThread = row({
  /** The epoch of the stop at which the thread is. */
  stopEpoch: integer,
  threadId: integer,
  name: text,
  /** Why the thread has stopped; null if it stopped because another one did, and at an earlier stop. */
  stopReason: nullable(text),
  stopDescription: nullable(text),
  /** The ids of the stored breakpoints that the thread has hit. */
  hitBreakpointIds: nullable(json<string[]>()),
  /** The areas that the adapter has declared stale since they were stored: "threads", "stacks" or "variables". */
  staleAreas: nullable(json<string[]>()),
  /** The time at which the frames were stored; null until then. */
  at: nullable(time),
  frames: json<StackFrame[]>(),
  omittedFrames: integer,
  cut: boolean,
});
export type StoppedThread = ValueOf<typeof StoppedThread>;
export type StoppedThreadRow = RawOf<typeof StoppedThread>;

const RunningThread = row({ threadId: integer, name: text });

/** Everything about a debug session, read at one moment. */
export const DebugView = record({
  debugSession: DebugSession,
  breakpoints: list(DebugBreakpoint),
  /** The threads that are stopped. */
  threads: list(StoppedThread),
  /** The threads that run, as far as they are known. */
  runningThreads: list(RunningThread),
  /** The epochs of the stops that still have stored threads. */
  stopEpochs: list(integer),
  events: list(DebugEvent),
  lastOutput: nullable(DebugEvent),
});
export type DebugView = ValueOf<typeof DebugView>;

export const DebugEventPage = record({ events: list(DebugEvent), nextPosition: integer, ended: boolean });
export const Applied = record({ applied: boolean, state: oneOf(debugStates), stopEpoch: integer });
