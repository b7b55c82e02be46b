// The inputs of the operations of debug sessions, as callers pass them and as they are sent. Between the two, on the
// caller's thread, data from the debugger is bounded and masked.
import { z } from "zod";
import { bounds } from "../limits.ts";
import { present } from "../present.ts";
import { capBody, capBreakpoint, storable } from "./debugCaps.ts";
import {
  type Breakpoint,
  type BreakpointKind,
  eventBodies,
  isKnownEvent,
  type RequestedBreakpoint,
} from "./debugProtocol.ts";
import { filledText, Id, Json, NewId, Payload } from "./fields.ts";
import { newId } from "./ids.ts";
import type { Masking } from "./masking.ts";
import { SecretNames } from "./secretNames.ts";

export const AdapterRun = z.int().positive();
export const ThreadId = z.int();
export const StopEpoch = z.int().min(0);

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

/** The fields of a Debug Adapter Protocol event. An adapter that does not number its messages has the number 0. */
export const eventFields = {
  debugSessionId: Id,
  adapterRun: AdapterRun,
  seq: z.int().min(0),
  event: filledText(100),
};

/** An event as the caller passes it. A body that changes stored state must have the protocol's form. */
export const EventInput = z
  .strictObject({ ...eventFields, body: Payload.optional(), secretNames: SecretNames })
  .superRefine(({ event, body }, context) => {
    if (!isKnownEvent(event)) return;
    const { error } = (eventBodies[event] as z.ZodType).safeParse(body);
    for (const { path, message } of error?.issues ?? [])
      context.addIssue({ code: "custom", path: ["body", ...path], message });
  });

const BoundFields = { adapterId: z.int().optional(), verified: z.boolean(), bound: Json };

/** The part of an event that `effectsOf` adds: its body as it is stored, and the changes that the event makes. */
export const eventEffects = {
  body: Json.optional(),
  cut: z.boolean(),
  reason: filledText(bounds.debugTextLength).optional(),
  description: filledText(bounds.debugTextLength).optional(),
  threadId: ThreadId.optional(),
  /** True when the event is about all threads, by the defaults of the protocol. */
  all: z.boolean().optional(),
  keepsFocus: z.boolean().optional(),
  hitBreakpointIds: z.array(z.int()).max(bounds.debugBreakpoints).optional(),
  exitCode: z.int().optional(),
  areas: z.array(filledText(bounds.debugTextLength)).max(20).optional(),
  frameId: z.int().optional(),
  capabilities: Json.optional(),
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
  const capText = (text: string) => capped(text, masking);
  switch (event) {
    case "stopped": {
      const { reason, description, text, threadId, hitBreakpointIds, ...hints } = eventBodies.stopped.parse(body);
      const parts = [description, text].filter((part) => part !== undefined && part !== "");
      return {
        ...stored,
        reason: capText(reason) || "unknown",
        ...present({
          description: capText(parts.join(": ")) || undefined,
          threadId,
          hitBreakpointIds,
          all: hints.allThreadsStopped,
          keepsFocus: hints.preserveFocusHint,
        }),
      };
    }
    case "continued": {
      const { threadId, allThreadsContinued } = eventBodies.continued.parse(body);
      return { ...stored, ...present({ threadId, all: allThreadsContinued ?? true }) };
    }
    case "thread": {
      const { reason, threadId } = eventBodies.thread.parse(body);
      return { ...stored, reason: capText(reason) || "unknown", threadId };
    }
    case "exited":
      return { ...stored, ...present({ exitCode: eventBodies.exited.parse(body)?.exitCode ?? undefined }) };
    case "invalidated": {
      const { areas = [], threadId, stackFrameId } = eventBodies.invalidated.parse(body) ?? {};
      const named = areas.filter((area) => area !== "").slice(0, 20);
      return { ...stored, areas: named.map(capText), ...present({ threadId, frameId: stackFrameId }) };
    }
    case "capabilities": {
      const { capabilities } = eventBodies.capabilities.parse(body);
      return { ...stored, capabilities: masking.data(capabilities) };
    }
    case "breakpoint":
      return { ...stored, ...breakpointEffects(eventBodies.breakpoint.parse(body), masking) };
    default:
      return stored;
  }
}

function capped(text: string, masking: Masking): string {
  return masking.text(storable(text)).slice(0, bounds.debugTextLength);
}

function breakpointEffects(
  { reason, breakpoint }: z.output<typeof eventBodies.breakpoint>,
  masking: Masking,
): Pick<EventEffects, "reason" | "breakpoint"> {
  const { source, line, column } = breakpoint;
  const place =
    source?.path && line !== undefined && line >= 0 ? { sourcePath: storable(source.path, 4_096), line } : {};
  const requested = { line: line ?? 0, ...present({ column }) };
  return {
    reason: capped(reason, masking) || "unknown",
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
/** A breakpoint as the adapter bound it, as it is sent to the store. */
export const BoundInput = z.strictObject({ breakpointId: Id, ...BoundFields });

/** A thread with its frames at a stop, as it is sent to the store. */
export const StoredThreadInput = z.strictObject({
  threadId: ThreadId,
  name: z.string().max(bounds.debugTextLength * 2),
  frames: Json,
  /** The ids of the frames, and the place of the first one. */
  frameIds: z.array(z.int()).max(bounds.debugFrames),
  sourcePath: filledText(4_096).optional(),
  line: z.int().optional(),
  omittedFrames: z.int().min(0),
  cut: z.boolean(),
});

/** Returns a value without its undefined fields, and with the others in one order, so that equal values are equal as text. */
export function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (typeof value !== "object" || value === null) return value;
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return Object.fromEntries(
    fields.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([name, field]) => [name, canonical(field)]),
  );
}

/**
 * Returns the key under which stored breakpoints are the same request. Rows of earlier versions have their fields in the
 * order of their client, and notes about those that were undefined.
 */
export function requestKey(stored: string): string {
  const { json, meta } = JSON.parse(stored) as { json: object; meta?: { values: object } };
  const absent = Object.keys(meta?.values ?? {});
  return JSON.stringify(canonical(Object.fromEntries(Object.entries(json).filter(([name]) => !absent.includes(name)))));
}

/** Returns the kind of a breakpoint. Each kind has a field that no other kind has. */
export function kindOf(requested: RequestedBreakpoint): BreakpointKind {
  if ("line" in requested) return "source";
  if ("name" in requested) return "function";
  if ("dataId" in requested) return "data";
  return "instructionReference" in requested ? "instruction" : "exception";
}
