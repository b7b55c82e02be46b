// Debug sessions: debuggers inside a session, in the terms of the Debug Adapter Protocol. Every report of an adapter
// carries its `adapterRun`, so that a replaced adapter changes nothing; data that was seen at a stop carries the epoch
// of that stop. Breakpoints and events have files of their own.
import { z } from "zod";
import type { Context } from "../context.ts";
import { bounds } from "../limits.ts";
import { page } from "../model/codec.ts";
import {
  type DebugBreakpointRow,
  DebugEventPage,
  type DebugEventRow,
  DebugSession,
  type DebugSessionRow,
  DebugView,
  isEnded,
  type StoppedThreadRow,
} from "../model/debug.ts";
import { AdapterRun, debugFields } from "../model/debugInputs.ts";
import { Id, listInput, Reason, Version, WaitMs } from "../model/fields.ts";
import { fail, NotYet, operation, sealedOperation } from "../operation.ts";
import { all, change, first, forUpdate, one, sql, step } from "../sql.ts";
import { noteEntries } from "./debugHistory.ts";
import {
  endChanges,
  lockDebugSession,
  noStop,
  publicPayloads,
  requireAdapterRun,
  requireOpenDebugSession,
  saveDebugSession,
  sealPayloads,
  wirePayloads,
} from "./debugState.ts";
import { notFound } from "./failures.ts";
import { filter, listPage } from "./paging.ts";
import { countWithin, findRow, getRow, textBytes } from "./rows.ts";
import { lockOpenSession, saveSession } from "./sessionState.ts";
import { debugTopic } from "./topics.ts";
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
 * Effect   one row of debug_sessions, one row of changes. A restart keeps the breakpoints, clears what the old adapter
 *          reported about them, and raises stopEpoch
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
  yield* change(sql`
    UPDATE debug_breakpoints SET
      adapter_id = NULL,
      verified = ${false},
      bound = NULL,
      hit_count = 0,
      version = version + 1,
      updated_at = ${context.now}
    WHERE debug_session_id = ${known.id}`);
  const changes = {
    ...noStop,
    state: "initializing",
    adapter: input.adapter,
    request: input.request,
    command_id: input.commandId ?? known.command_id,
    capabilities: input.capabilities ?? null,
    payload: input.payload ?? known.payload,
    adapter_run: adapter_run + 1,
    stop_epoch: known.stop_epoch + 1,
    last_event: 0,
    exit_code: null,
    end_reason: null,
    ended_at: null,
  } as const;
  return yield* saveDebugSession(known, changes, context, "restart", { adapterRun: adapter_run + 1 });
});

/**
 * Ends a debug session. Repeating the call with the same outcome changes nothing.
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
    if (before.state === outcome) return before;
    requireVersion(before, expectedVersion);
    requireOpenDebugSession(before);
    return yield* saveDebugSession(before, endChanges(outcome, reason, context), context, "end", { reason });
  },
});

/** The number of times that `get` reads a debug session which changes while it is read. */
const readsMax = 20;

/**
 * Returns a debug session with its breakpoints, stopped threads and last events, all as of one moment.
 *
 * Input    stopEpoch: the epoch of the stop whose threads are returned (default: the current stop). events: the number
 *          of last events to return; there are fewer if their bodies exceed 1 MiB
 * Result   { debugSession, breakpoints, threads, stopEpochs, events, lastOutput }. threads: as seen at that stop;
 *          without stopEpoch, empty while the debugger runs. stopEpochs: the stops whose threads are stored
 * Fails    not_found | busy when the debug session changes faster than it can be read
 * Cost     8 statements by key
 */
export const get = operation({
  access: "read",
  input: z.strictObject({
    debugSessionId: Id,
    stopEpoch: z.int().min(1).optional(),
    events: z.int().min(0).max(bounds.pageRowsMax).default(bounds.pageRows),
  }),
  output: DebugView,
  errors: ["not_found"],
  resultBytes: () => bounds.pageBytes + bounds.debugBreakpointBytes + bounds.debugStopBytes,
  *run({ debugSessionId: id, stopEpoch, events }, { limits }) {
    let debugSession = yield* getRow("debug_session", id);
    for (let reads = 0; reads < readsMax; reads++) {
      const epoch = stopEpoch ?? (debugSession.state === "stopped" ? debugSession.stop_epoch : 0);
      const breakpoints = yield* all<DebugBreakpointRow>(sql`
        SELECT * FROM debug_breakpoints
        WHERE debug_session_id = ${id}
        ORDER BY kind, position LIMIT ${bounds.debugBreakpoints}`);
      const threads = yield* all<StoppedThreadRow>(sql`
        SELECT * FROM debug_stops WHERE debug_session_id = ${id} AND stop_epoch = ${epoch} ORDER BY thread_id`);
      const stopEpochs = yield* readStopEpochs(id, limits.debugStopEpochs);
      const sizes = yield* all<{ bytes: number }>(sql`
        SELECT ${textBytes(sql`body`)} AS bytes FROM debug_events
        WHERE debug_session_id = ${id}
        ORDER BY position DESC LIMIT ${events}`);
      const lastEvents = yield* all<DebugEventRow>(sql`
        SELECT * FROM debug_events
        WHERE debug_session_id = ${id}
        ORDER BY position DESC LIMIT ${countWithin(sizes, bounds.pageBytes)}`);
      const lastOutput = yield* first<DebugEventRow>(sql`
        SELECT * FROM debug_events
        WHERE debug_session_id = ${id} AND event = 'output'
        ORDER BY position DESC LIMIT 1`);
      // Every write raises the revision, so an unchanged one proves that no other transaction changed the debug session
      // between these statements (D-073).
      const current = yield* getRow("debug_session", id);
      if (current.revision === debugSession.revision) {
        return {
          debugSession,
          breakpoints,
          threads,
          stopEpochs,
          events: lastEvents.reverse(),
          lastOutput: lastOutput ?? null,
        };
      }
      debugSession = current;
    }
    return fail("busy", {}, `debug session ${id} changes faster than it can be read: retry`);
  },
});

/** Lists the epochs of the stops whose threads are stored. */
const readStopEpochs = step(function* (id: string, limit: number) {
  const epochs = yield* all<{ stop_epoch: number }>(sql`
    SELECT DISTINCT stop_epoch FROM debug_stops
    WHERE debug_session_id = ${id}
    ORDER BY stop_epoch LIMIT ${limit}`);
  return epochs.map(({ stop_epoch }) => stop_epoch);
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
 * Follows the events of a debug session as they are applied, until it has ended.
 *
 * Input    after: the position of the last event that the caller has seen; 0 starts at the oldest event. From a
 *          position beyond the last event, the iteration waits for the events after it
 * Result   each event once, in the order of its position. Positions have no gaps, so a missing position is that of an
 *          event that was dropped: the store keeps only the last limits.debugEvents. Events that an adapter sends after
 *          its end may come too late for the iteration; debug.get has them
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
    const isOver = isEnded(debug.state) && events.length < limit;
    const eventPage = { events, nextPosition, ended: isOver ? 1 : 0 };
    return events.length === 0 && !isOver ? new NotYet([debugTopic(id)], eventPage) : eventPage;
  },
});
