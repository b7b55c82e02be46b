// Changes of an artifact's row, and the rules of its name and its time. An artifact whose time is over is over for
// every call that would record, announce, commit or pin it, also before the reaper has ended it. Each row of the change
// feed that ends an artifact has its uri, so that the file can be found when the row is gone.
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import { type ArtifactRow, artifactFolders } from "../model/artifacts.ts";
import type { CommandRow } from "../model/commands.ts";
import { fail } from "../operation.ts";
import { all, first, forUpdate, type Statement, skipLocked, sql, step, valueList } from "../sql.ts";
import { notFound, requireState } from "./failures.ts";
import { discardFiles } from "./fileState.ts";
import { bytesPerStep, countWithin, largeBytesOf, lockRow } from "./rows.ts";
import { insertRows, writeRow } from "./rowWrite.ts";
import { keepLockedSessionActive, keepSessionActive } from "./sessionActivity.ts";

type LastRow = Pick<ArtifactRow, "state" | "name" | "uri" | "sha256" | "size_bytes">;

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
export interface Parent {
  readonly sessionId: string;
  readonly commandId: string | null;
  readonly attempt: number | null;
}

/**
 * Returns the parent of a new artifact. Locks the session, so that of two calls that record the same name the second
 * finds the row of the first. An artifact is activity of its session.
 */
export const findParent = step(function* (
  input: { sessionId: string; commandId?: string | undefined; attempt?: number | undefined },
  context: Context,
) {
  const { sessionId, commandId } = input;
  yield* keepLockedSessionActive(yield* lockRow("session", sessionId), context);
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

/** Returns the condition of the pending and ready artifacts of a parent. */
function isNamedIn({ sessionId, commandId, attempt }: Parent): Statement {
  const ofParent =
    commandId === null ? sql`command_id IS NULL` : sql`command_id = ${commandId} AND attempt = ${attempt}`;
  // The conditions on the state repeat those of the unique partial indexes literally, so that the planner can use them.
  return sql`session_id = ${sessionId} AND ${ofParent} AND state <> 'failed' AND state <> 'deleted'`;
}

/**
 * Locks and returns the pending or ready artifact of this name, or undefined. One whose time is over is ended, as the
 * reaper would end it.
 */
export const findNamed = step(function* (parent: Parent, name: string, context: Context) {
  const row = yield* first<ArtifactRow>(
    sql`SELECT * FROM artifacts WHERE ${isNamedIn(parent)} AND name = ${name} ${forUpdate}`,
  );
  if (row === undefined || !isOver(row, context)) return row;
  yield* endArtifact(row, "expire", context);
  return undefined;
});

/** Checks whether the time of an artifact is over: the reaper will end it. */
function isOver({ expires_at, pinned }: ArtifactRow, { now }: Context): boolean {
  return pinned === 0 && expires_at !== null && expires_at <= now.getTime();
}

/**
 * Locks and returns a pending or ready artifact. Fails with `invalid_transition` when it has ended, or when its time is
 * over. The call that locks it counts as activity of its session.
 */
export const lockLiveArtifact = step(function* (artifactId: string, context: Context) {
  const row = yield* lockRow("artifact", artifactId);
  requireState(row, "artifact", ["pending", "ready"]);
  if (isOver(row, context)) {
    const expiredAt = new Date(row.expires_at as number);
    const message = `artifact ${row.id} has expired at ${expiredAt.toISOString()}: record the file again`;
    fail("invalid_transition", { entity: "artifact", state: row.state, expiredAt }, message);
  }
  yield* keepSessionActive(row.session_id, context);
  return row;
});

/**
 * Keeps an artifact at least as long as another call with the same content asks for; without `ttlMs`, for ever. So of
 * two callers that need the same file, neither loses it because of the other.
 */
export const keepLonger = step(function* (before: ArtifactRow, ttlMs: number | undefined, context: Context) {
  const { now, changed } = context;
  const expiresAt = ttlMs === undefined ? null : after(now, ttlMs);
  const isLonger = before.expires_at !== null && (expiresAt === null || expiresAt.getTime() > before.expires_at);
  if (!isLonger) return before;
  const row = yield* writeRow("artifact", before, { expires_at: expiresAt?.getTime() ?? null }, context);
  const detail = { expiresAt: expiresAt?.toISOString() ?? null };
  changed({ entity: "artifact", id: row.id, op: "extend", version: row.version, sessionId: row.session_id, detail });
  return row;
});

/**
 * Fails with `conflict` when the name is a folder of another artifact, or when another artifact has the name of one of
 * its folders: whoever writes both to a disk cannot (D-087). Artifacts whose time is over do not count.
 */
const requireNoFolder = step(function* (parent: Parent, name: string, { now }: Context) {
  const isNotOver = sql`(pinned OR expires_at IS NULL OR expires_at > ${now})`;
  // "0" is the character after "/", so the range holds the names that begin with `name/`.
  const below = yield* first<NamedRow>(sql`
    SELECT id, name FROM artifacts
    WHERE ${isNamedIn(parent)} AND name > ${`${name}/`} AND name < ${`${name}0`} AND ${isNotOver}
    LIMIT 1`);
  if (below !== undefined) failAsFolder(below, `the artifact ${below.name} needs ${name} as a folder`);
  const folders = artifactFolders(name);
  if (folders.length === 0) return;
  const above = yield* first<NamedRow>(sql`
    SELECT id, name FROM artifacts
    WHERE ${isNamedIn(parent)} AND name IN (${valueList(folders)}) AND ${isNotOver}
    LIMIT 1`);
  if (above !== undefined)
    failAsFolder(above, `the artifact ${above.name} is a file, and ${name} needs it as a folder`);
});

type NamedRow = Pick<ArtifactRow, "id" | "name">;

function failAsFolder({ id, name }: NamedRow, problem: string): never {
  fail("conflict", { reason: "folder", artifactId: id, name }, `${problem}: choose another name`);
}

/**
 * Takes the name of a new artifact. `known` is the artifact that has it: it is ended, if it may be replaced (D-056).
 * Otherwise fails with `conflict`.
 */
export const takeName = step(function* (
  parent: Parent,
  { name, replace }: { readonly name: string; readonly replace: boolean },
  known: ArtifactRow | undefined,
  context: Context,
) {
  if (known === undefined) return yield* requireNoFolder(parent, name, context);
  if (!replace) {
    const reason = known.state === "pending" ? "pending" : "content";
    fail(
      "conflict",
      { reason, artifactId: known.id, sha256: known.sha256 },
      `artifact ${known.id} has the name ${name}: replace it, or choose another name`,
    );
  }
  requireUnpinned(known);
  yield* endArtifact(known, "replace", context);
});

export function requireUnpinned({ id, pinned }: ArtifactRow): void {
  if (pinned === 1) fail("conflict", { reason: "pinned", artifactId: id }, `artifact ${id} is pinned: unpin it first`);
}

/** Returns what the change feed says about an artifact that ends, so that its file can be found and removed. */
function lastWords({ state, name, uri, sha256, size_bytes }: LastRow) {
  return { state, name, uri: uri ?? undefined, sha256: sha256 ?? undefined, sizeBytes: size_bytes ?? undefined };
}

/** The states in which artifacts end. */
const endOf = { pending: "failed", ready: "deleted", failed: "failed", deleted: "deleted" } as const;

/** Ends an artifact: a ready one becomes deleted, a pending one failed. */
export const endArtifact = step(function* (before: ArtifactRow, op: string, context: Context) {
  if (before.uri !== null) yield* discardFiles(sql`id = ${before.id}`, context);
  const row = yield* writeRow<ArtifactRow>("artifact", before, { state: endOf[before.state], pinned: 0 }, context);
  context.changed({
    entity: "artifact",
    id: row.id,
    op,
    version: row.version,
    sessionId: row.session_id,
    detail: lastWords(row),
  });
  return row;
});

/** The number of artifacts that one step of the deletion of a session removes. */
const artifactsPerStep = 256;

/**
 * Deletes some artifacts of a session, with a row of the change feed for each. Returns their number, and whether any may
 * be left.
 */
export const deleteSomeArtifacts = step(function* (sessionId: string, context: Context) {
  const sizes = yield* all<{ bytes: number }>(sql`
    SELECT ${largeBytesOf.artifact} AS bytes FROM artifacts
    WHERE session_id = ${sessionId}
    ORDER BY created_at, id LIMIT ${artifactsPerStep}`);
  const count = countWithin(sizes, bytesPerStep);
  if (count === 0) return { rows: 0, left: false };
  const some = sql`
    id IN (SELECT id FROM artifacts WHERE session_id = ${sessionId} ORDER BY created_at, id LIMIT ${count})`;
  yield* discardFiles(some, context);
  const rows = yield* all<LastRow & Pick<ArtifactRow, "id" | "version">>(sql`
    DELETE FROM artifacts
    WHERE ${some}
    RETURNING id, version, state, name, uri, sha256, size_bytes`);
  for (const row of rows) {
    context.counted("artifact", row.state, undefined);
    context.changed({
      entity: "artifact",
      id: row.id,
      op: "delete",
      version: row.version + 1,
      sessionId,
      detail: lastWords({ ...row, state: endOf[row.state] }),
    });
  }
  return { rows: rows.length, left: count < sizes.length || count === artifactsPerStep };
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

export const insertArtifact = step(function* (artifact: NewArtifact, op: string, context: Context) {
  const { now, changed } = context;
  const { id, parent, name, kind, state, sizeBytes, sha256, expiresAt } = artifact;
  const row: ArtifactRow = {
    id,
    session_id: parent.sessionId,
    command_id: parent.commandId,
    attempt: parent.attempt,
    name,
    kind,
    state,
    content_type: artifact.contentType ?? null,
    description: artifact.description ?? null,
    size_bytes: sizeBytes ?? null,
    sha256: sha256 ?? null,
    uri: artifact.uri ?? null,
    metadata: artifact.metadata ?? null,
    expires_at: expiresAt?.getTime() ?? null,
    pinned: 0,
    version: 1,
    created_at: now.getTime(),
    updated_at: now.getTime(),
  };
  if (!(yield* insertRows("artifact", [row], context)))
    fail("conflict", { reason: "exists", artifactId: id }, `artifact ${id} exists already`);
  const detail = { name, kind, sha256, commandId: parent.commandId ?? undefined };
  changed({ entity: "artifact", id, op, version: 1, sessionId: parent.sessionId, detail });
  return row;
});
