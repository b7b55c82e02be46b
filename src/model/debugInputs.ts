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
const ThreadId = z.int();
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
/** A breakpoint as the adapter bound it, as it is sent to the store. */
export const BoundInput = z.strictObject({ breakpointId: Id, ...BoundFields });

/** A thread with its frames at a stop, as it is sent to the store. */
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
