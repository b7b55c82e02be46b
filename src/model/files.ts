// DiscardedFile: a file that no row of the store names any more. It is handed out to a collector, with a lease, until one
// says that it has removed the file.
import { integer, nullable, oneOf, type RawOf, row, text, time, type ValueOf } from "./codec.ts";
import { fileKinds } from "./vocabulary.ts";

export const DiscardedFile = row({
  /** The id of the artifact, patch or environment that named the file; for a log, the id in the key of its object. */
  id: text,
  kind: oneOf(fileKinds),
  /** The place in which it is; empty unless it belongs to an environment of a place with a name. */
  place: text,
  /** The uri of the artifact, patch or environment; for a log, `archive:` and the key of its object. */
  uri: text,
  sizeBytes: nullable(integer),
  sessionId: nullable(text),
  /** The collector that has the file until `dueAt`, or null. */
  owner: nullable(text),
  /** The fencing token of the last claim; 0 before the first one. */
  fence: integer,
  /** The time from which the file is handed out; while a collector has it, the end of its lease. */
  dueAt: time,
  /** The number of times that a collector could not remove it, and the reason of the last time. */
  failures: integer,
  lastError: nullable(text),
  /** The time at which the store ceased to need the file. */
  createdAt: time,
});
export type DiscardedFile = ValueOf<typeof DiscardedFile>;
export type DiscardedFileRow = RawOf<typeof DiscardedFile>;
