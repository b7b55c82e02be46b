// Artifacts: files that a command, or a session as a whole, produced. The store keeps their metadata; the file itself
// is stored at `uri`, and a collector removes it. A name is unique among the pending and ready artifacts of one session,
// or of one attempt of a command.
import { z } from "zod";
import { after } from "../clock.ts";
import {
  Artifact,
  type ArtifactRow,
  artifactFields,
  contentFields,
  Recorded,
  RetentionMs,
} from "../model/artifacts.ts";
import { page } from "../model/codec.ts";
import { Id, listInput, oneOrMore, Sha256, Version } from "../model/fields.ts";
import { artifactKinds, artifactStates } from "../model/vocabulary.ts";
import { fail, operation } from "../operation.ts";
import { first, forUpdate, sql } from "../sql.ts";
import {
  endArtifact,
  findNamed,
  findParent,
  insertArtifact,
  keepLonger,
  lockLiveArtifact,
  requireUnpinned,
  takeName,
} from "./artifactState.ts";
import { reclaimFile } from "./fileState.ts";
import { filter, listPage } from "./paging.ts";
import { getRow, lockRow } from "./rows.ts";
import { writeRow } from "./rowWrite.ts";
import { keepSessionActive } from "./sessionActivity.ts";
import { requireVersion } from "./versions.ts";

/** True to delete the artifact that already has the name. Otherwise the call fails with `conflict`. */
const replace = z.boolean().default(false);

/**
 * Records a file that exists already, in one step.
 *
 * Input    commandId, attempt: the command that produced the file, and its attempt (default: the latest one); without
 *          them the file belongs to the session as a whole. name: a relative path, stored in Unicode's normalization
 *          form C. sha256, sizeBytes: as returned by hashFile. uri: where the file is stored; the change feed repeats
 *          it, so it must not contain credentials. ttlMs: the lifetime of the artifact (default: unlimited). replace:
 *          deletes an artifact with this name and other content, instead of failing with conflict
 * Result   { artifact, created }: recording the same name with the same sha256 again returns the existing row, with
 *          created false; it then expires at the later of the two times, without ttlMs never
 * Fails    not_found | conflict { reason: "content" | "pending", artifactId } | conflict { reason: "pinned" }
 *          | conflict { reason: "folder", artifactId } when an artifact has the name of a folder that the other needs
 *          | conflict { reason: "discarded" } when a collector is removing the file at this uri
 *          | conflict { reason: "exists" }
 * Effect   one row of artifacts, one row of changes; none when the artifact existed and did not expire before. An
 *          artifact of this name whose time is over is ended first
 * Cost     at most 8 statements by key
 */
export const record = operation({
  access: "write",
  input: z.strictObject({ ...artifactFields, ...contentFields, ttlMs: RetentionMs.optional(), replace }),
  output: Recorded,
  errors: ["not_found", "conflict"],
  *run(input, context) {
    const parent = yield* findParent(input, context);
    const known = yield* findNamed(parent, input.name, context);
    if (known?.state === "ready" && known.sha256 === input.sha256)
      return { artifact: yield* keepLonger(known, input.ttlMs, context), created: 0 };
    yield* takeName(parent, input, known, context);
    yield* reclaimFile(input, context);
    const expiresAt = input.ttlMs === undefined ? null : after(context.now, input.ttlMs);
    const artifact = yield* insertArtifact({ ...input, state: "ready", parent, expiresAt }, "record", context);
    return { artifact, created: 1 };
  },
});

/**
 * Announces a file that is still being written; `commit` completes it.
 *
 * Input    as in artifacts.record, without the fields that are not known yet. sha256: if it is known, the
 *          call returns a ready artifact with the same content, which then needs no upload. ttlMs: the time after which
 *          the artifact fails unless it is committed (default: one hour). replace: deletes the old artifact at once,
 *          even if no commit follows, because a name has only one row
 * Result   { artifact, created }: with created false, a ready artifact needs no upload (commit it again with the ttlMs
 *          that you need), and a pending one has been announced before; it then fails at the later of the two times
 * Fails    not_found | conflict { reason: "content" | "pending", artifactId } | conflict { reason: "pinned" }
 *          | conflict { reason: "folder", artifactId } as in artifacts.record | conflict { reason: "exists" }
 */
export const begin = operation({
  access: "write",
  input: z.strictObject({
    ...artifactFields,
    sha256: Sha256.optional(),
    ttlMs: RetentionMs.default(3_600_000),
    replace,
  }),
  output: Recorded,
  errors: ["not_found", "conflict"],
  *run(input, context) {
    const parent = yield* findParent(input, context);
    const known = yield* findNamed(parent, input.name, context);
    const isSame =
      known?.state === "pending"
        ? known.sha256 === (input.sha256 ?? null)
        : input.sha256 !== undefined && known?.sha256 === input.sha256;
    if (known !== undefined && isSame) {
      const artifact = known.state === "pending" ? yield* keepLonger(known, input.ttlMs, context) : known;
      return { artifact, created: 0 };
    }
    yield* takeName(parent, input, known, context);
    const expiresAt = after(context.now, input.ttlMs);
    const artifact = yield* insertArtifact({ ...input, state: "pending", parent, expiresAt }, "begin", context);
    return { artifact, created: 1 };
  },
});

/**
 * Marks an announced artifact as ready. Repeating the call with the same content changes nothing, except that the
 * artifact expires at the later of the two times.
 *
 * Input    uri: as in artifacts.record. ttlMs: the lifetime of the artifact (default: unlimited)
 * Fails    not_found | conflict { reason: "content" } when the content differs from what was announced or committed
 *          | conflict { reason: "discarded" } as in artifacts.record | conflict { reason: "version" } | invalid_transition when the artifact has failed or was deleted, or when
 *          its time is over (details.expiredAt)
 */
export const commit = operation({
  access: "write",
  input: z.strictObject({
    artifactId: Id,
    ...contentFields,
    ttlMs: RetentionMs.optional(),
    expectedVersion: Version.optional(),
  }),
  output: Artifact,
  errors: ["not_found", "conflict", "invalid_transition"],
  *run({ artifactId, sizeBytes, sha256, uri, ttlMs, expectedVersion }, context) {
    const { now, changed } = context;
    const before = yield* lockLiveArtifact(artifactId, context);
    if (before.sha256 !== null && before.sha256 !== sha256) {
      const message = `artifact ${artifactId} has the sha256 ${before.sha256}, not ${sha256}`;
      fail("conflict", { reason: "content", artifactId }, message);
    }
    if (before.state === "ready") return yield* keepLonger(before, ttlMs, context);
    requireVersion(before, expectedVersion);
    yield* reclaimFile({ uri }, context);
    const expires_at = ttlMs === undefined ? null : now.getTime() + ttlMs;
    const content = { state: "ready", size_bytes: sizeBytes, sha256, uri, expires_at } as const;
    const row = yield* writeRow<ArtifactRow>("artifact", before, content, context);
    changed({
      entity: "artifact",
      id: row.id,
      op: "commit",
      version: row.version,
      sessionId: row.session_id,
      detail: { sha256, sizeBytes },
    });
    return row;
  },
});

/**
 * Returns one artifact, in any state.
 *
 * Fails    not_found
 * Cost     1 statement by primary key
 */
export const get = operation({
  access: "read",
  input: z.strictObject({ artifactId: Id }),
  output: Artifact,
  errors: ["not_found"],
  *run({ artifactId }) {
    return yield* getRow("artifact", artifactId);
  },
});

/**
 * Lists artifacts, in every state. A row must match all filters that are present.
 *
 * Cost     1 statement along an index. With filters besides commandId or sessionId, 2 statements that read at most
 *          5 000 rows
 */
export const list = operation({
  access: "read",
  input: listInput("artifact", {
    sessionId: Id.optional(),
    commandId: Id.optional(),
    kind: oneOrMore(artifactKinds),
    state: oneOrMore(artifactStates),
  }),
  output: page(Artifact),
  errors: [],
  *run(input) {
    return yield* listPage("artifact", input, {
      filters: {
        command: filter(sql`command_id`, input.commandId),
        session: filter(sql`session_id`, input.sessionId),
        kind: filter(sql`kind`, input.kind),
        state: filter(sql`state`, input.state),
      },
      indexes: [["command"], ["session"], ["kind", "state"], ["kind"], ["state"]],
    });
  },
});

export { remove as delete };

/**
 * Ends an artifact: a ready one becomes deleted, a pending one failed. A collector gets its file (files.claim). Repeating
 * the call changes nothing.
 *
 * Fails    not_found | conflict { reason: "pinned" | "version" }
 * Effect   one row of artifacts, one row of changes, whose detail has the uri; the name is free again
 */
const remove = operation({
  access: "write",
  input: z.strictObject({ artifactId: Id, expectedVersion: Version.optional() }),
  output: Artifact,
  errors: ["not_found", "conflict"],
  *run({ artifactId, expectedVersion }, context) {
    const before = yield* lockRow("artifact", artifactId);
    yield* keepSessionActive(before.session_id, context);
    if (before.state === "deleted" || before.state === "failed") return before;
    requireVersion(before, expectedVersion);
    requireUnpinned(before);
    return yield* endArtifact(before, "delete", context);
  },
});

/**
 * Pins an artifact: until it is unpinned it does not expire, and neither it nor its session can be deleted. Repeating
 * the call changes nothing.
 *
 * Input    pinned: false removes the pin; an artifact whose time has passed meanwhile is over then, and the reaper
 *          deletes it. An artifact without a pin is returned as it is, also one that has ended
 * Fails    not_found | invalid_transition when the artifact to pin has failed or was deleted, or when its time is over
 *          (details.expiredAt) | conflict { reason: "version" }
 */
export const pin = operation({
  access: "write",
  input: z.strictObject({ artifactId: Id, pinned: z.boolean().default(true), expectedVersion: Version.optional() }),
  output: Artifact,
  errors: ["not_found", "invalid_transition", "conflict"],
  *run({ artifactId, pinned, expectedVersion }, context) {
    const { changed } = context;
    // sessions.delete looks for pinned artifacts under the lock of the session, so a pin takes that lock first.
    yield* first(
      sql`SELECT id FROM sessions WHERE id = (SELECT session_id FROM artifacts WHERE id = ${artifactId}) ${forUpdate}`,
    );
    // Without its pin an artifact may be over, and then removing the pin again must not fail.
    const before = yield* pinned ? lockLiveArtifact(artifactId, context) : lockRow("artifact", artifactId);
    if (!pinned) yield* keepSessionActive(before.session_id, context);
    if ((before.pinned === 1) === pinned) return before;
    requireVersion(before, expectedVersion);
    const row = yield* writeRow<ArtifactRow>("artifact", before, { pinned: Number(pinned) }, context);
    changed({
      entity: "artifact",
      id: row.id,
      op: pinned ? "pin" : "unpin",
      version: row.version,
      sessionId: row.session_id,
    });
    return row;
  },
});
