// Artifacts: files that a command, or a session as a whole, produced. The store keeps their metadata; the file itself
// is stored at `uri`, and its owner removes it. A name is unique among the pending and ready artifacts of one session,
// or of one attempt of a command.
import { z } from "zod";
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import {
  Artifact,
  type ArtifactRow,
  artifactFields,
  contentFields,
  Recorded,
  RetentionMs,
} from "../model/artifacts.ts";
import { page } from "../model/codec.ts";
import type { CommandRow } from "../model/commands.ts";
import { Id, paging, Sha256, Version } from "../model/fields.ts";
import { artifactKinds, artifactStates } from "../model/vocabulary.ts";
import { fail, operation } from "../operation.ts";
import { all, first, forUpdate, one, skipLocked, sql, step, when } from "../sql.ts";
import { notFound, requireState } from "./failures.ts";
import { listPage } from "./paging.ts";
import { getRow, lockRow } from "./rows.ts";
import { requireVersion } from "./versions.ts";

/** True to delete the artifact that already has the name. Otherwise the call fails with `conflict`. */
const replace = z.boolean().default(false);

/**
 * Records a file that exists already, in one step.
 *
 * Input    commandId, attempt: the command that produced the file, and its attempt (default: the latest one); without
 *          them the file belongs to the session as a whole. sha256, sizeBytes: as returned by hashFile. uri: where the
 *          file is stored. ttlMs: the lifetime of the artifact (default: unlimited). replace: deletes an artifact with
 *          this name and other content, instead of failing with conflict
 * Result   { artifact, created }: recording the same name with the same sha256 again returns the existing row, with
 *          created false
 * Fails    not_found | conflict { reason: "content" | "pending", artifactId } | conflict { reason: "pinned" }
 *          | conflict { reason: "exists" }
 * Effect   one row of artifacts, one row of changes; none when the artifact existed
 * Cost     at most 5 statements by key
 */
export const record = operation({
  access: "write",
  input: z.strictObject({ ...artifactFields, ...contentFields, ttlMs: RetentionMs.optional(), replace }),
  output: Recorded,
  errors: ["not_found", "conflict"],
  *run(input, context) {
    const parent = yield* findParent(input);
    const known = yield* findNamed(parent, input.name);
    if (known?.state === "ready" && known.sha256 === input.sha256) return { artifact: known, created: 0 };
    if (known !== undefined) yield* freeName(known, input.replace, context);
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
 * Result   { artifact, created }: with created false, a ready artifact needs no upload, and a pending one has been
 *          announced before
 * Fails    not_found | conflict { reason: "content" | "pending", artifactId } | conflict { reason: "pinned" }
 *          | conflict { reason: "exists" }
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
    const parent = yield* findParent(input);
    const known = yield* findNamed(parent, input.name);
    const isSame =
      known?.state === "pending"
        ? known.sha256 === (input.sha256 ?? null)
        : input.sha256 !== undefined && known?.sha256 === input.sha256;
    if (known !== undefined && isSame) return { artifact: known, created: 0 };
    if (known !== undefined) yield* freeName(known, input.replace, context);
    const expiresAt = after(context.now, input.ttlMs);
    const artifact = yield* insertArtifact({ ...input, state: "pending", parent, expiresAt }, "begin", context);
    return { artifact, created: 1 };
  },
});

/**
 * Marks an announced artifact as ready. Repeating the call with the same content changes nothing.
 *
 * Input    ttlMs: the lifetime of the artifact (default: unlimited)
 * Fails    not_found | conflict { reason: "content" } when the content differs from what was announced or committed
 *          | conflict { reason: "version" } | invalid_transition when the artifact has failed or was deleted
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
  *run({ artifactId, sizeBytes, sha256, uri, ttlMs, expectedVersion }, { now, changed }) {
    const before = yield* lockRow("artifact", artifactId);
    requireState(before, "artifact", ["pending", "ready"]);
    if (before.sha256 !== null && before.sha256 !== sha256) {
      const message = `artifact ${artifactId} has the sha256 ${before.sha256}, not ${sha256}`;
      fail("conflict", { reason: "content", artifactId }, message);
    }
    if (before.state === "ready") return before;
    requireVersion(before, expectedVersion);
    const row = yield* one<ArtifactRow>(sql`
      UPDATE artifacts SET
        state = 'ready',
        size_bytes = ${sizeBytes},
        sha256 = ${sha256},
        uri = ${uri},
        expires_at = ${ttlMs === undefined ? null : after(now, ttlMs)},
        version = version + 1,
        updated_at = ${now}
      WHERE id = ${artifactId}
      RETURNING *`);
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
 * Lists artifacts, oldest first, in every state. A row must match all filters that are present.
 *
 * Cost     1 statement along an index, at most `limit` rows
 */
export const list = operation({
  access: "read",
  input: z.strictObject({
    sessionId: Id.optional(),
    commandId: Id.optional(),
    kind: z.enum(artifactKinds).optional(),
    state: z.enum(artifactStates).optional(),
    ...paging,
  }),
  output: page(Artifact),
  errors: [],
  *run(input) {
    return yield* listPage(
      "artifact",
      input,
      when(input.sessionId, (sessionId) => sql`session_id = ${sessionId}`),
      when(input.commandId, (commandId) => sql`command_id = ${commandId}`),
      when(input.kind, (kind) => sql`kind = ${kind}`),
      when(input.state, (state) => sql`state = ${state}`),
    );
  },
});

export { remove as delete };

/**
 * Ends an artifact: a ready one becomes deleted, a pending one failed. The file itself is left to its owner. Repeating
 * the call changes nothing.
 *
 * Fails    not_found | conflict { reason: "pinned" | "version" }
 * Effect   one row of artifacts, one row of changes; the name is free again
 */
const remove = operation({
  access: "write",
  input: z.strictObject({ artifactId: Id, expectedVersion: Version.optional() }),
  output: Artifact,
  errors: ["not_found", "conflict"],
  *run({ artifactId, expectedVersion }, context) {
    const before = yield* lockRow("artifact", artifactId);
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
 * Input    pinned: false removes the pin; the reaper then deletes the artifact if it has expired meanwhile
 * Fails    not_found | invalid_transition when the artifact has failed or was deleted | conflict { reason: "version" }
 */
export const pin = operation({
  access: "write",
  input: z.strictObject({ artifactId: Id, pinned: z.boolean().default(true), expectedVersion: Version.optional() }),
  output: Artifact,
  errors: ["not_found", "invalid_transition", "conflict"],
  *run({ artifactId, pinned, expectedVersion }, { now, changed }) {
    // sessions.delete looks for pinned artifacts under the lock of the session, so a pin takes that lock first.
    yield* first(
      sql`SELECT id FROM sessions WHERE id = (SELECT session_id FROM artifacts WHERE id = ${artifactId}) ${forUpdate}`,
    );
    const before = yield* lockRow("artifact", artifactId);
    requireState(before, "artifact", ["pending", "ready"]);
    if ((before.pinned === 1) === pinned) return before;
    requireVersion(before, expectedVersion);
    const row = yield* one<ArtifactRow>(sql`
      UPDATE artifacts SET
        pinned = ${pinned},
        version = version + 1,
        updated_at = ${now}
      WHERE id = ${artifactId}
      RETURNING *`);
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

/** Ends at most `limit` expired artifacts, and returns their ids. */
export const expireArtifacts = step(function* (limit: number, context: Context) {
  // The conditions repeat those of the partial index artifacts_expiry literally, so that the planner can use it.
  const rows = yield* all<ArtifactRow>(sql`
    SELECT * FROM artifacts
    WHERE expires_at IS NOT NULL AND NOT pinned AND state <> 'failed' AND state <> 'deleted'
      AND expires_at <= ${context.now}
    ORDER BY expires_at LIMIT ${limit} ${skipLocked}`);
  for (const row of rows) yield* endArtifact(row, "expire", context);
  return rows.map(({ id }) => id);
});

/** The session, and perhaps the attempt of a command, that an artifact belongs to. */
interface Parent {
  readonly sessionId: string;
  readonly commandId: string | null;
  readonly attempt: number | null;
}

/**
 * Returns the parent of a new artifact. Locks the session, so that of two calls that record the same name the second
 * finds the row of the first.
 */
const findParent = step(function* (input: {
  sessionId: string;
  commandId?: string | undefined;
  attempt?: number | undefined;
}) {
  const { sessionId, commandId } = input;
  yield* lockRow("session", sessionId);
  if (commandId === undefined) {
    if (input.attempt !== undefined)
      fail("not_found", { entity: "attempt", attempt: input.attempt }, "an attempt needs its command: add a commandId");
    return { sessionId, commandId: null, attempt: null } as Parent;
  }
  const command = yield* first<Pick<CommandRow, "attempt">>(
    sql`SELECT attempt FROM commands WHERE id = ${commandId} AND session_id = ${sessionId}`,
  );
  if (command === undefined) notFound("command", commandId);
  const attempt = input.attempt ?? command.attempt;
  if (attempt < 1 || attempt > command.attempt) {
    const message = `command ${commandId} has had ${command.attempt} attempts, and no attempt ${attempt}`;
    fail("not_found", { entity: "attempt", attempt }, message);
  }
  return { sessionId, commandId, attempt } as Parent;
});

/** Locks and returns the pending or ready artifact of this name, or undefined. */
const findNamed = step(function* ({ sessionId, commandId, attempt }: Parent, name: string) {
  const ofParent =
    commandId === null ? sql`command_id IS NULL` : sql`command_id = ${commandId} AND attempt = ${attempt}`;
  // The conditions on the state repeat those of the unique partial indexes literally, so that the planner can use them.
  return yield* first<ArtifactRow>(sql`
    SELECT * FROM artifacts
    WHERE session_id = ${sessionId} AND ${ofParent} AND name = ${name} AND state <> 'failed' AND state <> 'deleted'
    ${forUpdate}`);
});

/**
 * Frees the name of a new artifact by ending the artifact that has it (D-056). Fails with `conflict` unless that one
 * may be replaced.
 */
const freeName = step(function* (known: ArtifactRow, mayReplace: boolean, context: Context) {
  if (!mayReplace) {
    const reason = known.state === "pending" ? "pending" : "content";
    fail(
      "conflict",
      { reason, artifactId: known.id, sha256: known.sha256 },
      `artifact ${known.id} has the name ${known.name}: replace it, or choose another name`,
    );
  }
  requireUnpinned(known);
  yield* endArtifact(known, "replace", context);
});

function requireUnpinned({ id, pinned }: ArtifactRow): void {
  if (pinned === 1) fail("conflict", { reason: "pinned", artifactId: id }, `artifact ${id} is pinned: unpin it first`);
}

/** Ends an artifact: a ready one becomes deleted, a pending one failed. */
const endArtifact = step(function* (before: ArtifactRow, op: string, { now, changed }: Context) {
  const state = before.state === "pending" ? "failed" : "deleted";
  const row = yield* one<ArtifactRow>(sql`
    UPDATE artifacts SET
      state = ${state},
      pinned = ${false},
      version = version + 1,
      updated_at = ${now}
    WHERE id = ${before.id}
    RETURNING *`);
  changed({ entity: "artifact", id: row.id, op, version: row.version, sessionId: row.session_id, detail: { state } });
  return row;
});

interface NewArtifact {
  readonly id: string;
  readonly parent: Parent;
  readonly name: string;
  readonly kind: ArtifactRow["kind"];
  readonly state: "pending" | "ready";
  readonly contentType?: string | undefined;
  readonly description?: string | undefined;
  readonly metadata?: string | undefined;
  readonly sizeBytes?: number | undefined;
  readonly sha256?: string | undefined;
  readonly uri?: string | undefined;
  readonly expiresAt: Date | null;
}

const insertArtifact = step(function* (artifact: NewArtifact, op: string, { now, changed }: Context) {
  const { id, parent, name, kind, state, sizeBytes, sha256, expiresAt } = artifact;
  const row = yield* first<ArtifactRow>(sql`
    INSERT INTO artifacts (
      id,
      session_id,
      command_id,
      attempt,
      name,
      kind,
      state,
      content_type,
      description,
      size_bytes,
      sha256,
      uri,
      metadata,
      expires_at,
      created_at,
      updated_at
    ) VALUES (
      ${id},
      ${parent.sessionId},
      ${parent.commandId},
      ${parent.attempt},
      ${name},
      ${kind},
      ${state},
      ${artifact.contentType ?? null},
      ${artifact.description ?? null},
      ${sizeBytes ?? null},
      ${sha256 ?? null},
      ${artifact.uri ?? null},
      ${artifact.metadata ?? null},
      ${expiresAt},
      ${now},
      ${now}
    )
    ON CONFLICT (id) DO NOTHING
    RETURNING *`);
  if (row === undefined) fail("conflict", { reason: "exists", artifactId: id }, `artifact ${id} exists already`);
  const detail = { name, kind, sha256, commandId: parent.commandId ?? undefined };
  changed({ entity: "artifact", id, op, version: 1, sessionId: parent.sessionId, detail });
  return row;
});
