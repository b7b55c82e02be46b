// Artifact: a file that a command, or a session as a whole, produced. The store keeps its metadata; the file itself is
// stored at `uri`.
//
//   pending -> ready | failed
//   ready -> deleted
import { z } from "zod";
import { boolean, integer, json, nullable, oneOf, type RawOf, record, row, text, time, type ValueOf } from "./codec.ts";
import { stamps } from "./common.ts";
import { filledText, Id, Json, NewId, Sha256, withoutControls } from "./fields.ts";
import { artifactKinds, artifactStates } from "./vocabulary.ts";

export const Artifact = row({
  id: text,
  sessionId: text,
  /** The command that produced the file. Null, like `attempt`, for a file of the whole session. */
  commandId: nullable(text),
  attempt: nullable(integer),
  name: text,
  kind: oneOf(artifactKinds),
  state: oneOf(artifactStates),
  contentType: nullable(text),
  description: nullable(text),
  sizeBytes: nullable(integer),
  sha256: nullable(text),
  uri: nullable(text),
  metadata: nullable(json()),
  /** While pending, when the artifact fails. Once ready, when it is deleted unless it is pinned. */
  expiresAt: nullable(time),
  pinned: boolean,
  ...stamps,
});
export type Artifact = ValueOf<typeof Artifact>;
export type ArtifactRow = RawOf<typeof Artifact>;

/** An artifact and whether it is new: `created` is false when the same content already had this name. */
export const Recorded = record({ artifact: Artifact, created: boolean });

/** The longest name, in UTF-16 code units. */
const artifactNameLength = 500;
/** The longest name of a file on the file systems in use, in bytes. */
const partBytesMax = 255;

/**
 * A relative path that stays below its folder on every system: no `..`, no drive, no root. Clients write artifacts
 * below a folder of their choice, and Windows ignores dots and spaces at the end of a part, opens a stream after a
 * colon, opens devices by name, and has no files with the other characters that are refused here. Text that looks the
 * same is the same name, because some file systems take it for the same file (D-087): compatibility forms become the
 * usual ones, and characters that cannot be seen, as in some emoji, are left out (D-097).
 *
 * Source   https://learn.microsoft.com/en-us/windows/win32/fileio/naming-a-file
 */
const ArtifactName = withoutControls(artifactNameLength)
  .overwrite((name) => name.normalize("NFKC").replace(/\p{Default_Ignorable_Code_Point}/gu, ""))
  // A few characters become longer.
  .max(artifactNameLength)
  .refine((name) => !/[:\\<>"|?*]/.test(name) && name.split("/").every(isPlainPart), {
    error: "must be a relative path of plain parts separated by /, valid on every system",
  });

function isPlainPart(part: string): boolean {
  return (
    part !== "" &&
    part.trim() === part &&
    !part.endsWith(".") &&
    new TextEncoder().encode(part).byteLength <= partBytesMax &&
    !/^(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\u00b9\u00b2\u00b3])\s*(?:\.|$)/i.test(part)
  );
}

/** Lists the folders that a name needs: `a` and `a/b` for `a/b/c`. */
export function artifactFolders(name: string): readonly string[] {
  const parts = name.split("/");
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join("/"));
}

/** https://www.rfc-editor.org/rfc/rfc9110#section-8.3.1 */
const ContentType = z
  .string()
  .max(255)
  .regex(/^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(?: *; *[\w!#$&^.+-]+=(?:[\w!#$&^.+-]+|"[\w !#$&^.+/:=,-]*"))*$/, {
    error: "must be a media type, such as text/plain; charset=utf-8",
  });

/** The fields that identify an artifact. */
export const artifactFields = {
  id: NewId,
  sessionId: Id,
  commandId: Id.optional(),
  /** The attempt that produced the file; the latest attempt of the command by default. */
  attempt: z.int().positive().optional(),
  name: ArtifactName,
  kind: z.enum(artifactKinds).default("custom"),
  contentType: ContentType.optional(),
  description: filledText(10_000).optional(),
  metadata: Json.optional(),
};

/** The fields that describe the content of an artifact. */
export const contentFields = {
  sizeBytes: z.int().min(0),
  sha256: Sha256,
  uri: withoutControls(4_096),
};

/** The time for which a ready artifact is kept, in milliseconds: one second to ten years. */
export const RetentionMs = z.int().min(1_000).max(315_360_000_000);
