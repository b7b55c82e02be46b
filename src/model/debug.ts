// Debug session: one debugger attached inside a session, in the terms of the Debug Adapter Protocol.
//
//   initializing -> configuring -> running <-> stopped
//   any open -> terminated | error
//   with a restart of its adapter, anything -> initializing, under the next adapterRun
//
// Every `stopped` and `continued` event raises stopEpoch. Frames and variables belong to the epoch of their stop and
// are stale in the next.
import { z } from "zod";
import { bounds } from "../limits.ts";
import { present } from "../present.ts";
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
import { capBody, capBreakpoint, storable } from "./debugCaps.ts";
import {
  type Breakpoint,
  type BreakpointKind,
  breakpointKinds,
  eventBodies,
  isKnownEvent,
  type RequestedBreakpoint,
  type StackFrame,
} from "./debugProtocol.ts";
import { filledText, Id, Json, NewId } from "./fields.ts";
import { newId } from "./ids.ts";
import { type Masking, SecretNames } from "./masking.ts";
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

export const AdapterRun = z.int().positive();
const ThreadId = z.int();
export const StopEpoch = z.int().min(0);

/** Any plain data from the caller; secrets in it are masked. */
export const Payload = z.record(z.string(), z.unknown());

export const debugFields = {
  id: NewId,
  sessionId: Id,
  commandId: Id.optional(),
  /** The name of the debug session, unique in its session. */
  name: filledText(200),
  /** The kind of debug adapter, such as node, lldb or debugpy. */
  adapter: filledText(200),
  request: z.enum(["launch", "attach"]).default("launch"),
  restartRun: AdapterRun.optional(),
};

/**
 * The fields of a Debug Adapter Protocol event. For an adapter that does not number its messages, the client counts
 * them from 1.
 */
export const eventFields = {
  debugSessionId: Id,
  adapterRun: AdapterRun,
  seq: z.int().positive(),
  event: filledText(100),
};

export const EventInput = z
  .strictObject({ ...eventFields, body: Payload.optional(), secretNames: SecretNames })
  .superRefine(({ event, body }, context) => {
    if (!isKnownEvent(event)) return;
    const { error } = (eventBodies[event] as z.ZodType).safeParse(body);
    for (const { path, message } of error?.issues ?? [])
      context.addIssue({ code: "custom", path: ["body", ...path], message });
  });

const BoundFields = { adapterId: z.int().optional(), verified: z.boolean(), bound: Json };

/** The changes that an event makes in addition to being stored. */
export const eventEffects = {
  body: Json.optional(),
  cut: z.boolean(),
  reason: filledText(bounds.debugTextLength).optional(),
  description: filledText(bounds.debugTextLength).optional(),
  threadId: ThreadId.optional(),
  allThreadsContinued: z.boolean().optional(),
  hitBreakpointIds: z.array(z.int()).max(bounds.debugBreakpoints).optional(),
  exitCode: z.int().optional(),
  breakpoint: z
    .strictObject({
      id: Id,
      ...BoundFields,
      sourcePath: filledText(4_096).optional(),
      line: z.int().min(0).optional(),
      requested: Json,
    })
    .optional(),
};
type EventEffects = z.input<z.ZodObject<typeof eventEffects>>;

/** Returns the body of an event as it is stored, and the changes that the event makes. */
export function effectsOf({ event, body }: z.output<typeof EventInput>, masking: Masking): EventEffects {
  const stored = present(capBody(body, masking));
  const capText = (text: string) => masking.text(storable(text)).slice(0, bounds.debugTextLength);
  if (event === "stopped") {
    const { reason, description, text, threadId, hitBreakpointIds } = eventBodies.stopped.parse(body);
    const fullDescription = capText([description, text].filter((part) => part !== undefined && part !== "").join(": "));
    return {
      ...stored,
      reason: capText(reason) || "unknown",
      ...present({ description: fullDescription || undefined, threadId, hitBreakpointIds }),
    };
  }
  if (event === "continued") {
    const { threadId, allThreadsContinued } = eventBodies.continued.parse(body);
    return { ...stored, ...present({ threadId, allThreadsContinued }) };
  }
  if (event === "exited") return { ...stored, exitCode: eventBodies.exited.parse(body).exitCode };
  if (event !== "breakpoint") return stored;
  const { reason, breakpoint } = eventBodies.breakpoint.parse(body);
  const { source, line, column } = breakpoint;
  const place =
    source?.path && line !== undefined && line >= 0 ? { sourcePath: storable(source.path, 4_096), line } : {};
  const requested = { line: line ?? 0, ...present({ column }) };
  return {
    ...stored,
    reason: capText(reason) || "unknown",
    breakpoint: { id: newId(), ...boundOf(breakpoint, masking), ...place, requested },
  };
}

/** Returns a breakpoint as the adapter bound it, bounded and masked, with the parts that have columns of their own. */
export function boundOf(breakpoint: Breakpoint, masking: Masking) {
  const bound = capBreakpoint(breakpoint, masking);
  return { ...present({ adapterId: bound.id }), verified: bound.verified, bound };
}

/** A breakpoint to set, as it is sent to the store. The id is used if the breakpoint is new. */
export const SetInput = z.strictObject({ id: Id, line: z.int().min(0).optional(), requested: Json });
export const BoundInput = z.strictObject({ breakpointId: Id, ...BoundFields });

export const StoredThreadInput = z.strictObject({
  threadId: ThreadId,
  name: z.string().max(bounds.debugTextLength * 2),
  frames: Json,
  omittedFrames: z.int().min(0),
  cut: z.boolean(),
});

/** Returns the kind of a breakpoint. Each kind has a field that no other kind has. */
export function kindOf(requested: RequestedBreakpoint): BreakpointKind {
  if ("line" in requested) return "source";
  if ("name" in requested) return "function";
  if ("dataId" in requested) return "data";
  return "instructionReference" in requested ? "instruction" : "exception";
}
