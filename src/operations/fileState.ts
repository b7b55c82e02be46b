// Files that the store no longer needs. Whatever ends or deletes artifacts calls `discardFiles` before, so that a collector
// learns of their files; patches and environments go through `discardFile`, objects of archived logs through `discardLog`. Whatever names a file again calls `reclaimFile`.
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import { idOfObject } from "../model/archiveKeys.ts";
import type { DiscardedFileRow } from "../model/files.ts";
import type { FileKind } from "../model/vocabulary.ts";
import { fail } from "../operation.ts";
import { change, first, forUpdate, type Statement, sql, step } from "../sql.ts";
import { filesTopic } from "./topics.ts";

/**
 * Hands out the files of the ready artifacts that fulfill a condition, and that the caller is about to end or to delete,
 * after `limits.fileGraceMs`. One that is handed out already stays as it is.
 */
export const discardFiles = step(function* (condition: Statement, context: Context) {
  const { now, limits } = context;
  // The negation keeps SQLite from reading all artifacts that are ready, by the index of states.
  const count = yield* change(sql`
    INSERT INTO discarded_files (
      id,
      kind,
      uri,
      size_bytes,
      session_id,
      due_at,
      created_at
    )
    SELECT id, 'artifact', uri, size_bytes, session_id, ${after(now, limits.fileGraceMs)}, ${now}
    FROM artifacts
    WHERE NOT (state <> 'ready') AND ${condition}
    ON CONFLICT DO NOTHING`);
  if (count === 0) return;
  context.counted("file", undefined, "artifact", count);
  context.wake(filesTopic);
});

/** A file as the row that named it described it. */
type DiscardedFile = Pick<DiscardedFileRow, "id" | "kind" | "uri" | "size_bytes"> & {
  /** The place whose collectors get it: by default the one without a name. */
  readonly place?: string;
};

/** Hands out a file that nothing names any more, after `limits.fileGraceMs`. */
export const discardFile = step(function* (file: DiscardedFile, context: Context) {
  const { now, limits, counted, wake } = context;
  const count = yield* change(sql`
    INSERT INTO discarded_files (
      id,
      kind,
      place,
      uri,
      size_bytes,
      due_at,
      created_at
    ) VALUES (
      ${file.id},
      ${file.kind},
      ${file.place ?? ""},
      ${file.uri},
      ${file.size_bytes},
      ${after(now, limits.fileGraceMs)},
      ${now}
    )
    ON CONFLICT DO NOTHING`);
  counted("file", undefined, file.kind, count);
  wake(filesTopic);
});

/**
 * Hands out the object of a log, at its address in the log archive, after `graceMs`. Call it before the blocks of the log
 * are deleted: they tell the size of the object.
 */
export const discardLog = step(function* (attemptId: number, uri: string, graceMs: number, context: Context) {
  const { now } = context;
  const count = yield* change(sql`
    INSERT INTO discarded_files (
      id,
      kind,
      uri,
      size_bytes,
      session_id,
      due_at,
      created_at
    ) VALUES (
      ${idOfObject(uri)},
      'log',
      ${uri},
      (SELECT max(object_offset + object_length) FROM log_blocks WHERE attempt_id = ${attemptId}),
      (SELECT session_id FROM attempts WHERE id = ${attemptId}),
      ${after(now, graceMs)},
      ${now}
    )
    ON CONFLICT DO NOTHING`);
  context.counted("file", undefined, "log", count);
  context.wake(filesTopic);
});

/** Returns the condition that a row has this uri, in the form of the indexes of both engines. */
export function hasUri(uri: string): Statement {
  return sql`/*+ md5( */ uri /*+ ) */ = /*+ md5( */ ${uri} /*+ ) */`;
}

/**
 * Takes a file back that was discarded before, because it is named again. Fails with `conflict` when a collector has, or
 * had, the file: it may remove it at any time (D-111).
 */
export const reclaimFile = step(function* (
  { uri, place = "" }: Pick<DiscardedFile, "uri" | "place">,
  { counted }: Context,
) {
  const row = yield* first<{ id: string; kind: FileKind; fence: number }>(
    sql`SELECT id, kind, fence FROM discarded_files WHERE ${hasUri(uri)} AND place = ${place} ${forUpdate}`,
  );
  if (row === undefined) return;
  if (row.fence > 0) {
    const message = "the file at this uri is being removed: store it under another uri, or try again later";
    fail("conflict", { reason: "discarded" }, message);
  }
  yield* change(sql`DELETE FROM discarded_files WHERE id = ${row.id}`);
  counted("file", row.kind, undefined);
});
