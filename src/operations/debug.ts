// Debug sessions: debuggers inside a session, in the terms of the Debug Adapter Protocol. Every report of an adapter
// carries its `adapterRun`, so that a replaced adapter changes nothing; data that was seen at a stop carries the epoch
// of that stop. Breakpoints, events, stops and the view of a debug session have files of their own.
import { z } from "zod";
import type { Context } from "../context.ts";
import { bounds } from "../limits.ts";
import { page } from "../model/codec.ts";
import { DebugEventPage, type DebugEventRow, DebugSession, type DebugSessionRow } from "../model/debug.ts";
import { AdapterRun, debugFields } from "../model/debugInputs.ts";
import { Id, listInput, Reason, Version, WaitMs } from "../model/fields.ts";
import { fail, NotYet, operation, sealedOperation } from "../operation.ts";
import { all, change, first, forUpdate, one, sql, step } from "../sql.ts";
import { forgetReported } from "./debugBindings.ts";
import { noteEntries } from "./debugHistory.ts";
import {
  endDebugging,
  lockDebugSession,
  noStop,
  publicPayloads,
  requireAdapterRun,
  requireOpenDebugSession,
  saveDebugSession,
  sealPayloads,
  wirePayloads,
} from "./debugState.ts";
import { deleteThreads } from "./debugThreads.ts";
import { notFound } from "./failures.ts";
import { filter, listPage } from "./paging.ts";
import { findRow, getRow } from "./rows.ts";
import { lockOpenSession, saveSession } from "./sessionState.ts";
import { debugTopic, sessionTopic } from "./topics.ts";
import { requireVersion } from "./versions.ts";

/**
 * Creates a debug session inside a session; with restartRun, restarts an existing one under a new adapter.
 *
 * Input    capabilities: the adapter's answer to initialize. payload: the arguments of launch or attach, or any other
 *          data that the caller needs again. restartRun: the adapterRun that has ended. secretNames: replaces the
 *          default list of names whose values are masked before they are sent
 * Result   the debug session in `initializing`; pass its adapterRun with every report of its adapter
 * Fails    not_found | invalid_transition when the session is ending or has ended | invalid_input when 100 debug sessions
 *          of the session are open
 *          | conflict { reason: "exists", debugSessionId, adapterRun } when the session has a debug session of this
 *          name | conflict { reason: "run", currentRun } when the adapter was restarted by another call
 * Effect   one row of debug_sessions, one row of changes. A restart keeps the breakpoints of clients, clears what the
 *          old adapter reported about them, drops those that it had made by itself, and raises stopEpoch
 */
export const open = sealedOperation({
  access: "write",
  publicInput: z.strictObject({ ...debugFields, ...publicPayloads }),
  seal: sealPayloads,
  input: z.strictObject({ ...debugFields, ...wirePayloads }),
  output: DebugSession,
  errors: ["not_found", "invalid_transition", "conflict"],
  *run(input, context) {
    const { sessionId, name, commandId } = input;
    const session = yield* lockOpenSession(sessionId);
    if (commandId !== undefined) {
      const command = yield* first(sql`SELECT id FROM commands WHERE id = ${commandId} AND session_id = ${sessionId}`);
      if (command === undefined) notFound("command", commandId);
    }
    const known = yield* first<DebugSessionRow>(sql`
      SELECT * FROM debug_sessions WHERE session_id = ${sessionId} AND name = ${name} ${forUpdate}`);
    if (known === undefined || known.ended_at !== null) yield* requireRoomToOpen(sessionId);
    // Debugging counts as activity: it resets the session's idle timeout.
    yield* saveSession(session, {}, context);
    return input.restartRun === undefined
      ? yield* insertDebugSession(input, known, context)
      : yield* restartAdapter(input, known, input.restartRun, context);
  },
});

/** The number of debug sessions of one session that are open. All of them end with the session, at once. */
const openMax = 100;

/** Fails with `invalid_input` when no further debug session of a session may be open. */
const requireRoomToOpen = step(function* (sessionId: string) {
  const open = yield* all<{ id: string }>(sql`
    SELECT id FROM debug_sessions WHERE session_id = ${sessionId} AND ended_at IS NULL ORDER BY id LIMIT ${openMax}`);
  if (open.length < openMax) return;
  fail("invalid_input", {}, `${openMax} debug sessions of the session are open, and no more may be: end some of them`);
});

/** The fields of the input of `open` that are stored. */
interface NewDebugSession {
  readonly id: string;
  readonly sessionId: string;
  readonly commandId?: string | undefined;
  readonly name: string;
  readonly adapter: string;
  readonly request: "launch" | "attach";
  readonly capabilities?: string | undefined;
  readonly payload?: string | undefined;
}

const insertDebugSession = step(function* (
  input: NewDebugSession,
  known: DebugSessionRow | undefined,
  context: Context,
) {
  const { now, changed, counted } = context;
  const { id, sessionId } = input;
  const existing = known ?? (yield* findRow("debug_session", id));
  if (existing !== undefined) {
    const clash = known === undefined ? `id ${id}` : `name ${input.name}`;
    fail(
      "conflict",
      { reason: "exists", debugSessionId: existing.id, adapterRun: existing.adapter_run },
      `a debug session with the ${clash} exists: choose another one, or restart it with restartRun`,
    );
  }
  counted("debug_session", undefined, "initializing");
  changed({ entity: "debug_session", id, op: "open", version: 1, sessionId });
  const opened = yield* one<DebugSessionRow>(sql`
    INSERT INTO debug_sessions (
      id,
      session_id,
      command_id,
      name,
      adapter,
      request,
      state,
      capabilities,
      payload,
      created_at,
      updated_at
    ) VALUES (
      ${id},
      ${sessionId},
      ${input.commandId ?? null},
      ${input.name},
      ${input.adapter},
      ${input.request},
      'initializing',
      ${input.capabilities ?? null},
      ${input.payload ?? null},
      ${now},
      ${now}
    )
    RETURNING *`);
  yield* noteEntries(opened, [{ kind: "opened" }], context);
  return opened;
});

/** Restarts a debug session under the next adapterRun. Its row and its breakpoints stay (D-075). */
const restartAdapter = step(function* (
  input: NewDebugSession,
  known: DebugSessionRow | undefined,
  restartRun: number,
  context: Context,
) {
  if (known === undefined) {
    const message = `the session has no debug session named ${input.name}`;
    fail("not_found", { entity: "debug_session", name: input.name }, message);
  }
  requireAdapterRun(known, restartRun);
  const { adapter_run } = known;
  const goneCount = yield* forgetReported(known.id);
  yield* change(sql`
    UPDATE debug_breakpoints SET
      adapter_id = NULL,
      verified = ${false},
      bound = NULL,
      hit_count = 0,
      as_of = ${known.next_position - 1},
      version = version + 1,
      updated_at = ${context.now}
    WHERE debug_session_id = ${known.id}`);
  yield* deleteThreads(known.id);
  const changes = {
    ...noStop,
    state: "initializing",
    adapter: input.adapter,
    request: input.request,
    command_id: input.commandId ?? known.command_id,
    capabilities: input.capabilities ?? null,
    payload: input.payload ?? known.payload,
    adapter_run: adapter_run + 1,
    breakpoint_count: known.breakpoint_count - goneCount,
    stop_epoch: known.stop_epoch + 1,
    others_changed_epoch: known.stop_epoch + 1,
    others_last_event: 0,
    process: null,
    bridge_expires_at: null,
    last_event: 0,
    exit_code: null,
    end_reason: null,
    ended_at: null,
    closed_at: null,
  } as const;
  return yield* saveDebugSession(known, changes, context, "restart", { adapterRun: adapter_run + 1 });
});

/**
 * Ends a debug session, if its adapter has not reported its end, and closes it: nothing is expected any more, and
 * iterations over its events end. Repeating the call with the same outcome changes nothing.
 *
 * Fails    not_found | invalid_transition when the debug session has ended with another outcome
 *          | conflict { reason: "run" | "version" }
 */
export const close = operation({
  access: "write",
  input: z.strictObject({
    debugSessionId: Id,
    adapterRun: AdapterRun.optional(),
    outcome: z.enum(["terminated", "error"]).default("terminated"),
    reason: Reason.optional(),
    expectedVersion: Version.optional(),
  }),
  output: DebugSession,
  errors: ["not_found", "invalid_transition", "conflict"],
  *run({ debugSessionId, adapterRun, outcome, reason, expectedVersion }, context) {
    const before = yield* lockDebugSession(debugSessionId, adapterRun, context);
    const hasEnded = before.state === outcome;
    if (hasEnded && before.closed_at !== null) return before;
    requireVersion(before, expectedVersion);
    const closed_at = context.now.getTime();
    if (hasEnded) return yield* saveDebugSession(before, { closed_at }, context, "close");
    requireOpenDebugSession(before);
    const changes = yield* endDebugging(before, outcome, reason, context);
    return yield* saveDebugSession(before, { ...changes, closed_at }, context, "end", { reason });
  },
});

/** Lists the debug sessions of a session, oldest first. The list is empty for a session that does not exist. */
export const list = operation({
  access: "read",
  input: listInput("debug_session", { sessionId: Id }),
  output: page(DebugSession),
  errors: [],
  *run(input) {
    return yield* listPage("debug_session", input, {
      filters: { session: filter(sql`session_id`, input.sessionId) },
      indexes: [["session"]],
    });
  },
});

/** The number of events whose bodies have at most the size of a page. */
const eventsMax = bounds.pageBytes / bounds.debugEventBytes;

/**
 * Follows the events of a debug session as they are applied, until it is closed, or its session has ended. An adapter
 * that has ended may still report output or an exit code.
 *
 * Input    after: the position of the last event that the caller has seen; 0 starts at the oldest event. From a
 *          position beyond the last event, the iteration waits for the events after it
 * Result   each event once, in the order of its position. Positions have no gaps, so a missing position is that of an
 *          event that was dropped: the store keeps only the last limits.debugEvents
 * Fails    not_found
 */
export const follow = operation({
  access: "read",
  input: z.strictObject({
    debugSessionId: Id,
    after: z.int().min(0).default(0),
    limit: z.int().min(1).max(bounds.pageRowsMax).default(100),
    waitMs: WaitMs.default(20_000),
  }),
  output: DebugEventPage,
  errors: ["not_found"],
  waitMs: (input) => input.waitMs,
  resultBytes: () => bounds.pageBytes,
  stream: {
    items: (page) => page.events,
    next: (input, page) => (page.ended ? undefined : { ...input, after: page.nextPosition }),
  },
  *run({ debugSessionId: id, after, limit: asked }) {
    const limit = Math.min(asked, eventsMax);
    const debug = yield* getRow("debug_session", id);
    const events = yield* all<DebugEventRow>(sql`
      SELECT * FROM debug_events
      WHERE debug_session_id = ${id} AND position > ${after}
      ORDER BY position LIMIT ${limit}`);
    const nextPosition = events.at(-1)?.position ?? after;
    const isOver = events.length < limit && (debug.closed_at !== null || (yield* hasSessionEnded(debug.session_id)));
    const eventPage = { events, nextPosition, ended: isOver ? 1 : 0 };
    const topics = [debugTopic(id), sessionTopic(debug.session_id)];
    return events.length === 0 && !isOver ? new NotYet(topics, eventPage) : eventPage;
  },
});

const hasSessionEnded = step(function* (sessionId: string) {
  const session = yield* first<{ ended_at: number | null }>(sql`SELECT ended_at FROM sessions WHERE id = ${sessionId}`);
  return session?.ended_at !== null;
});
