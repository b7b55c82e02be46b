// A log belongs to one attempt and is a sequence of bytes; a chunk is what one append brought.
import { z } from "zod";
import { bounds } from "../limits.ts";
import { boolean, bytes, integer, list, oneOf, record, text, time, type ValueOf } from "./codec.ts";

export const logStreams = ["stdout", "stderr", "system"] as const;

export const Chunk = record({
  attempt: integer,
  offset: integer,
  /** Bytes cut out just before this chunk: the log was over its limit. */
  droppedBytes: integer,
  startLine: integer,
  stream: oneOf(logStreams),
  at: time,
  data: bytes,
});
export type Chunk = ValueOf<typeof Chunk>;

export const LogPage = record({
  /** 0 while no attempt has begun. */
  attempt: integer,
  chunks: list(Chunk),
  nextOffset: integer,
  /** How many bytes the log has had so far, and how many of them were cut out. */
  endOffset: integer,
  droppedBytes: integer,
  /** Nothing will follow `nextOffset`. */
  ended: boolean,
  /** open, sealed or pruned. */
  state: text,
});
export type LogPage = ValueOf<typeof LogPage>;

export const LogData = z
  // Not z.instanceof, whose type refuses a Uint8Array on any other buffer than an ArrayBuffer: a Buffer of a pipe, for one.
  .custom<Uint8Array>((data) => data instanceof Uint8Array)
  .refine((data) => data.byteLength > 0 && data.byteLength <= bounds.logChunkBytes, {
    error: `must be 1 to ${bounds.logChunkBytes} bytes`,
  })
  .describe(`1 .. ${bounds.logChunkBytes} bytes`);

export function countLines(data: Uint8Array): number {
  let lines = 0;
  for (let at = data.indexOf(10); at !== -1; at = data.indexOf(10, at + 1)) lines++;
  return lines;
}
