// How a debug session's row moves: every operation that touches one goes through here. Locked after everything else that a call locks.

import type { z } from "zod";
import type { Context } from "../context.ts";
import { type DebugSessionRow, isEnded, Payload } from "../model/debug.ts";
import { Json } from "../model/fields.ts";
import { maskingOf, SecretNames } from "../model/masking.ts";
import type { DebugState } from "../model/vocabulary.ts";
import { fail } from "../operation.ts";
import { all, change, first, forUpdate, one, sql, step } from "../sql.ts";
import { invalidTransition, notFound } from "./failures.ts";
import { dateOrNull } from "./rows.ts";
import { debugTopic } from "./topics.ts";

/** Of its current adapter, when a run is named: one that was replaced changes nothing. */
export const lockDebugSession = step(function* (debugSessionId: string, adapterRun?: number) {
  const row = yield* first<DebugSessionRow>(
    sql`SELECT * FROM debug_sessions WHERE id = ${debugSessionId} ${forUpdate}`,
  );
  if (row === undefined) notFound("debug_session", debugSessionId);
  if (adapterRun !== undefined && adapterRun !== row.adapter_run) {
    fail(
      "conflict",
      { reason: "run", currentRun: row.adapter_run },
      `the adapter's run is ${row.adapter_run}, not ${adapterRun}`,
    );
  }
  return row;
});

/** Every write grows the revision; with an `op` the change is recorded and the version grows. */
export const saveDebugSession = step(function* (
  before: DebugSessionRow,
  changes: Partial<DebugSessionRow>,
  context: Context,
  op?: string,
  detail?: object,
) {
  const { now, changed, wake } = context;
  const row = { ...before, ...changes };
  const stored = yield* one<DebugSessionRow>(sql`
    UPDATE debug_sessions SET adapter = ${row.adapter}, request = ${row.request}, command_id = ${row.command_id}, state = ${row.state},
      capabilities = ${row.capabilities}, payload = ${row.payload}, adapter_run = ${row.adapter_run}, stop_epoch = ${row.stop_epoch},
      stop_reason = ${row.stop_reason}, stop_description = ${row.stop_description}, stop_thread_id = ${row.stop_thread_id},
      hit_breakpoint_ids = ${row.hit_breakpoint_ids}, last_event = ${row.last_event}, next_position = ${row.next_position},
      breakpoint_count = ${row.breakpoint_count}, exit_code = ${row.exit_code}, end_reason = ${row.end_reason},
      ended_at = ${dateOrNull(row.ended_at)}, revision = revision + 1, version = version + ${op === undefined ? 0 : 1},
      updated_at = ${now}
    WHERE id = ${row.id} RETURNING *`);
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
  wake(debugTopic(row.id));
  return stored;
});

export const noStop = {
  stop_reason: null,
  stop_description: null,
  stop_thread_id: null,
  hit_breakpoint_ids: null,
} as const;

/** What a row becomes when its debugger has ended. */
export function endChanges(state: DebugState, reason: string | undefined, { now }: Context): Partial<DebugSessionRow> {
  return { ...noStop, state, end_reason: reason ?? null, ended_at: now.getTime() };
}

export function requireOpenDebugSession({ state }: Pick<DebugSessionRow, "state">): void {
  if (isEnded(state)) invalidTransition("debug_session", state, `the debug session is ${state}`);
}

/** Called when a session ends: no debugger outlives it. */
export const closeDebugSessions = step(function* (sessionId: string, context: Context) {
  const rows = yield* all<DebugSessionRow>(
    sql`SELECT * FROM debug_sessions WHERE session_id = ${sessionId} AND ended_at IS NULL ORDER BY id ${forUpdate}`,
  );
  for (const row of rows)
    yield* saveDebugSession(row, endChanges("terminated", "session_ended", context), context, "end", {
      reason: "session_ended",
    });
});

/** Rows that one step of a deletion removes: of events, which are small, and of stopped threads, which are not. */
const eventsPerStep = 256;
const threadsPerStep = 16;

/** Removes some of what hangs on a session's debug sessions, and each of these last; false when none is left. */
export const deleteSomeDebugRows = step(function* (sessionId: string) {
  const debug = yield* first<{ id: string }>(
    sql`SELECT id FROM debug_sessions WHERE session_id = ${sessionId} ORDER BY created_at, id LIMIT 1`,
  );
  if (debug === undefined) return false;
  const { id } = debug;
  const event = (yield* all<{ position: number }>(sql`
    SELECT position FROM debug_events WHERE debug_session_id = ${id} ORDER BY position LIMIT ${eventsPerStep}`)).at(-1);
  if (event !== undefined) {
    yield* change(sql`DELETE FROM debug_events WHERE debug_session_id = ${id} AND position <= ${event.position}`);
    return true;
  }
  const threads = yield* all<{ stop_epoch: number; thread_id: number }>(sql`
    SELECT stop_epoch, thread_id FROM debug_stops WHERE debug_session_id = ${id} ORDER BY stop_epoch, thread_id LIMIT ${threadsPerStep}`);
  const last = threads.at(-1);
  if (last !== undefined) {
    yield* change(sql`
      DELETE FROM debug_stops WHERE debug_session_id = ${id} AND (stop_epoch, thread_id) <= (${last.stop_epoch}, ${last.thread_id})`);
    return true;
  }
  yield* change(sql`DELETE FROM debug_sessions WHERE id = ${id}`);
  return true;
});

/** Data that belongs to a debug session as a whole, as the caller gives it: what its adapter can do, and what the caller needs again. */
export const publicPayloads = {
  capabilities: Payload.optional(),
  payload: Payload.optional(),
  secretNames: SecretNames,
};

/** The same data as it travels. */
export const wirePayloads = { capabilities: Json.optional(), payload: Json.optional() };

type Payloads = z.output<z.ZodObject<typeof publicPayloads>>;

/** Masks the payloads on the caller's thread, so that no secret in them travels. */
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
