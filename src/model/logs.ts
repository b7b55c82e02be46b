// Log: the sequence of bytes that one attempt wrote. Chunk: the bytes of one append.
import { types } from "node:util";
import { z } from "zod";
import { bounds } from "../limits.ts";
import { boolean, bytes, integer, list, nullable, oneOf, record, text, time, type ValueOf, variant } from "./codec.ts";
import { commandOutcomes, logStreams } from "./vocabulary.ts";

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

/** The lines and bytes of a log by time, in spans of equal length that follow each other. */
export const LogTimeline = record({
  /** The attempt; 0 before the first one has started. */
  attempt: integer,
  /** The length of a bucket in milliseconds. */
  bucketMs: integer,
  buckets: list(
    record({
      /** The beginning of the bucket: a multiple of bucketMs since 1970 in UTC. */
      at: time,
      /** The place at which the log goes on in the bucket: the `offset` for logs.read, and the number of the line. */
      offset: integer,
      line: integer,
      /** The number of lines that ended in the bucket, and of bytes that were written in it, with those that were dropped. */
      lines: integer,
      bytes: integer,
    }),
  ),
  /** As in a page of the log. */
  endOffset: integer,
  droppedBytes: integer,
  state: oneOf(logStates),
});
export type LogTimeline = ValueOf<typeof LogTimeline>;

/** A line of a session's own log: the beginning of a phase, a text, or both. */
export const LogMark = record({
  sessionId: text,
  /** The place of the mark among those of its session, from 1. */
  number: integer,
  at: time,
  phase: nullable(text),
  text: nullable(text),
  /** The command and its attempt; null when the mark concerns the session as a whole. */
  commandId: nullable(text),
  attempt: nullable(integer),
});
export type LogMark = ValueOf<typeof LogMark>;

const placed = { position: text, at: time };
const ofAttempt = { ...placed, commandId: text, attempt: integer };

/** One item of the log of a session. Pass its `position` as `after` to go on behind it. */
export const SessionLogItem = variant({
  started: { ...ofAttempt, runnerId: text },
  output: {
    ...ofAttempt,
    offset: integer,
    droppedBytes: integer,
    startLine: integer,
    stream: oneOf(logStreams),
    data: bytes,
  },
  ended: {
    ...ofAttempt,
    outcome: oneOf(commandOutcomes),
    exitCode: nullable(integer),
    signal: nullable(text),
    /** `pruned` when its output was removed. */
    logState: oneOf(logStates),
  },
  mark: {
    ...placed,
    number: integer,
    phase: nullable(text),
    text: nullable(text),
    commandId: nullable(text),
    attempt: nullable(integer),
  },
});
export type SessionLogItem = ValueOf<typeof SessionLogItem>;

export const SessionLogPage = record({
  items: list(SessionLogItem),
  /** The position behind the items. */
  position: text,
  /** True when nothing will follow: the session has ended, and so have its commands. */
  ended: boolean,
});
export type SessionLogPage = ValueOf<typeof SessionLogPage>;

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
