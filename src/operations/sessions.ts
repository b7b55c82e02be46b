import { z } from "zod";
import { StoreError } from "../errors.ts";
import { boolean, page, record } from "../model/codec.ts";
import { CommandInput, SessionCreated } from "../model/commands.ts";
import { Id, Name, paging, Reason, Version, WaitMs } from "../model/fields.ts";
import { isOpen, Session, type SessionRow, sessionFields } from "../model/sessions.ts";
import { sessionStates } from "../model/vocabulary.ts";
import { after, fail, NotYet, operation } from "../operation.ts";
import { all, change, first, forUpdate, sql, step, when } from "../sql.ts";
import { enqueueCommands } from "./commands.ts";
import { deleteSomeDebugRows } from "./debugState.ts";
import { requireState } from "./failures.ts";
import { listPage } from "./paging.ts";
import { lockActiveRepository } from "./repositories.ts";
import { ReserveInput, reserveWorktree } from "./reservation.ts";
import { getRow, lockRow } from "./rows.ts";
import { endSession, lockOpenSession, saveSession } from "./sessionState.ts";
import { sessionTopic } from "./topics.ts";
import { requireVersion } from "./versions.ts";

/**
 * Opens a session on a commit; with `reserve` it has a worktree and with `commands` work, all or nothing.
 *
 * Input    reserve: as worktrees.reserve; its environmentHash, path and holder; commands: as commands.enqueue, at most
 *          500
 * Result   { session, lease or null, commands }
 * Fails    not_found | invalid_transition when the repository is archived | conflict { reason: "exists" } | what
 *          reserve and enqueue fail with
 */
export const create = operation({
  access: "write",
  input: z.strictObject({
    ...sessionFields,
    reserve: ReserveInput.optional(),
    commands: z.array(CommandInput).max(500).default([]),
  }),
  output: SessionCreated,
  errors: ["invalid_input", "not_found", "invalid_transition", "conflict", "capacity_exhausted"],
  *run(input, context) {
    const { now, changed } = context;
    const repository = yield* lockActiveRepository(input.repositoryId);
    const known = yield* first<SessionRow>(sql`SELECT * FROM sessions WHERE id = ${input.id}`);
    if (known !== undefined)
      fail("conflict", { reason: "exists", sessionId: input.id }, "a session with this id exists");
    yield* change(sql`
      INSERT INTO sessions (id, repository_id, token_id, requested_by, commit_sha, patch_hash, patch_uri, state, max_parallel, auto_complete, idle_ttl_ms,
        expires_at, last_activity_at, metadata, created_at, updated_at)
      VALUES (${input.id}, ${repository.id}, ${input.tokenId ?? null}, ${input.requestedBy ?? null}, ${input.commitSha}, ${input.patchHash ?? null},
        ${input.patchUri ?? null}, 'pending', ${input.maxParallel}, ${input.autoComplete}, ${input.idleTtlMs ?? null},
        ${input.idleTtlMs === undefined ? null : after(now, input.idleTtlMs)}, ${now}, ${input.metadata ?? null}, ${now}, ${now})`);
    changed({ entity: "session", id: input.id, op: "create", version: 1, sessionId: input.id });
    const lease =
      input.reserve === undefined ? null : yield* reserveFor(input.id, input.repositoryId, input.reserve, context);
    const commands = yield* enqueueCommands(yield* lockRow("session", input.id), input.commands, context);
    return { session: yield* lockRow("session", input.id), lease, commands };
  },
});

const reserveFor = step(function* (
  sessionId: string,
  repositoryId: string,
  reserve: { id: string; ttlMs: number },
  context: Parameters<typeof endSession>[2],
) {
  const lease = yield* reserveWorktree({ ...reserve, sessionId, repositoryId }, context);
  if (lease instanceof NotYet) throw lease.atTimeout;
  return lease;
});

/**
 * Ends a session with its result. Repeated with the same result, it changes nothing.
 *
 * Input    outcome: completed or failed
 * Fails    not_found | invalid_transition when it is ending or has ended otherwise | conflict { reason: "version" }
 * Effect   queued commands cancelled, active ones asked to stop, the worktree dirty once none is active
 */
export const complete = operation({
  access: "write",
  input: z.strictObject({
    sessionId: Id,
    outcome: z.enum(["completed", "failed"]).default("completed"),
    reason: Reason.optional(),
    expectedVersion: Version.optional(),
  }),
  output: Session,
  errors: ["not_found", "invalid_transition", "conflict"],
  *run({ sessionId, outcome, reason, expectedVersion }, context) {
    const session = yield* lockRow("session", sessionId);
    if (session.state === outcome) return session;
    requireVersion(session, expectedVersion);
    requireState(session, "session", ["pending", "running"]);
    return yield* endSession(session, outcome, context, reason);
  },
});

/**
 * Stops a session: `cancelling` until its last active command has ended, then `cancelled`. Repeated, it changes
 * nothing.
 *
 * Fails    not_found | invalid_transition when it has ended otherwise | conflict { reason: "version" }
 */
export const cancel = operation({
  access: "write",
  input: z.strictObject({ sessionId: Id, reason: Reason.optional(), expectedVersion: Version.optional() }),
  output: Session,
  errors: ["not_found", "invalid_transition", "conflict"],
  *run({ sessionId, reason, expectedVersion }, context) {
    const session = yield* lockRow("session", sessionId);
    if (session.state === "cancelling" || session.state === "cancelled") return session;
    requireVersion(session, expectedVersion);
    requireState(session, "session", ["pending", "running"]);
    return yield* endSession(session, "cancelled", context, reason);
  },
});

/**
 * Says that the session is in use: its idle time starts anew. `start` moves it from pending to running.
 *
 * Fails    not_found | invalid_transition when it is ending or has ended
 * Effect   no row of changes, unless it starts
 */
export const touch = operation({
  access: "write",
  input: z.strictObject({ sessionId: Id, start: z.boolean().default(false) }),
  output: Session,
  errors: ["not_found", "invalid_transition"],
  *run({ sessionId, start }, context) {
    const session = yield* lockOpenSession(sessionId);
    const starts = start && session.state === "pending";
    return yield* saveSession(
      session,
      starts ? { state: "running", started_at: context.now.getTime() } : {},
      context,
      starts ? "start" : undefined,
    );
  },
});

/**
 * One session.
 *
 * Fails    not_found
 * Cost     1 statement by primary key
 */
export const get = operation({
  access: "read",
  input: z.strictObject({ sessionId: Id }),
  output: Session,
  errors: ["not_found"],
  *run({ sessionId }) {
    return yield* getRow("session", sessionId);
  },
});

/** Sessions by age; the filters join by AND. */
export const list = operation({
  access: "read",
  input: z.strictObject({
    repositoryId: Id.optional(),
    state: z.enum(sessionStates).optional(),
    requestedBy: Name.optional(),
    ...paging,
  }),
  output: page(Session),
  errors: [],
  *run(input) {
    return yield* listPage(
      "session",
      input,
      when(input.repositoryId, (repositoryId) => sql`repository_id = ${repositoryId}`),
      when(input.state, (state) => sql`state = ${state}`),
      when(input.requestedBy, (requestedBy) => sql`requested_by = ${requestedBy}`),
    );
  },
});

/**
 * Answers when the session has ended.
 *
 * Fails    not_found | deadline_exceeded after timeoutMs
 */
export const wait = operation({
  access: "read",
  input: z.strictObject({ sessionId: Id, timeoutMs: WaitMs.default(600_000) }),
  output: Session,
  errors: ["not_found", "deadline_exceeded"],
  waitMs: (input) => input.timeoutMs,
  *run({ sessionId }) {
    const session = yield* getRow("session", sessionId);
    return isOpen(session.state)
      ? new NotYet([sessionTopic(sessionId)], new StoreError("deadline_exceeded", "the session has not ended"))
      : session;
  },
});

/** Log chunks, or artifacts, that one call of delete removes; a full one takes some milliseconds (D-034). */
const chunksPerStep = 256;

export { remove as delete };

/**
 * Removes an ended session with its commands, attempts, logs, artifacts and debug sessions, in steps of a few
 * milliseconds: logs first, the session last. A session that is gone already is deleted.
 *
 * Fails    invalid_transition while it is open or has active commands | conflict { reason: "version" } | conflict {
 *          reason: "pinned", artifactId } while an artifact of it is pinned: then nothing is removed, unless it was
 *          pinned between two steps
 */
const remove = operation({
  access: "write",
  input: z.strictObject({ sessionId: Id, expectedVersion: Version.optional() }),
  output: record({ deleted: boolean }),
  errors: ["invalid_transition", "conflict"],
  again: (input, { deleted }) => (deleted ? undefined : input),
  *run({ sessionId, expectedVersion }, { changed }) {
    // Locked, as pin does, so that nothing is pinned between the look and the removal.
    const session = yield* first<SessionRow>(sql`SELECT * FROM sessions WHERE id = ${sessionId} ${forUpdate}`);
    if (session === undefined) return { deleted: 1 };
    requireVersion(session, expectedVersion);
    if (isOpen(session.state) || session.active_commands > 0)
      fail("invalid_transition", { entity: "session", state: session.state });
    const pinned = yield* first<{ id: string }>(
      sql`SELECT id FROM artifacts WHERE session_id = ${sessionId} AND pinned LIMIT 1`,
    );
    if (pinned !== undefined)
      fail("conflict", { reason: "pinned", artifactId: pinned.id }, "an artifact of the session is pinned");
    const log = yield* first<{ id: number }>(sql`
      SELECT attempts.id FROM commands JOIN attempts ON attempts.command_id = commands.id
      WHERE commands.session_id = ${sessionId} AND EXISTS (SELECT 1 FROM log_chunks WHERE attempt_id = attempts.id) LIMIT 1`);
    if (log !== undefined) {
      const last = (yield* all<{ start_offset: number }>(sql`
        SELECT start_offset FROM log_chunks WHERE attempt_id = ${log.id} ORDER BY start_offset LIMIT ${chunksPerStep}`)).at(
        -1,
      );
      yield* change(
        sql`DELETE FROM log_chunks WHERE attempt_id = ${log.id} AND start_offset <= ${last?.start_offset ?? 0}`,
      );
      yield* change(sql`UPDATE attempts SET log_state = 'pruned' WHERE id = ${log.id}`);
      return { deleted: 0 };
    }
    const artifacts = yield* change(sql`
      DELETE FROM artifacts WHERE id IN (SELECT id FROM artifacts WHERE session_id = ${sessionId} ORDER BY created_at, id LIMIT ${chunksPerStep})`);
    if (artifacts === chunksPerStep) return { deleted: 0 };
    if (yield* deleteSomeDebugRows(sessionId)) return { deleted: 0 };
    yield* change(sql`DELETE FROM sessions WHERE id = ${sessionId}`);
    changed({ entity: "session", id: sessionId, op: "delete", version: session.version + 1, sessionId });
    return { deleted: 1 };
  },
});
