// The rows of patches: found by hash or added, used by sessions, and removed with their files.
import type { Context } from "../context.ts";
import { newId } from "../model/ids.ts";
import type { PatchRow } from "../model/patches.ts";
import { fail } from "../operation.ts";
import { all, type Body, first, forUpdate, type Statement, sql, step } from "../sql.ts";
import { discardFile, reclaimFile } from "./fileState.ts";
import { writeRow } from "./rowWrite.ts";

/** Locks and returns the patch with this hash, or undefined. */
export const lockPatch = step(function* (sha256: string) {
  return yield* first<PatchRow>(sql`SELECT * FROM patches WHERE sha256 = ${sha256} ${forUpdate}`);
});

interface NewPatch {
  readonly id: string;
  readonly sha256: string;
  readonly uri: string;
  readonly sizeBytes: number | undefined;
}

/** Adds a patch, or returns undefined when another transaction has added one with this hash. */
export const insertPatch = step(function* ({ id, sha256, uri, sizeBytes }: NewPatch, context: Context) {
  yield* reclaimFile({ uri }, context);
  const { now, changed, counted } = context;
  const row = yield* first<PatchRow>(sql`
    INSERT INTO patches (
      id,
      sha256,
      uri,
      size_bytes,
      last_used_at,
      created_at,
      updated_at
    ) VALUES (
      ${id},
      ${sha256},
      ${uri},
      ${sizeBytes ?? null},
      ${now},
      ${now},
      ${now}
    )
    ON CONFLICT DO NOTHING
    RETURNING *`);
  if (row === undefined) return undefined;
  counted("patch", undefined, patchState);
  changed({ entity: "patch", id, op: "record", version: 1, detail: { sha256 } });
  return row;
});

/** The state under which patches are counted: they have only one. */
export const patchState = "recorded";

/** Notes that a locked patch is used. Its version stays, because nobody decides by this time. */
export const usePatch = step(function* (before: PatchRow, context: Context) {
  if (before.last_used_at === context.now.getTime()) return before;
  return yield* writeRow("patch", before, { last_used_at: context.now.getTime() }, context, 0);
});

/**
 * Returns the patch that a new session refers to, if it names one by its hash, and keeps it from being removed. A patch
 * that is not known is recorded at the uri that the session names. Undefined when the session names another uri than the
 * recorded one: the file there belongs to whoever has stored it.
 */
export const patchOfSession = step(function* (
  input: { readonly patchHash?: string | undefined; readonly patchUri?: string | undefined },
  context: Context,
): Body<PatchRow | undefined> {
  const { patchHash: sha256, patchUri: uri } = input;
  if (sha256 === undefined) return undefined;
  const known = yield* lockPatch(sha256);
  if (known !== undefined) return uri === undefined || uri === known.uri ? yield* usePatch(known, context) : undefined;
  if (uri === undefined) {
    const message = `there is no patch with the sha256 ${sha256}: record it first, or add its patchUri`;
    return fail("not_found", { entity: "patch", sha256 }, message);
  }
  // When two transactions find no row, one of them adds it, and the other then finds it.
  const added = yield* insertPatch({ id: newId(), sha256, uri, sizeBytes: undefined }, context);
  return added ?? (yield* patchOfSession(input, context));
});

/** The condition of patches that a session refers to. */
export const isPatchNamed = sql`EXISTS (SELECT 1 FROM sessions WHERE sessions.patch_id = patches.id)`;

/** Removes locked patches that fulfill a condition, and hands out their files. Each has a row of changes with its uri. */
export const removePatches = step(function* (condition: Statement, context: Context) {
  const rows = yield* all<PatchRow>(sql`DELETE FROM patches WHERE ${condition} RETURNING *`);
  for (const { id, sha256, uri, size_bytes, version } of rows) {
    // The content of a data URI is in the row, and nowhere else.
    if (!/^data:/i.test(uri)) yield* discardFile({ id, kind: "patch", uri, size_bytes }, context);
    context.counted("patch", patchState, undefined);
    context.changed({ entity: "patch", id, op: "delete", version: version + 1, detail: { sha256, uri } });
  }
  return rows;
});
