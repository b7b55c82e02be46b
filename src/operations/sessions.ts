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
import { LabelFilter, labelSetOf, noLabels } from "../model/labels.ts";
import { isOpen, Session, type SessionRow, sessionFields } from "../model/sessions.ts";
import type { TokenRow } from "../model/tokens.ts";
import { sessionStates } from "../model/vocabulary.ts";
import { fail, NotYet, operation } from "../operation.ts";
import { present } from "../present.ts";
import { change, first, forKeyShare, forUpdate, sql, step } from "../sql.ts";
import { cancelCommand, lockActiveCommands } from "./commandState.ts";
import { enqueueCommands } from "./commands.ts";
import { invalidTransition, notFound, requireState } from "./failures.ts";
import { endByForce } from "./forcedEnd.ts";
import { filter, listPage } from "./paging.ts";
import { patchOfSession } from "./patchState.ts";
import { lockActiveRepository } from "./repositories.ts";
import { ReserveInput, reserveWorktree } from "./reservation.ts";
import { findRow, getRow, lockRow } from "./rows.ts";
import { writeRow } from "./rowWrite.ts";
import { keepLockedSessionActive } from "./sessionActivity.ts";
import { deleteSomeOfSession } from "./sessionDeletion.ts";
import { byLabels, writeLabels } from "./sessionLabels.ts";
import { endSession, lockOpenSession, lockSessionToEnd, saveSession } from "./sessionState.ts";
import { sessionTopic } from "./topics.ts";
import { requireVersion } from "./versions.ts";

/**
 * Creates a session on a commit. With `reserve` it also leases a worktree, and with `commands` it also adds commands.
 * Either all of this happens or nothing.
 *
 * Input    labels: labels of the session's own, by key, at most 32; sessions.list finds it by them. idleTtlMs: the time without use after which the session expires. Use is: changes of the session and its
 *          commands, queued and running commands as long as they are there, writes to its debuggers and artifacts, and
 *          renewals and reports of its worktree. deadlineMs: the time after which the session expires, however it is
 *          used. reserve: the fields id, runnerId, owner, ttlMs, environmentHash and path of worktrees.reserve. Only
 *          the runner that holds the worktree can claim the session's commands: with an owner and no runnerId, nobody
 *          can while that lease lasts. requires: labels that a runner must have to get any of its commands. commands: as in commands.enqueue, at most 500. tokenId: the token under which
 *          the session was requested; it may be revoked or expired. patchHash: the SHA-256 of a patch. Alone, it names a
 *          recorded one (patches.find, patches.record). With patchUri, the patch is recorded unless its hash is known; a
 *          session that names another uri than the recorded one does not refer to the recorded patch. patchUri without a
 *          hash is for data URIs: the runner of this package checks every other patch
 * Result   { session, lease, commands }; lease is null without `reserve`
 * Fails    not_found, also for the hash of a patch that is not known and has no patchUri | invalid_transition when the
 *          repository is archived | conflict { reason: "exists" } | conflict { reason: "discarded" } when a collector is
 *          removing the file at patchUri | the failures of worktrees.reserve and commands.enqueue
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
    const token = input.tokenId === undefined ? undefined : yield* keepToken(input.tokenId);
    const patch = yield* patchOfSession(input, context);
    const rerunOf = input.rerunOf === undefined ? undefined : yield* getRow("session", input.rerunOf);
    yield* change(sql`
      INSERT INTO sessions (
        id,
        repository_id,
        token_id,
        account_id,
        requested_by,
        commit_sha,
        patch_id,
        patch_hash,
        patch_uri,
        requires,
        state,
        max_parallel,
        auto_complete,
        on_failure,
        rerun_of,
        idle_ttl_ms,
        expires_at,
        deadline_at,
        last_activity_at,
        metadata,
        labels,
        created_at,
        updated_at
      ) VALUES (
        ${input.id},
        ${repository.id},
        ${token?.id ?? null},
        ${token?.account_id ?? null},
        ${input.requestedBy ?? null},
        ${input.commitSha},
        ${patch?.id ?? null},
        ${input.patchHash ?? null},
        ${input.patchUri ?? patch?.uri ?? null},
        ${labelSetOf(input.requires)},
        'pending',
        ${input.maxParallel},
        ${input.autoComplete},
        ${input.onFailure},
        ${rerunOf?.id ?? null},
        ${input.idleTtlMs ?? null},
        ${input.idleTtlMs === undefined ? null : after(now, input.idleTtlMs)},
        ${input.deadlineMs === undefined ? null : after(now, input.deadlineMs)},
        ${now},
        ${input.metadata ?? null},
        ${input.labels},
        ${now},
        ${now}
      )`);
    if (input.labels !== noLabels) yield* writeLabels({ ...input, created_at: now.getTime() });
    context.counted("session", undefined, "pending");
    changed({ entity: "session", id: input.id, op: "create", version: 1, sessionId: input.id });
    const lease =
      input.reserve === undefined ? null : yield* reserveFor(input.id, input.repositoryId, input.reserve, context);
    const commands = yield* enqueueCommands(yield* lockRow("session", input.id), input.commands, context);
    return { session: yield* lockRow("session", input.id), lease, commands };
  },
});

/** Returns a token, and keeps retention from removing it before the session names it (D-086). */
const keepToken = step(function* (id: string) {
  return (yield* first<TokenRow>(sql`SELECT * FROM tokens WHERE id = ${id} ${forKeyShare}`)) ?? notFound("token", id);
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
 * Pins a session: until it is unpinned neither it nor what belongs to it is removed by retention, and it cannot be
 * deleted. Repeating the call changes nothing.
 *
 * Input    pinned: false removes the pin
 * Fails    not_found | conflict { reason: "version" }
 * Effect   one row of sessions, one row of changes
 */
export const pin = operation({
  access: "write",
  input: z.strictObject({ sessionId: Id, pinned: z.boolean().default(true), expectedVersion: Version.optional() }),
  output: Session,
  errors: ["not_found", "conflict"],
  *run({ sessionId, pinned, expectedVersion }, context) {
    const before = yield* lockRow("session", sessionId);
    if ((before.pinned === 1) === pinned) return before;
    requireVersion(before, expectedVersion);
    yield* keepLockedSessionActive(before, context);
    const row = yield* writeRow<SessionRow>("session", before, { pinned: Number(pinned) }, context);
    const op = pinned ? "pin" : "unpin";
    context.changed({ entity: "session", id: sessionId, op, version: row.version, sessionId });
    return yield* getRow("session", sessionId);
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

const unlabelled = { key: undefined, label: undefined, otherLabels: undefined };

/**
 * Lists sessions. A row must match all filters that are present.
 *
 * Input    accountId: the account of the token under which the session was requested. labels: 1 .. 8 labels that a session
 *          must have, `key` with any value or `key=value`
 * Cost     1 statement along an index. With filters besides the first of labels (its first one), commitSha, patchId, tokenId,
 *          accountId, requestedBy, repositoryId (which may go with state) and state, 2 statements that read at most 5 000 rows
 */
export const list = operation({
  access: "read",
  input: listInput("session", {
    repositoryId: Id.optional(),
    state: oneOrMore(sessionStates),
    requestedBy: Name.optional(),
    accountId: Id.optional(),
    tokenId: Id.optional(),
    patchId: Id.optional(),
    commitSha: CommitSha.optional(),
    labels: LabelFilter.optional(),
  }),
  output: page(Session),
  errors: [],
  *run(input) {
    const { key, label, otherLabels } = input.labels === undefined ? unlabelled : byLabels(input.labels);
    return yield* listPage("session", input, {
      ...present({ key }),
      filters: {
        label,
        otherLabels,
        commit: filter(sql`commit_sha`, input.commitSha),
        patch: filter(sql`patch_id`, input.patchId),
        token: filter(sql`token_id`, input.tokenId),
        account: filter(sql`account_id`, input.accountId),
        requester: filter(sql`requested_by`, input.requestedBy),
        repository: filter(sql`repository_id`, input.repositoryId),
        state: filter(sql`state`, input.state),
      },
      indexes: [
        ["label"],
        ["commit"],
        ["patch"],
        ["token"],
        ["account"],
        ["requester"],
        ["repository", "state"],
        ["repository"],
        ["state"],
      ],
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

export { remove as delete };

/**
 * Deletes an ended session with its commands, attempts, logs, artifacts and debug sessions. Each call does a few
 * milliseconds of work, and the client repeats it until all is deleted: each log before its command, the session last.
 * Deleting a session that does not exist succeeds.
 *
 * Fails    invalid_transition while the session is open or has active commands | conflict { reason: "version" }
 *          | conflict { reason: "pinned", sessionId } while the session is pinned, or with artifactId while an artifact
 *          of it is; nothing is deleted, unless it was pinned between two steps
 * Effect   one row of changes for each artifact, whose detail has its uri, and one for the session, whose detail has
 *          its patchUri if it referred to no recorded patch: that file is left to its owner. The files of the artifacts go
 *          to a collector (files.claim). A recorded patch stays until patches.delete, or until retention removes it
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
    if (session.pinned === 1)
      fail("conflict", { reason: "pinned", sessionId }, `session ${sessionId} is pinned: unpin it first`);
    const pinned = yield* first<{ id: string }>(
      sql`SELECT id FROM artifacts WHERE session_id = ${sessionId} AND pinned LIMIT 1`,
    );
    if (pinned !== undefined) {
      const message = `artifact ${pinned.id} of the session is pinned: unpin it first`;
      fail("conflict", { reason: "pinned", artifactId: pinned.id }, message);
    }
    const { left } = yield* deleteSomeOfSession(sessionId, context);
    if (left) return { deleted: 0 };
    yield* change(sql`DELETE FROM sessions WHERE id = ${sessionId}`);
    context.counted("session", session.state, undefined);
    context.changed({
      entity: "session",
      id: sessionId,
      op: "delete",
      version: session.version + 1,
      sessionId,
      detail: session.patch_uri === null || session.patch_id !== null ? undefined : { patchUri: session.patch_uri },
    });
    return { deleted: 1 };
  },
});

function requireFinished({ id, state, active_commands }: SessionRow): void {
  if (isOpen(state)) invalidTransition("session", state, `session ${id} is ${state}: end it first`);
  if (active_commands > 0) {
    const message = `session ${id} is ${state}, and ${active_commands} of its commands are still active: wait for them`;
    invalidTransition("session", state, message);
  }
}
