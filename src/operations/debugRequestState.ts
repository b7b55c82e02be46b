// Changes of requests to a debugger, under the lock of their debug session: how they end, and which of them end because the
// stop or the adapter is over.
import type { Context } from "../context.ts";
import { bounds } from "../limits.ts";
import type { DebugSessionRow } from "../model/debug.ts";
import type { DebugRequestRow } from "../model/debugRequests.ts";
import { standsAt } from "../model/debugThreads.ts";
import type { DebugRequestState } from "../model/vocabulary.ts";
import { all, change, changeEach, first, skipLocked, sql, step } from "../sql.ts";
import { type DebugMoment, noteEntries } from "./debugHistory.ts";
import { readThreads } from "./debugThreads.ts";
import { debugQueueTopic, debugRequestTopic } from "./topics.ts";

/** The part of an open request that its end depends on. */
export type OpenRequest = Pick<
  DebugRequestRow,
  "id" | "state" | "command" | "stop_epoch" | "thread_id" | "taken_at" | "expires_at"
>;

/** Returns the open requests of a debug session in their order. */
export const openRequests = step(function* (debugSessionId: string) {
  return yield* all<OpenRequest>(sql`
    SELECT id, state, command, stop_epoch, thread_id, taken_at, expires_at FROM debug_requests
    WHERE debug_session_id = ${debugSessionId} AND ended_at IS NULL
    ORDER BY position LIMIT ${bounds.debugRequests}`);
});

/** The end of requests. */
interface RequestEnd {
  readonly state: Exclude<DebugRequestState, "queued" | "taken">;
  readonly reason?: string | undefined;
  readonly answer?: {
    readonly success: boolean;
    readonly body: string | null;
    readonly message: string | null;
    readonly cut: boolean;
  };
  /** The name of who ended them; that of the caller by default, and null for the store itself. */
  readonly actor?: string | null;
}

/** Ends open requests of a locked debug session. Their exact arguments, which may hold secrets, are removed. */
export const endRequests = step(function* (
  debug: DebugMoment,
  rows: readonly Pick<OpenRequest, "id" | "state" | "taken_at">[],
  { state, reason, answer, actor }: RequestEnd,
  context: Context,
) {
  if (rows.length === 0) return;
  const { now, wake, counted } = context;
  const by = actor === undefined ? {} : { actor };
  const entries = rows.map(({ id }) => ({ kind: state, requestId: id, ...by }));
  const position = yield* noteEntries(debug, entries, context);
  // The bridge that has a request stops it when nobody waits for it any more.
  const isAbandoned = state === "expired" || state === "cancelled";
  yield* changeEach(
    rows.map(
      ({ id, taken_at }, index) => sql`
        UPDATE debug_requests SET
          state = ${state},
          exact_arguments = NULL,
          success = ${answer?.success ?? null},
          body = ${answer?.body ?? null},
          message = ${answer?.message ?? null},
          cut = ${answer?.cut ?? false},
          reason = ${reason ?? null},
          cancel_due = ${isAbandoned && taken_at !== null},
          ended_at = ${now},
          ended_position = ${position + index}
        WHERE id = ${id}`,
    ),
  );
  for (const { id, state: from } of rows) {
    counted("debug_request", from, state);
    wake(debugRequestTopic(id));
  }
  wake(debugQueueTopic(debug.id));
});

/** Ends the requests among these that are past their time. Returns the others. */
export const expireRequests = step(function* (debug: DebugMoment, open: readonly OpenRequest[], context: Context) {
  const nowMs = context.now.getTime();
  const late = open.filter(({ expires_at }) => expires_at <= nowMs);
  yield* endRequests(debug, late, { state: "expired", actor: null }, context);
  return open.filter(({ expires_at }) => expires_at > nowMs);
});

/**
 * Ends the requests that are over with a change of their debug session: all when the adapter is gone, and those that wait
 * for a stop which is over. One that the bridge has taken may be what has ended the stop.
 */
export const endOutdatedRequests = step(function* (before: DebugSessionRow, after: DebugSessionRow, context: Context) {
  const isRestarted = after.adapter_run !== before.adapter_run;
  const isOver = isRestarted || (after.ended_at !== null && before.ended_at === null);
  if (!isOver && after.stop_epoch === before.stop_epoch) return;
  const open = yield* openRequests(after.id);
  const outdated = isOver ? open : yield* pastTheirStop(after, open);
  const reason = isRestarted ? "restarted" : isOver ? "ended" : "epoch";
  yield* endRequests(after, outdated, { state: "failed", reason, actor: null }, context);
  // A bridge that waits learns that its adapter is over.
  if (isOver) context.wake(debugQueueTopic(after.id));
});

/** Returns the queued requests whose thread has left the stop that they name. */
const pastTheirStop = step(function* (debug: DebugSessionRow, open: readonly OpenRequest[]) {
  const queued = open.filter(({ state, stop_epoch }) => state === "queued" && stop_epoch !== null);
  if (queued.length === 0) return [];
  const threads = yield* readThreads(debug);
  return queued.filter(({ stop_epoch, thread_id }) => !standsAt(threads, Number(stop_epoch), thread_id));
});

/**
 * Ends the queued requests that name a thread which has just ended, or its stop: the adapter could only refuse them. The
 * bridge may have one that is taken, and answers it.
 */
export const endRequestsOfThread = step(function* (debug: DebugSessionRow, threadId: number, context: Context) {
  const queued = (yield* openRequests(debug.id)).filter(({ state }) => state === "queued");
  if (queued.length === 0) return;
  const threads = yield* readThreads(debug);
  const ended = queued.filter(
    ({ stop_epoch, thread_id }) =>
      thread_id === threadId || (stop_epoch !== null && !standsAt(threads, stop_epoch, thread_id)),
  );
  yield* endRequests(debug, ended, { state: "failed", reason: "thread_ended", actor: null }, context);
});

/** Fails the open requests of the debuggers of a command whose runner is lost: the bridge is gone with it. */
export const failRequestsOfCommand = step(function* (commandId: string, context: Context) {
  const debuggers = yield* all<DebugSessionRow>(sql`
    SELECT * FROM debug_sessions WHERE command_id = ${commandId} LIMIT 100 ${skipLocked}`);
  for (const debug of debuggers) {
    if (debug.ended_at !== null) continue;
    const open = yield* openRequests(debug.id);
    yield* endRequests(debug, open, { state: "failed", reason: "runner_lost", actor: null }, context);
  }
});

/** Ends at most `limit` requests that are past their time, and returns their ids. */
export const reapRequests = step(function* (limit: number, context: Context) {
  const late = yield* all<OpenRequest & { readonly debug_session_id: string }>(sql`
    SELECT id, debug_session_id, state, command, stop_epoch, thread_id, taken_at, expires_at FROM debug_requests
    WHERE ended_at IS NULL AND expires_at <= ${context.now}
    ORDER BY expires_at LIMIT ${limit}`);
  const ids: string[] = [];
  for (const debugSessionId of [...new Set(late.map((row) => row.debug_session_id))].toSorted()) {
    const debug = yield* first<DebugSessionRow>(
      sql`SELECT * FROM debug_sessions WHERE id = ${debugSessionId} ${skipLocked}`,
    );
    if (debug === undefined) continue;
    // They were read without a lock, so an answer may have come since.
    const open = yield* openRequests(debugSessionId);
    const left = yield* expireRequests(debug, open, context);
    ids.push(...open.filter((row) => !left.includes(row)).map(({ id }) => id));
  }
  return ids;
});

/** The numbers of rows that one step of a deletion removes: they are larger than events. */
const requestsPerStep = 32;
const entriesPerStep = 128;

/** Deletes some requests and entries of a debug session. Returns their number; 0 when none is left. */
export const deleteSomeRequests = step(function* (debugSessionId: string, { counted }: Pick<Context, "counted">) {
  const requests = yield* all<{ position: number }>(sql`
    SELECT position FROM debug_requests
    WHERE debug_session_id = ${debugSessionId}
    ORDER BY position LIMIT ${requestsPerStep}`);
  const lastRequest = requests.at(-1);
  if (lastRequest !== undefined) {
    const gone = yield* all<{ state: string }>(sql`
      DELETE FROM debug_requests WHERE debug_session_id = ${debugSessionId} AND position <= ${lastRequest.position}
      RETURNING state`);
    for (const { state } of gone) counted("debug_request", state, undefined);
    return gone.length;
  }
  const entries = yield* all<{ position: number }>(sql`
    SELECT position FROM debug_history
    WHERE debug_session_id = ${debugSessionId}
    ORDER BY position LIMIT ${entriesPerStep}`);
  const last = entries.at(-1);
  if (last === undefined) return 0;
  return yield* change(sql`
    DELETE FROM debug_history WHERE debug_session_id = ${debugSessionId} AND position <= ${last.position}`);
});
