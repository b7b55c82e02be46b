// Files to remove: of artifacts, patches and environments that have ended or were deleted, and objects of archived logs that are gone. A collector
// claims them, removes them, and acknowledges that.
import { z } from "zod";
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import { bounds } from "../limits.ts";
import { boolean, list as listOf, page, record, text } from "../model/codec.ts";
import { valuesOf } from "../model/cursors.ts";
import { filledText, Id, LeaseTtl, listInput, oneOrMore, Reason, WaitMs } from "../model/fields.ts";
import { DiscardedFile, type DiscardedFileRow } from "../model/files.ts";
import { PlaceName } from "../model/places.ts";
import { type FileKind, fileKinds } from "../model/vocabulary.ts";
import { NotYet, operation } from "../operation.ts";
import { all, change, first, forUpdate, skipLocked, sql, step } from "../sql.ts";
import { hasUri } from "./fileState.ts";
import { filter, listPage } from "./paging.ts";
import { inOrderOfIds } from "./rows.ts";
import { filesTopic } from "./topics.ts";

/** The pauses after which a file that could not be removed is handed out again. */
const [retryMsMin, retryMsMax] = [10_000, 86_400_000];

/** The largest number of files of one claim, and the size of each in its result, by estimate. */
const [claimedMax, uriBytes] = [100, 4_096];

/** A file as a collector names it: by its id, and the fencing token of its claim. */
const Claimed = z.strictObject({ id: Id, fence: z.int().positive() });

/**
 * Hands out files to remove, those that are due the longest first. Until its lease ends, no other collector gets a file.
 *
 * Input    owner: who removes them, for people. kinds: only files of these kinds; the uri of a log is `archive:` and its
 *          key in the log archive, and a server that has the archive removes it by itself. place: where the files are: those of
 *          environments may be on the disks of one place, all others are in the one without a name (default). waitMs: the
 *          time to wait for a file. ttlMs: the time until another collector may get them
 * Result   { files, left }: remove each, then call files.acknowledge with its id and fence; a file that does not exist
 *          counts as removed. Empty when there is none. left: true when a step has found only files that are named
 *          again; the client then repeats the call by itself
 * Effect   a file that another ready artifact, patch or environment has is not handed out; it is when that one goes. From its first claim
 *          on until it is acknowledged, nothing can be recorded at its uri (D-111)
 * Cost     1 statement by index for each kind, and 4 for each file
 */
export const claim = operation({
  access: "write",
  lane: "background",
  input: z.strictObject({
    owner: filledText(200),
    kinds: oneOrMore(fileKinds),
    place: PlaceName.default(""),
    limit: z.int().min(1).max(claimedMax).default(bounds.pageRows),
    ttlMs: LeaseTtl.default(60_000),
    waitMs: WaitMs.default(0),
  }),
  output: record({ files: listOf(DiscardedFile), left: boolean }),
  errors: [],
  again: (input, { files, left }) => (left && files.length === 0 ? input : undefined),
  waitMs: (input) => input.waitMs,
  resultBytes: ({ limit }) => limit * uriBytes,
  *run({ owner, kinds = [...fileKinds], place, limit, ttlMs }, context) {
    const files: DiscardedFileRow[] = [];
    let named = 0;
    for (const kind of valuesOf<FileKind>(kinds)) {
      const of = { owner, place, ttlMs, limit: limit - files.length };
      const found: { claimed: DiscardedFileRow[]; named: number } = yield* claimOfKind(kind, of, context);
      files.push(...found.claimed);
      named += found.named;
    }
    if (files.length > 0 || named > 0) return { files, left: Number(files.length === 0) };
    return new NotYet(
      [filesTopic],
      { files, left: 0 },
      { againMs: yield* nextDueMs(valuesOf<FileKind>(kinds), place, context) },
    );
  },
});

interface ClaimOfKind {
  readonly owner: string;
  readonly place: string;
  readonly ttlMs: number;
  readonly limit: number;
}

/** Claims files of a kind, and forgets those that another row has. Returns the number of these too. */
const claimOfKind = step(function* (
  kind: FileKind,
  { owner, place, ttlMs, limit }: ClaimOfKind,
  { now, counted }: Context,
) {
  const due = yield* all<DiscardedFileRow>(sql`
    SELECT * FROM discarded_files
    WHERE kind = ${kind} AND place = ${place} AND due_at <= ${now}
    ORDER BY due_at LIMIT ${limit} ${skipLocked}`);
  const claimed: DiscardedFileRow[] = [];
  const dueAt = after(now, ttlMs);
  for (const row of due) {
    if (kind !== "log" && (yield* isNamed(row.uri, place))) {
      yield* change(sql`DELETE FROM discarded_files WHERE id = ${row.id}`);
      counted("file", kind, undefined);
      continue;
    }
    const fence = row.fence + 1;
    yield* change(sql`
      UPDATE discarded_files SET
        owner = ${owner},
        fence = ${fence},
        due_at = ${dueAt}
      WHERE id = ${row.id}`);
    claimed.push({ ...row, owner, fence, due_at: dueAt.getTime() });
  }
  return { claimed, named: due.length - claimed.length };
});

/** Checks whether a row of any kind has the file at this uri. Stores that name files by their content share them. */
const isNamed = step(function* (uri: string, place: string) {
  const environment = sql`
    SELECT id FROM environments WHERE ${hasUri(uri)} AND place = ${place} AND uri IS NOT NULL LIMIT 1`;
  if ((yield* first(environment)) !== undefined) return true;
  // Artifacts and patches have no place.
  if (place !== "") return false;
  const artifact = sql`SELECT id FROM artifacts WHERE ${hasUri(uri)} AND state = 'ready' LIMIT 1`;
  const patch = sql`SELECT id FROM patches WHERE ${hasUri(uri)} LIMIT 1`;
  return (yield* first(artifact)) !== undefined || (yield* first(patch)) !== undefined;
});

/** Returns the time until the next file is due. It may be over, when other transactions have locked those that are. */
const nextDueMs = step(function* (kinds: readonly FileKind[], place: string, { now }: Context) {
  let next: number | undefined;
  for (const kind of kinds) {
    const row = yield* first<{ due_at: number }>(sql`
      SELECT due_at FROM discarded_files WHERE kind = ${kind} AND place = ${place} ORDER BY due_at LIMIT 1`);
    if (row !== undefined) next = Math.min(next ?? row.due_at, row.due_at);
  }
  return next === undefined ? undefined : Math.max(lockedAgainMs, next - now.getTime());
});

/** The pause after which a call looks again at files that another transaction has locked. */
const lockedAgainMs = 100;

/**
 * Reports that files are removed, and forgets them. Repeating the call changes nothing.
 *
 * Result   { lost }: the ids of files whose claim has ended, because another collector has them now; it will acknowledge
 *          them. Files that the store does not know, such as those acknowledged before, are not listed
 * Cost     2 statements by key for each file
 */
export const acknowledge = operation({
  access: "write",
  input: z.strictObject({ files: z.array(Claimed).min(1).max(bounds.pageRowsMax) }),
  output: record({ lost: listOf(text) }),
  errors: [],
  *run({ files }, { counted }) {
    const lost: string[] = [];
    for (const { id, fence } of inOrderOfIds(files)) {
      const row = yield* lockClaimed(id);
      if (row !== undefined && row.fence !== fence) lost.push(id);
      if (row === undefined || row.fence !== fence) continue;
      yield* change(sql`DELETE FROM discarded_files WHERE id = ${id}`);
      counted("file", row.kind, undefined);
    }
    return { lost };
  },
});

export { failFiles as fail };

/**
 * Gives back files that could not be removed. Each is handed out again after a pause that doubles with every failure:
 * from 10 seconds to a day.
 *
 * Input    files[].error: why, for people
 * Result   { lost }: as in files.acknowledge
 */
const failFiles = operation({
  access: "write",
  input: z.strictObject({
    files: z
      .array(Claimed.extend({ error: Reason.optional() }))
      .min(1)
      .max(bounds.pageRowsMax),
  }),
  output: record({ lost: listOf(text) }),
  errors: [],
  *run({ files }, { now }) {
    const lost: string[] = [];
    for (const { id, fence, error } of inOrderOfIds(files)) {
      const row = yield* lockClaimed(id);
      if (row !== undefined && row.fence !== fence) lost.push(id);
      // One without an owner has been given back before.
      if (row === undefined || row.fence !== fence || row.owner === null) continue;
      const retryMs = Math.min(retryMsMax, retryMsMin * 2 ** row.failures);
      yield* change(sql`
        UPDATE discarded_files SET
          owner = ${null},
          due_at = ${after(now, retryMs)},
          failures = failures + 1,
          last_error = ${error ?? null}
        WHERE id = ${id}`);
    }
    return { lost };
  },
});

const lockClaimed = step(function* (id: string) {
  return yield* first<Pick<DiscardedFileRow, "kind" | "fence" | "owner" | "failures">>(sql`
    SELECT kind, fence, owner, failures FROM discarded_files WHERE id = ${id} ${forUpdate}`);
});

/**
 * Lists files that wait to be removed, for people.
 *
 * Cost     1 statement along an index
 */
export const list = operation({
  access: "read",
  input: listInput("file", { kind: oneOrMore(fileKinds) }),
  output: page(DiscardedFile),
  errors: [],
  *run(input) {
    return yield* listPage("file", input, {
      filters: { kind: filter(sql`kind`, input.kind) },
      indexes: [["kind"]],
    });
  },
});
