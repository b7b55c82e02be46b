// Patch: a change of files that sessions apply to their commit, known by its SHA-256. The store keeps where it is; the file
// itself is stored at `uri`.
import { boolean, integer, nullable, type RawOf, record, row, text, time, type ValueOf } from "./codec.ts";
import { stamps } from "./common.ts";

export const Patch = row({
  id: text,
  sha256: text,
  uri: text,
  /** The size in bytes; null when a session has named the patch and nobody has recorded its size. */
  sizeBytes: nullable(integer),
  /** The time at which a session has named it, or somebody has recorded it, for the last time. */
  lastUsedAt: time,
  ...stamps,
});
export type Patch = ValueOf<typeof Patch>;
export type PatchRow = RawOf<typeof Patch>;

/** A patch and whether it is new: `created` is false when a patch with this hash was known. */
export const RecordedPatch = record({ patch: Patch, created: boolean });
