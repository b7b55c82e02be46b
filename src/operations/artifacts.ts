import { z } from "zod";
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
import { after, fail, operation } from "../operation.ts";
import { all, first, forUpdate, one, skipLocked, sql, step, when } from "../sql.ts";
import { notFound, requireState } from "./failures.ts";
import { listPage } from "./paging.ts";
import { getRow, lockRow } from "./rows.ts";
import { requireVersion } from "./versions.ts";

/** Deletes what has the name, whatever it is, instead of failing. */
const replace = z.boolean().default(false);

/**
 * Records a file that exists already, in one step.
 *
 * Input    commandId, attempt: what produced it, the command's latest attempt unless named; absent for a file of the session as a whole. sha256, sizeBytes:
 *          as hashFile gives them; uri: where the file lies; ttlMs: when it is deleted, never unless given; replace: an artifact of this name with
 *          other content is deleted, and not a conflict
 * Result   { artifact, created }: the same name and sha256 again is the same row, and created is false
 * Fails    not_found | conflict { reason: "content" | "pending", artifactId } | conflict { reason: "pinned" } | conflict { reason: "exists" }
 * Effect   one row of artifacts and of changes; none when it was there
 * Cost     at most 5 statements by key
 */
export const record = operation({
  access: "write",
  input: z.strictObject({ ...artifactFields, ...contentFields, ttlMs: RetentionMs.optional(), replace }),
  output: Recorded,
  errors: ["not_found", "conflict"],
  *run(input, context) {
    const place = yield* findPlace(input);
    const known = yield* findNamed(place, input.name);
    if (known?.state === "ready" && known.sha256 === input.sha256) return { artifact: known, created: 0 };
    if (known !== undefined) yield* replaceArtifact(known, input.replace, context);
    const expiresAt = input.ttlMs === undefined ? null : after(context.now, input.ttlMs);
    return {
      artifact: yield* insertArtifact({ ...input, state: "ready", place, expiresAt }, "record", context),
      created: 1,
    };
  },
});

/**
 * Announces a file that is on its way: a second step, commit, records what it became.
 *
 * Input    as record, without what is not known yet; sha256: when it is known already, to learn whether the file is there; ttlMs: when it is given up
 *          unless it was committed, one hour unless given; replace: the old artifact is deleted at once, also when no commit follows, because a name has one row
 * Result   { artifact, created }: when created is false and the artifact is ready nothing has to be sent; when it is pending somebody began already
 * Fails    as record
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
    const place = yield* findPlace(input);
    const known = yield* findNamed(place, input.name);
    const same =
      known?.state === "pending"
        ? known.sha256 === (input.sha256 ?? null)
        : input.sha256 !== undefined && known?.sha256 === input.sha256;
    if (known !== undefined && same) return { artifact: known, created: 0 };
    if (known !== undefined) yield* replaceArtifact(known, input.replace, context);
    const expiresAt = after(context.now, input.ttlMs);
    return {
      artifact: yield* insertArtifact({ ...input, state: "pending", place, expiresAt }, "begin", context),
      created: 1,
    };
  },
});

/**
 * The file that was announced is there. Repeated with the same content, it changes nothing.
 *
 * Input    ttlMs: when it is deleted, never unless given
 * Fails    not_found | conflict { reason: "content" } when it is another than was announced or committed | conflict { reason: "version" }
 *          | invalid_transition when it has failed or was deleted
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
    if (before.sha256 !== null && before.sha256 !== sha256)
      fail("conflict", { reason: "content", artifactId }, "the content is another than was announced");
    if (before.state === "ready") return before;
    requireVersion(before, expectedVersion);
    const row = yield* one<ArtifactRow>(sql`
      UPDATE artifacts SET state = 'ready', size_bytes = ${sizeBytes}, sha256 = ${sha256}, uri = ${uri},
        expires_at = ${ttlMs === undefined ? null : after(now, ttlMs)}, version = version + 1, updated_at = ${now}
      WHERE id = ${artifactId} RETURNING *`);
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
 * One artifact, in whatever state.
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
 * Artifacts by age, in every state unless one is named; the filters join by AND.
 *
 * Cost     1 statement along an index, at most `limit` rows kept
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
 * A ready artifact is deleted, a pending one has failed; whoever keeps the file removes it. Repeated, it changes nothing.
 *
 * Fails    not_found | conflict { reason: "pinned" | "version" }
 * Effect   one row of artifacts and of changes; its name is free again
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
    refusePinned(before);
    return yield* endArtifact(before, "delete", context);
  },
});

/**
 * Keeps an artifact: it does not expire, and neither it nor its session can be deleted until it is unpinned. Repeated, it changes nothing.
 *
 * Input    pinned: false takes the pin away; then what has expired meanwhile is deleted
 * Fails    not_found | invalid_transition when it has failed or was deleted | conflict { reason: "version" }
 */
export const pin = operation({
  access: "write",
  input: z.strictObject({ artifactId: Id, pinned: z.boolean().default(true), expectedVersion: Version.optional() }),
  output: Artifact,
  errors: ["not_found", "invalid_transition", "conflict"],
  *run({ artifactId, pinned, expectedVersion }, { now, changed }) {
    // Its session first, so that the session is not deleted meanwhile.
    yield* first(
      sql`SELECT id FROM sessions WHERE id = (SELECT session_id FROM artifacts WHERE id = ${artifactId}) ${forUpdate}`,
    );
    const before = yield* lockRow("artifact", artifactId);
    requireState(before, "artifact", ["pending", "ready"]);
    if ((before.pinned === 1) === pinned) return before;
    requireVersion(before, expectedVersion);
    const row = yield* one<ArtifactRow>(sql`
      UPDATE artifacts SET pinned = ${pinned}, version = version + 1, updated_at = ${now} WHERE id = ${artifactId} RETURNING *`);
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

/** Ends what has expired, at most so many: a pending artifact has failed, a ready one is deleted. */
export const expireArtifacts = step(function* (limit: number, context: Context) {
  const rows = yield* all<ArtifactRow>(sql`
    SELECT * FROM artifacts
    WHERE expires_at IS NOT NULL AND NOT pinned AND state <> 'failed' AND state <> 'deleted' AND expires_at <= ${context.now}
    ORDER BY expires_at LIMIT ${limit} ${skipLocked}`);
  for (const row of rows) yield* endArtifact(row, "expire", context);
  return rows.map(({ id }) => id);
});

/** What an artifact belongs to. */
interface Place {
  readonly sessionId: string;
  readonly commandId: string | null;
  readonly attempt: number | null;
}

/** Locks the session, so that of two that record the same name at once the second finds the first. */
const findPlace = step(function* (input: {
  sessionId: string;
  commandId?: string | undefined;
  attempt?: number | undefined;
}) {
  const { sessionId, commandId } = input;
  yield* lockRow("session", sessionId);
  if (commandId === undefined) {
    if (input.attempt !== undefined)
      fail("not_found", { entity: "attempt", attempt: input.attempt }, "an attempt is one of a command: name it");
    return { sessionId, commandId: null, attempt: null } as Place;
  }
  const command = yield* first<Pick<CommandRow, "attempt">>(
    sql`SELECT attempt FROM commands WHERE id = ${commandId} AND session_id = ${sessionId}`,
  );
  if (command === undefined) notFound("command", commandId);
  const attempt = input.attempt ?? command.attempt;
  if (attempt < 1 || attempt > command.attempt)
    fail("not_found", { entity: "attempt", attempt }, "the command has had no such attempt");
  return { sessionId, commandId, attempt } as Place;
});

const findNamed = step(function* ({ sessionId, commandId, attempt }: Place, name: string) {
  const within = commandId === null ? sql`command_id IS NULL` : sql`command_id = ${commandId} AND attempt = ${attempt}`;
  return yield* first<ArtifactRow>(sql`
    SELECT * FROM artifacts WHERE session_id = ${sessionId} AND ${within} AND name = ${name} AND state <> 'failed' AND state <> 'deleted' ${forUpdate}`);
});

/** Ends the row of this name, so that another one can be made (D-056). */
const replaceArtifact = step(function* (known: ArtifactRow, replaced: boolean, context: Context) {
  const reason = known.state === "pending" ? "pending" : "content";
  if (!replaced)
    fail(
      "conflict",
      { reason, artifactId: known.id, sha256: known.sha256 },
      "an artifact of this name exists: replace it, or choose another name",
    );
  refusePinned(known);
  yield* endArtifact(known, "replace", context);
});

function refusePinned({ id, pinned }: ArtifactRow): void {
  if (pinned === 1) fail("conflict", { reason: "pinned", artifactId: id }, "the artifact is pinned");
}

const endArtifact = step(function* (before: ArtifactRow, op: string, { now, changed }: Context) {
  const state = before.state === "pending" ? "failed" : "deleted";
  const row = yield* one<ArtifactRow>(sql`
    UPDATE artifacts SET state = ${state}, pinned = ${false}, version = version + 1, updated_at = ${now} WHERE id = ${before.id} RETURNING *`);
  changed({ entity: "artifact", id: row.id, op, version: row.version, sessionId: row.session_id, detail: { state } });
  return row;
});

interface NewArtifact {
  readonly id: string;
  readonly place: Place;
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
  const { id, place, name, kind, state, sizeBytes, sha256, expiresAt } = artifact;
  const row = yield* first<ArtifactRow>(sql`
    INSERT INTO artifacts (id, session_id, command_id, attempt, name, kind, state, content_type, description, size_bytes, sha256, uri, metadata, expires_at,
      created_at, updated_at)
    VALUES (${id}, ${place.sessionId}, ${place.commandId}, ${place.attempt}, ${name}, ${kind}, ${state}, ${artifact.contentType ?? null},
      ${artifact.description ?? null}, ${sizeBytes ?? null}, ${sha256 ?? null}, ${artifact.uri ?? null}, ${artifact.metadata ?? null}, ${expiresAt}, ${now}, ${now})
    ON CONFLICT (id) DO NOTHING RETURNING *`);
  if (row === undefined) fail("conflict", { reason: "exists", artifactId: id }, "an artifact with this id exists");
  const detail = {
    name,
    kind,
    sha256,
    commandId: place.commandId ?? undefined,
  };
  changed({ entity: "artifact", id, op, version: 1, sessionId: place.sessionId, detail });
  return row;
});
