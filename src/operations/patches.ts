// Patches: changes of files that sessions apply to their commit. A client asks by the hash whether a patch is known, stores
// the file and records it only if it is not, and creates sessions that name the hash.
import { z } from "zod";
import type { Context } from "../context.ts";
import { boolean, optional, page, record as recordOf } from "../model/codec.ts";
import { Id, listInput, NewId, Sha256, Version, withoutControls } from "../model/fields.ts";
import { Patch, type PatchRow, RecordedPatch } from "../model/patches.ts";
import { fail, operation } from "../operation.ts";
import { type Body, first, forUpdate, sql, step } from "../sql.ts";
import { listPage } from "./paging.ts";
import { insertPatch, lockPatch, removePatches, usePatch } from "./patchState.ts";
import { findRow, getRow } from "./rows.ts";
import { writeRow } from "./rowWrite.ts";
import { requireVersion } from "./versions.ts";

const RecordInput = z.strictObject({
  id: NewId,
  sha256: Sha256,
  uri: withoutControls(4_096),
  sizeBytes: z.int().min(0),
});

/**
 * Records a patch whose file is stored already. There is one for each hash.
 *
 * Input    sha256, sizeBytes: as returned by hashFile. uri: where the file is stored: a file, https or http URI for the
 *          runner of this package, or a data URI. The store shows it to all who may read sessions, so it must not contain
 *          credentials
 * Result   { patch, created }: with created false, the patch was known before, at the uri in its row. It is counted as
 *          used, and the file that you have stored at another uri is not needed
 * Fails    conflict { reason: "content", patchId } when the known patch has another size | conflict { reason: "discarded" }
 *          when a collector is removing the file at this uri | conflict { reason: "exists" } when a patch has this id
 * Effect   one row of patches, one row of changes; when the patch was known, only the time of its use, and its size if it
 *          was not known
 * Cost     at most 4 statements by key
 */
export const record = operation({
  access: "write",
  input: RecordInput,
  output: RecordedPatch,
  errors: ["conflict"],
  *run(input, context) {
    return yield* recordPatch(input, context);
  },
});

const recordPatch = step(function* (
  input: z.output<typeof RecordInput>,
  context: Context,
): Body<{ patch: PatchRow; created: number }> {
  const { id, sha256, sizeBytes } = input;
  const known = yield* lockPatch(sha256);
  if (known !== undefined) return { patch: yield* recordAgain(known, sizeBytes, context), created: 0 };
  if ((yield* findRow("patch", id)) !== undefined)
    fail("conflict", { reason: "exists", patchId: id }, `patch ${id} exists already, with another hash`);
  const patch = yield* insertPatch(input, context);
  // When two transactions find no row, one of them adds it, and the other then finds it.
  return patch === undefined ? yield* recordPatch(input, context) : { patch, created: 1 };
});

const recordAgain = step(function* (known: PatchRow, sizeBytes: number, context: Context) {
  if (known.size_bytes === sizeBytes) return yield* usePatch(known, context);
  const { id } = known;
  if (known.size_bytes !== null) {
    const message = `patch ${id} with this sha256 has ${known.size_bytes} bytes, not ${sizeBytes}: one of the two is wrong`;
    fail("conflict", { reason: "content", patchId: id }, message);
  }
  const changes = { size_bytes: sizeBytes, last_used_at: context.now.getTime() };
  const row = yield* writeRow("patch", known, changes, context);
  context.changed({ entity: "patch", id, op: "update", version: row.version, detail: { sizeBytes } });
  return row;
});

/**
 * Returns one patch.
 *
 * Fails    not_found
 * Cost     1 statement by primary key
 */
export const get = operation({
  access: "read",
  input: z.strictObject({ patchId: Id }),
  output: Patch,
  errors: ["not_found"],
  *run({ patchId }) {
    return yield* getRow("patch", patchId);
  },
});

/**
 * Returns the patch with this hash, or undefined: then its file has to be stored and recorded.
 *
 * Cost     1 statement by unique index
 */
export const find = operation({
  access: "read",
  input: z.strictObject({ sha256: Sha256 }),
  output: optional(Patch),
  errors: [],
  *run({ sha256 }) {
    return yield* first<PatchRow>(sql`SELECT * FROM patches WHERE sha256 = ${sha256}`);
  },
});

/**
 * Lists patches.
 *
 * Cost     1 statement along an index
 */
export const list = operation({
  access: "read",
  input: listInput("patch", {}),
  output: page(Patch),
  errors: [],
  *run(input) {
    return yield* listPage("patch", input, { filters: {}, indexes: [] });
  },
});

export { remove as delete };

/**
 * Deletes a patch that no session refers to. A collector gets its file (files.claim), unless it is in the row, as a data
 * URI. Deleting a patch that does not exist succeeds. Retention does the same, `patchesMs` after the last use.
 *
 * Fails    conflict { reason: "used", sessionId } while a session refers to the patch | conflict { reason: "version" }
 * Effect   one row of changes, whose detail has the uri
 */
const remove = operation({
  access: "write",
  input: z.strictObject({ patchId: Id, expectedVersion: Version.optional() }),
  output: recordOf({ deleted: boolean }),
  errors: ["conflict"],
  *run({ patchId, expectedVersion }, context) {
    // A session that comes to refer to it takes the same lock.
    const before = yield* first<PatchRow>(sql`SELECT * FROM patches WHERE id = ${patchId} ${forUpdate}`);
    if (before === undefined) return { deleted: 1 };
    requireVersion(before, expectedVersion);
    const user = yield* first<{ id: string }>(sql`
      SELECT id FROM sessions WHERE patch_id = ${patchId} ORDER BY created_at, id LIMIT 1`);
    if (user !== undefined)
      fail(
        "conflict",
        { reason: "used", sessionId: user.id },
        `session ${user.id} refers to patch ${patchId}: delete it first`,
      );
    yield* removePatches(sql`id = ${patchId}`, context);
    return { deleted: 1 };
  },
});
