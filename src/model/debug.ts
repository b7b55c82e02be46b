// Debug session: one debugger attached inside a session, in the terms of the Debug Adapter Protocol.
//
//   initializing -> configuring -> running <-> stopped
//   any open -> terminated | error
//   with a restart of its adapter, anything -> initializing, under the next adapterRun
//
// Every `stopped` and `continued` event raises stopEpoch. Frames and variables belong to the epoch of their stop and
// are stale in the next.
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
  stopReason: nullable(text),
  stopDescription: nullable(text),
  stopThreadId: nullable(integer),
  /** The ids of the stored breakpoints that were hit at the last stop. */
  hitBreakpointIds: nullable(json<string[]>()),
  /** The `seq` of the last event that was applied. */
  lastEvent: integer,
  /** The position that the next event will get. */
  nextPosition: integer,
  breakpointCount: integer,
  /** The revision; every write to this debug session raises it. */
  revision: integer,
  exitCode: nullable(integer),
  endReason: nullable(text),
  endedAt: nullable(time),
  ...stamps,
});
export type DebugSession = ValueOf<typeof DebugSession>;
export type DebugSessionRow = RawOf<typeof DebugSession>;

export const DebugBreakpoint = row({
  id: text,
  debugSessionId: text,
  kind: oneOf(breakpointKinds),
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
export type DebugBreakpointRow = RawOf<typeof DebugBreakpoint>;

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

/** A thread as it was at a stop. */
export const StoppedThread = row({
  stopEpoch: integer,
  threadId: integer,
  name: text,
  at: time,
  frames: json<StackFrame[]>(),
  omittedFrames: integer,
  cut: boolean,
});
export type StoppedThread = ValueOf<typeof StoppedThread>;
export type StoppedThreadRow = RawOf<typeof StoppedThread>;

/** Everything about a debug session, read at one moment. */
export const DebugView = record({
  debugSession: DebugSession,
  breakpoints: list(DebugBreakpoint),
  threads: list(StoppedThread),
  /** The epochs of the stops that still have stored threads. */
  stopEpochs: list(integer),
  events: list(DebugEvent),
  lastOutput: nullable(DebugEvent),
});
export type DebugView = ValueOf<typeof DebugView>;

export const DebugEventPage = record({ events: list(DebugEvent), nextPosition: integer, ended: boolean });
export const Applied = record({ applied: boolean, state: oneOf(debugStates), stopEpoch: integer });
