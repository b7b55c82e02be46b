// Log: the sequence of bytes that one attempt wrote. Chunk: the bytes of one append.
import { types } from "node:util";
import { z } from "zod";
import { bounds } from "../limits.ts";
import { boolean, bytes, integer, list, oneOf, record, time, type ValueOf } from "./codec.ts";

export const logStreams = ["stdout", "stderr", "system"] as const;
export const logStates = ["open", "sealed", "pruned"] as const;

export const Chunk = record({
  attempt: integer,
  offset: integer,
  /** The number of bytes cut just before this chunk, because the log was over its limit. */
  droppedBytes: integer,
  startLine: integer,
  stream: oneOf(logStreams),
  at: time,
  data: bytes,
});
export type Chunk = ValueOf<typeof Chunk>;

export const LogPage = record({
  /** The attempt; 0 before the first one has started. */
  attempt: integer,
  chunks: list(Chunk),
  nextOffset: integer,
  /** The number of bytes appended so far, including those that were cut. */
  endOffset: integer,
  droppedBytes: integer,
  /** True when nothing will follow `nextOffset`; for `until: "ended"`, nor in a later attempt. */
  ended: boolean,
  state: oneOf(logStates),
});
export type LogPage = ValueOf<typeof LogPage>;

export const LogData = z
  // Not z.instanceof: it refuses bytes of another realm, and its type those on anything but an ArrayBuffer, for example
  // a Buffer from a pipe.
  .custom<Uint8Array>(types.isUint8Array, { error: "must be a Uint8Array, such as a Buffer" })
  .refine((data) => data.byteLength > 0 && data.byteLength <= bounds.logChunkBytes, {
    error: `must be 1 to ${bounds.logChunkBytes} bytes`,
  })
  .describe(`1 .. ${bounds.logChunkBytes} bytes`);

export function countLines(data: Uint8Array): number {
  let lines = 0;
  for (let at = data.indexOf(10); at !== -1; at = data.indexOf(10, at + 1)) lines++;
  return lines;
}
