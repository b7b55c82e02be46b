// Request: one question of a client to a debugger, in the terms of the Debug Adapter Protocol, and its answer.
//
//   queued -> taken -> answered
//   queued | taken -> failed | expired | cancelled
//
// The bridge that holds the adapter takes requests in their order and answers each once. A request that is taken is never
// handed out again, so none runs twice.
import { z } from "zod";
import { bounds } from "../limits.ts";
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
import { dependsOnStop, insteadOf } from "./debugCommands.ts";
import { filledText, Id, Json, NewId } from "./fields.ts";
import { formatJson } from "./json.ts";
import { messageOf } from "./realms.ts";
import { SecretNames } from "./secretNames.ts";
import { debugEntryKinds, debugRequestStates } from "./vocabulary.ts";

export const DebugRequest = row({
  id: text,
  debugSessionId: text,
  /** The position of the request in the history, which is also its place in the queue. */
  position: integer,
  adapterRun: integer,
  state: oneOf(debugRequestStates),
  command: text,
  /** The arguments without secrets. */
  arguments: nullable(json<Record<string, unknown>>()),
  /** The epoch of the stop on which the request depends. */
  stopEpoch: nullable(integer),
  threadId: nullable(integer),
  requestedBy: nullable(text),
  /** False when the adapter has refused the request; then `message` says why. Null until it has answered. */
  success: nullable(boolean),
  body: nullable(json()),
  message: nullable(text),
  /** True when a part of the body was left out. */
  cut: boolean,
  /** The reason why the request has failed or was cancelled. */
  reason: nullable(text),
  createdAt: time,
  expiresAt: time,
  takenAt: nullable(time),
  endedAt: nullable(time),
});
export type DebugRequest = ValueOf<typeof DebugRequest>;

/** The row of a request, with the columns that no caller sees. */
export type DebugRequestRow = RawOf<typeof DebugRequest> & { readonly cancel_due: number };

/** A request as its bridge gets it, with the arguments as they were asked. */
export const TakenRequest = row({
  id: text,
  command: text,
  arguments: nullable(json<Record<string, unknown>>()),
  stopEpoch: nullable(integer),
  threadId: nullable(integer),
  requestedBy: nullable(text),
  expiresAt: time,
});
export type TakenRequest = ValueOf<typeof TakenRequest>;

export const TakenRequests = record({
  requests: list(TakenRequest),
  /** The ids of requests that were taken before, and for whose answers nobody waits any more. */
  cancelled: list(text),
});

/** An entry of the history of a debug session. */
export const DebugEntry = row({
  position: integer,
  at: time,
  kind: oneOf(debugEntryKinds),
  /** The caller who set, asked or answered it, if the caller has a name. */
  actor: nullable(text),
  adapterRun: integer,
  /** The stop epoch after the entry. */
  stopEpoch: integer,
  /** The position of the first event after the entry. */
  eventPosition: integer,
  requestId: nullable(text),
  command: nullable(text),
  /** The arguments of a request, without secrets, in the entry in which it is asked. */
  arguments: nullable(json<Record<string, unknown>>()),
  success: nullable(boolean),
  body: nullable(json()),
  message: nullable(text),
  reason: nullable(text),
  /** The content of other entries: the breakpoints that were set, or the state. */
  detail: nullable(json<Record<string, unknown>>()),
});
export type DebugEntry = ValueOf<typeof DebugEntry>;
export type DebugEntryRow = RawOf<typeof DebugEntry>;

export const DebugEntryPage = record({ entries: list(DebugEntry), nextPosition: integer });

/** The arguments of a request or the body of an answer, as they are sent. */
const Arguments = z.record(z.string(), z.unknown());

/** The time for which a request may be open, in milliseconds. */
export const RequestTimeoutMs = z.int().min(1).max(600_000).default(30_000);

const requestFields = {
  id: NewId,
  debugSessionId: Id,
  command: filledText(100),
  stopEpoch: z.int().min(1).optional(),
  threadId: z.int().optional(),
  timeoutMs: RequestTimeoutMs,
  wait: z.boolean().default(true),
  requestedBy: filledText(bounds.callerLength).optional(),
};

/** The arguments of a request. A bridge gets them as they are, so what is too large is refused and not cut. */
const BoundedArguments = Arguments.superRefine((value, context) => {
  try {
    if (Buffer.byteLength(formatJson(value)) <= bounds.debugArgumentBytes) return;
    context.addIssue({ code: "custom", message: `must have at most ${bounds.debugArgumentBytes} bytes as JSON` });
  } catch (error) {
    context.addIssue({ code: "custom", message: messageOf(error) });
  }
});

/** A request as its caller makes it. */
export const AskInput = z
  .strictObject({ ...requestFields, arguments: BoundedArguments.optional(), secretNames: SecretNames })
  .superRefine(({ command, arguments: args, stopEpoch }, context) => {
    const instead = insteadOf(command);
    if (instead !== undefined)
      context.addIssue({ code: "custom", path: ["command"], message: `must not be ${command}: ${instead}` });
    else if (dependsOnStop(command, args) && stopEpoch === undefined)
      context.addIssue({
        code: "custom",
        path: ["stopEpoch"],
        message: `must be present, because ${command} depends on a stop: pass the stopEpoch of the debug session`,
      });
  });

/** A request as it is sent to the store. */
export const StoredAskInput = z.strictObject({
  ...requestFields,
  exactArguments: Json.optional(),
  shownArguments: Json.optional(),
});

/** A taken request, as far as masking needs to know it. */
export const AnsweredRequest = z.object({
  id: Id,
  command: z.string(),
  arguments: Arguments.nullish(),
});
