// Changes of a debug session's row. Every operation that changes a debug session goes through this file, so that its
// revision, its version and the change feed agree. In the order of locks a debug session comes after everything else.
import type { z } from "zod";
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import { type DebugSessionRow, isEnded } from "../model/debug.ts";
import { Json, Payload } from "../model/fields.ts";
import { maskingOf } from "../model/masking.ts";
import { SecretNames } from "../model/secretNames.ts";
import type { DebugState } from "../model/vocabulary.ts";
import { fail } from "../operation.ts";
import { all, change, first, forUpdate, one, skipLocked, sql, step } from "../sql.ts";
import { noteChange } from "./debugHistory.ts";
import { deleteSomeRequests, endOutdatedRequests } from "./debugRequestState.ts";
import { deleteThreads } from "./debugThreads.ts";
import { invalidTransition, notFound } from "./failures.ts";
import { dateOrNull } from "./rows.ts";
import { dueSession, keepSessionActive, type WithDueSession } from "./sessionActivity.ts";
import { debugTopic } from "./topics.ts";

/**
 * Locks and returns a debug session. With `adapterRun`, fails with `conflict` unless that is the current run, so
 * that a replaced adapter changes nothing. The call that locks it counts as activity of its session.
 */
export const lockDebugSession = step(function* (
  debugSessionId: string,
  adapterRun: number | undefined,
  context: Context,
) {
  const row = yield* first<DebugSessionRow & WithDueSession>(sql`
    SELECT
      *,
      ${dueSession(sql`sessions.id = debug_sessions.session_id`, context)}
    FROM debug_sessions
    WHERE id = ${debugSessionId} ${forUpdate}`);
  if (row === undefined) notFound("debug_session", debugSessionId);
  if (adapterRun !== undefined) requireAdapterRun(row, adapterRun);
  if (row.due_session_id !== null) yield* keepSessionActive(row.due_session_id, context);
  return row as DebugSessionRow;
});

/** Fails with `conflict` unless `adapterRun` is the current run of the debug session's adapter. */
export function requireAdapterRun({ id, adapter_run }: DebugSessionRow, adapterRun: number): void {
  if (adapterRun === adapter_run) return;
  const message = `debug session ${id} is at adapter run ${adapter_run}, not ${adapterRun}`;
  fail("conflict", { reason: "run", currentRun: adapter_run }, message);
}

/** Fails with `invalid_transition` when the debug session has ended. */
export function requireOpenDebugSession({ id, state }: Pick<DebugSessionRow, "id" | "state">): void {
  if (isEnded(state)) invalidTransition("debug_session", state, `debug session ${id} has ended: it is ${state}`);
}

/**
 * Writes changed columns of a debug session. Every write raises the revision. With an `op`, the write also raises the
 * version and adds a row to the change feed.
 */
export const saveDebugSession = step(function* (
  before: DebugSessionRow,
  changes: Partial<DebugSessionRow>,
  context: Context,
  op?: string,
  detail?: object,
) {
  const { now, changed, wake, counted } = context;
  const row = { ...before, ...changes };
  const stored = yield* one<DebugSessionRow>(sql`
    UPDATE debug_sessions SET
      adapter = ${row.adapter},
      request = ${row.request},
      command_id = ${row.command_id},
      state = ${row.state},
      capabilities = ${row.capabilities},
      payload = ${row.payload},
      adapter_run = ${row.adapter_run},
      stop_epoch = ${row.stop_epoch},
      stop_reason = ${row.stop_reason},
      stop_description = ${row.stop_description},
      stop_thread_id = ${row.stop_thread_id},
      hit_breakpoint_ids = ${row.hit_breakpoint_ids},
      others_stop_epoch = ${row.others_stop_epoch},
      others_changed_epoch = ${row.others_changed_epoch},
      others_last_event = ${row.others_last_event},
      stale_frame_ids = ${row.stale_frame_ids},
      process = ${row.process},
      event_counts = ${row.event_counts},
      last_event = ${row.last_event},
      next_position = ${row.next_position},
      breakpoint_count = ${row.breakpoint_count},
      exit_code = ${row.exit_code},
      end_reason = ${row.end_reason},
      bridge_expires_at = ${dateOrNull(row.bridge_expires_at)},
      ended_at = ${dateOrNull(row.ended_at)},
      closed_at = ${dateOrNull(row.closed_at)},
      revision = revision + 1,
      version = version + ${op === undefined ? 0 : 1},
      updated_at = ${now}
    WHERE id = ${row.id}
    RETURNING *`);
  counted("debug_session", before.state, stored.state);
  if (op !== undefined) {
    const { id, version, session_id, state, stop_epoch } = stored;
    changed({
      entity: "debug_session",
      id,
      op,
      version,
      sessionId: session_id,
      detail: { state, stopEpoch: stop_epoch, ...detail },
    });
  }
  yield* noteChange(before, stored, op, context);
  yield* endOutdatedRequests(before, stored, context);
  wake(debugTopic(row.id));
  return stored;
});

/** The columns of a debugger that is not stopped. */
export const noStop = {
  stop_reason: null,
  stop_description: null,
  stop_thread_id: null,
  hit_breakpoint_ids: null,
  others_stop_epoch: null,
  stale_frame_ids: null,
} as const;

/** Ends a debug session: its threads are gone. Returns the columns to write. */
export const endDebugging = step(function* (
  { id }: DebugSessionRow,
  state: DebugState,
  reason: string | undefined,
  { now }: Context,
) {
  yield* deleteThreads(id);
  const changes: Partial<DebugSessionRow> = {
    ...noStop,
    state,
    bridge_expires_at: null,
    end_reason: reason ?? null,
    ended_at: now.getTime(),
  };
  return changes;
});

/**
 * Renews the lease of the bridge of an open debug session, unless the next run of its adapter has begun meanwhile. No caller
 * sees it, so that it raises no revision.
 */
export const renewBridge = step(function* (
  { id, adapter_run }: Pick<DebugSessionRow, "id" | "adapter_run">,
  ttlMs: number,
  { now }: Context,
) {
  yield* change(sql`
    UPDATE debug_sessions SET bridge_expires_at = ${after(now, ttlMs)}
    WHERE id = ${id} AND adapter_run = ${adapter_run} AND ended_at IS NULL`);
});

/** Ends a debug session from which nothing more is expected. */
const endAndClose = step(function* (row: DebugSessionRow, state: DebugState, reason: string, context: Context) {
  const changes = yield* endDebugging(row, state, reason, context);
  yield* saveDebugSession(row, { ...changes, closed_at: changes.ended_at ?? null }, context, "end", { reason });
});

/** Ends the debug sessions whose bridges have let their leases run out, at most `limit`. Returns their ids. */
export const reapBridges = step(function* (limit: number, context: Context) {
  const rows = yield* all<DebugSessionRow>(sql`
    SELECT * FROM debug_sessions
    WHERE bridge_expires_at IS NOT NULL AND bridge_expires_at <= ${context.now}
    ORDER BY bridge_expires_at LIMIT ${limit} ${skipLocked}`);
  for (const row of rows) yield* endAndClose(row, "error", "bridge_lost", context);
  return rows.map(({ id }) => id);
});

/** Ends the debug sessions of a session that ends. */
export const closeDebugSessions = step(function* (sessionId: string, context: Context) {
  const rows = yield* all<DebugSessionRow>(
    sql`SELECT * FROM debug_sessions WHERE session_id = ${sessionId} AND ended_at IS NULL ORDER BY id ${forUpdate}`,
  );
  for (const row of rows) yield* endAndClose(row, "terminated", "session_ended", context);
});

/** The numbers of rows that one step of a deletion removes. Events are small; stopped threads are not. */
const eventsPerStep = 256;
const threadsPerStep = 16;

/**
 * Deletes some of the rows that belong to a session's debug sessions, and each debug session after its last row.
 * Returns their number; 0 when none is left.
 */
export const deleteSomeDebugRows = step(function* (sessionId: string, { counted }: Pick<Context, "counted">) {
  const debug = yield* first<{ id: string; state: string }>(
    sql`SELECT id, state FROM debug_sessions WHERE session_id = ${sessionId} ORDER BY created_at, id LIMIT 1`,
  );
  if (debug === undefined) return 0;
  const rows = yield* deleteSomeOfDebugSession(debug.id, { counted });
  if (rows > 0) return rows;
  counted("debug_session", debug.state, undefined);
  return yield* change(sql`DELETE FROM debug_sessions WHERE id = ${debug.id}`);
});

/** Deletes some of the events, stops and requests of a debug session. Returns their number; 0 when none is left. */
export const deleteSomeOfDebugSession = step(function* (id: string, context: Pick<Context, "counted">) {
  const events = yield* all<{ position: number }>(sql`
    SELECT position FROM debug_events WHERE debug_session_id = ${id} ORDER BY position LIMIT ${eventsPerStep}`);
  const lastEvent = events.at(-1);
  if (lastEvent !== undefined)
    return yield* change(sql`
      DELETE FROM debug_events WHERE debug_session_id = ${id} AND position <= ${lastEvent.position}`);
  const threads = yield* all<{ stop_epoch: number; thread_id: number }>(sql`
    SELECT stop_epoch, thread_id FROM debug_stops
    WHERE debug_session_id = ${id}
    ORDER BY stop_epoch, thread_id LIMIT ${threadsPerStep}`);
  const last = threads.at(-1);
  if (last === undefined) return yield* deleteSomeRequests(id, context);
  return yield* change(sql`
    DELETE FROM debug_stops
    WHERE debug_session_id = ${id} AND (stop_epoch, thread_id) <= (${last.stop_epoch}, ${last.thread_id})`);
});

/** The caller's data about a debug session as a whole: the adapter's capabilities, and any other data. */
export const publicPayloads = {
  capabilities: Payload.optional(),
  payload: Payload.optional(),
  secretNames: SecretNames,
};

/** The same data on the wire: JSON text in which secrets are masked. */
export const wirePayloads = { capabilities: Json.optional(), payload: Json.optional() };

type Payloads = z.output<z.ZodObject<typeof publicPayloads>>;

/** Masks the secrets in these data. Runs on the caller's thread, so that no secret is sent. */
export function sealPayloads<Rest extends object>({ secretNames, capabilities, payload, ...rest }: Rest & Payloads) {
  const masking = maskingOf(secretNames);
  return {
    wireInput: {
      ...rest,
      capabilities: capabilities && masking.data(capabilities),
      payload: payload && masking.data(payload),
    },
  };
}
