// Sessions: pieces of work on one commit, and perhaps a patch. A session runs commands, usually in a worktree that is
// leased for it, and ends by its result, by cancellation, after its idle timeout, or with its last command
// (autoComplete). Its worktree is released when the session has ended and none of its commands is active.
import { z } from "zod";
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import { StoreError } from "../errors.ts";
import { boolean, page, record } from "../model/codec.ts";
import { CommandInput, type CommandRow, SessionCreated } from "../model/commands.ts";
import { CommitSha, Id, listInput, Name, oneOrMore, Reason, Version, WaitMs } from "../model/fields.ts";
import { isOpen, Session, type SessionRow, sessionFields } from "../model/sessions.ts";
import { sessionStates } from "../model/vocabulary.ts";
import { fail, NotYet, operation } from "../operation.ts";
import { all, change, first, forUpdate, type Statement, sql, step } from "../sql.ts";
import { deleteSomeArtifacts } from "./artifactState.ts";
import { cancelCommand, lockActiveCommands } from "./commandState.ts";
import { enqueueCommands } from "./commands.ts";
import { deleteSomeDebugRows } from "./debugState.ts";
import { invalidTransition, requireState } from "./failures.ts";
import { endByForce } from "./forcedEnd.ts";
import { filter, listPage } from "./paging.ts";
import { lockActiveRepository } from "./repositories.ts";
import { ReserveInput, reserveWorktree } from "./reservation.ts";
import { bytesPerStep, countWithin, findRow, getRow, largeBytesOf, lockRow } from "./rows.ts";
import { endSession, lockOpenSession, lockSessionToEnd, saveSession } from "./sessionState.ts";
import { sessionTopic } from "./topics.ts";
import { requireVersion } from "./versions.ts";

/**
 * Creates a session on a commit. With `reserve` it also leases a worktree, and with `commands` it also adds commands.
 * Either all of this happens or nothing.
 *
 * Input    idleTtlMs: the time without use after which the session expires. Use is: changes of the session and its
 *          commands, queued and running commands as long as they are there, writes to its debuggers and artifacts, and
 *          renewals and reports of its worktree. deadlineMs: the time after which the session expires, however it is
 *          used. reserve: the fields id, runnerId, owner, ttlMs, environmentHash and path of worktrees.reserve. Only
 *          the runner that holds the worktree can claim the session's commands: with an owner and no runnerId, nobody
 *          can while that lease lasts. commands: as in commands.enqueue, at most 500. tokenId: the token under which
 *          the session was requested; it may be revoked or expired
 * Result   { session, lease, commands }; lease is null without `reserve`
 * Fails    not_found | invalid_transition when the repository is archived | conflict { reason: "exists" } | the
 *          failures of worktrees.reserve and commands.enqueue
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
    if ((yield* findRow("session", input.id)) !== undefined)
      fail("conflict", { reason: "exists", sessionId: input.id }, `session ${input.id} exists already`);
    // Tokens are never deleted, so a token that is found here still exists when the foreign key checks it (D-086).
    const token = input.tokenId === undefined ? undefined : yield* getRow("token", input.tokenId);
    yield* change(sql`
      INSERT INTO sessions (
        id,
        repository_id,
        token_id,
        account_id,
        requested_by,
        commit_sha,
        patch_hash,
        patch_uri,
        state,
        max_parallel,
        auto_complete,
        idle_ttl_ms,
        expires_at,
        deadline_at,
        last_activity_at,
        metadata,
        created_at,
        updated_at
      ) VALUES (
        ${input.id},
        ${repository.id},
        ${token?.id ?? null},
        ${token?.account_id ?? null},
        ${input.requestedBy ?? null},
        ${input.commitSha},
        ${input.patchHash ?? null},
        ${input.patchUri ?? null},
        'pending',
        ${input.maxParallel},
        ${input.autoComplete},
        ${input.idleTtlMs ?? null},
        ${input.idleTtlMs === undefined ? null : after(now, input.idleTtlMs)},
        ${input.deadlineMs === undefined ? null : after(now, input.deadlineMs)},
        ${now},
        ${input.metadata ?? null},
        ${now},
        ${now}
      )`);
    context.counted("session", undefined, "pending");
    changed({ entity: "session", id: input.id, op: "create", version: 1, sessionId: input.id });
    const lease =
      input.reserve === undefined ? null : yield* reserveFor(input.id, input.repositoryId, input.reserve, context);
    const commands = yield* enqueueCommands(yield* lockRow("session", input.id), input.commands, context);
    return { session: yield* lockRow("session", input.id), lease, commands };
  },
});

/** Leases a worktree for a new session. Fails when none is free, because a transaction cannot wait. */
const reserveFor = step(function* (
  sessionId: string,
  repositoryId: string,
  reserve: z.output<typeof ReserveInput>,
  context: Context,
) {
  const lease = yield* reserveWorktree({ ...reserve, sessionId, repositoryId }, context);
  if (lease instanceof NotYet) throw lease.atTimeout;
  return lease;
});

/**
 * Ends a session with a result. Repeating the call with the same result changes nothing.
 *
 * Fails    not_found | invalid_transition when the session is ending or has ended with another result
 *          | conflict { reason: "version" }
 * Effect   queued commands are cancelled, and the runners of active ones are asked to stop them; once no command is
 *          active, the worktree becomes dirty, or removed if it was still being created
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
    const session = yield* lockSessionToEnd(sessionId);
    if (session.state === outcome) return session;
    requireVersion(session, expectedVersion);
    requireState(session, "session", ["pending", "running"]);
    return yield* endSession(session, outcome, context, reason);
  },
});

/**
 * Cancels a session: it is `cancelling` until its last active command has ended, then `cancelled`. Repeating the call
 * changes nothing.
 *
 * Input    force: ends the active commands at once, without their runners, and then the session
 * Effect   with `force`, the runners' fencing tokens are lost, and the worktree is quarantined if a command was active,
 *          because its process may still write in it
 * Fails    not_found | invalid_transition when the session has ended with another result
 *          | conflict { reason: "version" }
 */
export const cancel = operation({
  access: "write",
  input: z.strictObject({
    sessionId: Id,
    reason: Reason.optional(),
    force: z.boolean().default(false),
    expectedVersion: Version.optional(),
  }),
  output: Session,
  errors: ["not_found", "invalid_transition", "conflict"],
  *run({ sessionId, reason, force, expectedVersion }, context) {
    const session = yield* lockSessionToEnd(sessionId);
    if (session.state === "cancelled" || (session.state === "cancelling" && !force)) return session;
    requireVersion(session, expectedVersion);
    requireState(session, "session", force ? ["pending", "running", "cancelling"] : ["pending", "running"]);
    if (!force || session.active_commands === 0) return yield* endSession(session, "cancelled", context, reason);
    const commands: CommandRow[] = [];
    for (const command of yield* lockActiveCommands(sessionId))
      commands.push(command.state === "cancelling" ? command : yield* cancelCommand(command, undefined, context));
    const forced = yield* endByForce(session, commands, context);
    return yield* endSession(forced.session, "cancelled", context, reason);
  },
});

/**
 * Marks a session as active and resets its idle timeout.
 *
 * Input    start: true moves the session from pending to running
 * Fails    not_found | invalid_transition when the session is ending or has ended
 * Effect   one row of sessions; a row of changes only when the session starts
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
 * Returns one session.
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

/**
 * Lists sessions. A row must match all filters that are present.
 *
 * Input    accountId: the account of the token under which the session was requested
 * Cost     1 statement along an index. With filters besides the first of commitSha, tokenId, accountId, requestedBy,
 *          repositoryId (which may go with state) and state, 2 statements that read at most 5 000 rows
 */
export const list = operation({
  access: "read",
  input: listInput("session", {
    repositoryId: Id.optional(),
    state: oneOrMore(sessionStates),
    requestedBy: Name.optional(),
    accountId: Id.optional(),
    tokenId: Id.optional(),
    commitSha: CommitSha.optional(),
  }),
  output: page(Session),
  errors: [],
  *run(input) {
    return yield* listPage("session", input, {
      filters: {
        commit: filter(sql`commit_sha`, input.commitSha),
        token: filter(sql`token_id`, input.tokenId),
        account: filter(sql`account_id`, input.accountId),
        requester: filter(sql`requested_by`, input.requestedBy),
        repository: filter(sql`repository_id`, input.repositoryId),
        state: filter(sql`state`, input.state),
      },
      indexes: [["commit"], ["token"], ["account"], ["requester"], ["repository", "state"], ["repository"], ["state"]],
    });
  },
});

/**
 * Waits until the session has ended, and returns it.
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
      ? new NotYet(
          [sessionTopic(sessionId)],
          new StoreError("deadline_exceeded", `session ${sessionId} has not ended yet`),
        )
      : session;
  },
});

/** The number of rows that one step of delete removes. It takes a few milliseconds (D-034). */
const rowsPerStep = 256;

export { remove as delete };

/**
 * Deletes an ended session with its commands, attempts, logs, artifacts and debug sessions. Each call does a few
 * milliseconds of work, and the client repeats it until all is deleted: each log before its command, the session last.
 * Deleting a session that does not exist succeeds.
 *
 * Fails    invalid_transition while the session is open or has active commands | conflict { reason: "version" }
 *          | conflict { reason: "pinned", artifactId } while an artifact of the session is pinned; nothing is deleted,
 *          unless the artifact was pinned between two steps
 * Effect   one row of changes for each artifact, whose detail has its uri, and one for the session, whose detail has
 *          its patchUri. The files of the artifacts go to a collector (files.claim); a patch is left to its owner
 */
const remove = operation({
  access: "write",
  input: z.strictObject({ sessionId: Id, expectedVersion: Version.optional() }),
  output: record({ deleted: boolean }),
  errors: ["invalid_transition", "conflict"],
  again: (input, { deleted }) => (deleted ? undefined : input),
  *run({ sessionId, expectedVersion }, context) {
    // artifacts.pin takes the same lock, so nothing is pinned between this check and the deletion.
    const session = yield* first<SessionRow>(sql`SELECT * FROM sessions WHERE id = ${sessionId} ${forUpdate}`);
    if (session === undefined) return { deleted: 1 };
    requireVersion(session, expectedVersion);
    requireFinished(session);
    const pinned = yield* first<{ id: string }>(
      sql`SELECT id FROM artifacts WHERE session_id = ${sessionId} AND pinned LIMIT 1`,
    );
    if (pinned !== undefined) {
      const message = `artifact ${pinned.id} of the session is pinned: unpin it first`;
      fail("conflict", { reason: "pinned", artifactId: pinned.id }, message);
    }
    if (yield* deleteSomeArtifacts(sessionId, context)) return { deleted: 0 };
    if (yield* deleteSomeDebugRows(sessionId, context)) return { deleted: 0 };
    if (yield* deleteSomeCommands(sessionId, context)) return { deleted: 0 };
    yield* change(sql`DELETE FROM sessions WHERE id = ${sessionId}`);
    context.counted("session", session.state, undefined);
    context.changed({
      entity: "session",
      id: sessionId,
      op: "delete",
      version: session.version + 1,
      sessionId,
      detail: session.patch_uri === null ? undefined : { patchUri: session.patch_uri },
    });
    return { deleted: 1 };
  },
});

/**
 * Deletes some commands of a session with their attempts, or a part of the log of one of them. Looks only at the first
 * commands that are left, so that a step takes no longer in a large session. Returns false when no command is left.
 */
const deleteSomeCommands = step(function* (sessionId: string, context: Context) {
  const rows = yield* all<{ sequence: number; bytes: number }>(sql`
    SELECT commands.sequence, ${largeBytesOf.command} AS bytes
    FROM commands LEFT JOIN attempts ON attempts.command_id = commands.id
    WHERE commands.session_id = ${sessionId}
    ORDER BY commands.sequence LIMIT ${rowsPerStep}`);
  const last = rows[countWithin(rows, bytesPerStep) - 1];
  if (last === undefined) return false;
  const some = sql`commands.session_id = ${sessionId} AND commands.sequence <= ${last.sequence}`;
  if (!(yield* deleteSomeLogChunks(some, context))) yield* deleteCommands(some, context);
  return true;
});

/** Deletes these commands with their attempts. The attempts first, because no statement returns rows that a cascade deletes. */
const deleteCommands = step(function* (some: Statement, { counted }: Context) {
  const logs = yield* all<{ log_state: string; bytes: number }>(sql`
    DELETE FROM attempts
    WHERE command_id IN (SELECT id FROM commands WHERE ${some})
    RETURNING log_state, next_offset - dropped_bytes AS bytes`);
  for (const { log_state, bytes } of logs) {
    counted("log", log_state, undefined);
    if (log_state === "sealed") counted("log_bytes", "sealed", undefined, bytes);
  }
  const rows = yield* all<{ state: string }>(sql`DELETE FROM commands WHERE ${some} RETURNING state`);
  for (const { state } of rows) counted("command", state, undefined);
});

function requireFinished({ id, state, active_commands }: SessionRow): void {
  if (isOpen(state)) invalidTransition("session", state, `session ${id} is ${state}: end it first`);
  if (active_commands > 0) {
    const message = `session ${id} is ${state}, and ${active_commands} of its commands are still active: wait for them`;
    invalidTransition("session", state, message);
  }
}

/** Deletes some chunks of one log of these commands. Returns false when no chunk is left. */
const deleteSomeLogChunks = step(function* (commands: Statement, { counted }: Context) {
  const attempt = yield* first<{ id: number; log_state: string; bytes: number }>(sql`
    SELECT attempts.id, attempts.log_state, attempts.next_offset - attempts.dropped_bytes AS bytes
    FROM commands JOIN attempts ON attempts.command_id = commands.id
    WHERE ${commands} AND EXISTS (SELECT 1 FROM log_chunks WHERE attempt_id = attempts.id)
    LIMIT 1`);
  if (attempt === undefined) return false;
  const chunks = yield* all<{ start_offset: number }>(sql`
    SELECT start_offset FROM log_chunks WHERE attempt_id = ${attempt.id} ORDER BY start_offset LIMIT ${rowsPerStep}`);
  const last = chunks.at(-1)?.start_offset ?? 0;
  yield* change(sql`DELETE FROM log_chunks WHERE attempt_id = ${attempt.id} AND start_offset <= ${last}`);
  if (attempt.log_state !== "sealed") return true;
  yield* change(sql`UPDATE attempts SET log_state = 'pruned' WHERE id = ${attempt.id}`);
  counted("log", "sealed", "pruned");
  counted("log_bytes", "sealed", undefined, attempt.bytes);
  return true;
});
