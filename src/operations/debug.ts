import { z } from "zod";
import { bounds } from "../limits.ts";
import { page } from "../model/codec.ts";
import {
  AdapterRun,
  type DebugBreakpointRow,
  DebugEventPage,
  type DebugEventRow,
  DebugSession,
  type DebugSessionRow,
  DebugView,
  debugFields,
  isEnded,
  type StoppedThreadRow,
} from "../model/debug.ts";
import { Id, paging, Reason, Version, WaitMs } from "../model/fields.ts";
import { fail, NotYet, operation, sealedOperation } from "../operation.ts";
import { all, change, first, forUpdate, one, sql, step } from "../sql.ts";
import {
  endChanges,
  lockDebugSession,
  noStop,
  publicPayloads,
  requireOpenDebugSession,
  saveDebugSession,
  sealPayloads,
  wirePayloads,
} from "./debugState.ts";
import { notFound } from "./failures.ts";
import { listPage } from "./paging.ts";
import { getRow } from "./rows.ts";
import { lockOpenSession, saveSession } from "./sessionState.ts";
import { debugTopic } from "./topics.ts";
import { requireVersion } from "./versions.ts";

/**
 * Announces a debugger inside a session; or, with restartRun, that its adapter was started again.
 *
 * Input    capabilities: as the adapter answered to initialize; payload: arguments of launch or attach, or whatever the caller needs again; restartRun: the
 *          adapterRun that is over; secretNames: names of which values are masked before they are sent, instead of the default ones
 * Result   the debug session in `initializing`; its adapterRun goes with everything that its adapter says
 * Fails    not_found | invalid_transition when the session is ending or has ended | conflict { reason: "exists", debugSessionId, adapterRun } when the session
 *          has one of this name | conflict { reason: "run", currentRun } when another restart was faster
 * Effect   one row of debug_sessions and of changes; a restart keeps the breakpoints, forgets what the old adapter made of them, and raises stopEpoch
 */
export const open = sealedOperation({
  access: "write",
  publicInput: z.strictObject({
    ...debugFields,
    ...publicPayloads,
  }),
  seal: sealPayloads,
  open: (output) => output,
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
      SELECT * FROM debug_sessions WHERE (session_id = ${sessionId} AND name = ${name}) ${forUpdate}`);
    // Who debugs uses the session.
    yield* saveSession(session, {}, context);
    return input.restartRun === undefined
      ? yield* insertDebugSession(input, known, context)
      : yield* restartAdapter(input, known, input.restartRun, context);
  },
});

interface Opening {
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
  input: Opening,
  known: DebugSessionRow | undefined,
  { now, changed }: Parameters<typeof saveSession>[2],
) {
  const { id, sessionId } = input;
  const existing = known ?? (yield* first<DebugSessionRow>(sql`SELECT * FROM debug_sessions WHERE id = ${id}`));
  if (existing !== undefined) {
    const what = known === undefined ? "id" : "name";
    fail(
      "conflict",
      { reason: "exists", debugSessionId: existing.id, adapterRun: existing.adapter_run },
      `a debug session with this ${what} exists`,
    );
  }
  changed({ entity: "debug_session", id, op: "open", version: 1, sessionId });
  return yield* one<DebugSessionRow>(sql`
    INSERT INTO debug_sessions (id, session_id, command_id, name, adapter, request, state, capabilities, payload, created_at, updated_at)
    VALUES (${id}, ${sessionId}, ${input.commandId ?? null}, ${input.name}, ${input.adapter}, ${input.request}, 'initializing', ${input.capabilities ?? null},
      ${input.payload ?? null}, ${now}, ${now})
    RETURNING *`);
});

/** Keeps the row and its breakpoints (D-075). */
const restartAdapter = step(function* (
  input: Opening,
  known: DebugSessionRow | undefined,
  restartRun: number,
  context: Parameters<typeof saveSession>[2],
) {
  if (known === undefined) fail("not_found", { entity: "debug_session", name: input.name });
  const { adapter_run } = known;
  if (adapter_run !== restartRun)
    fail(
      "conflict",
      { reason: "run", currentRun: adapter_run },
      `the adapter's run is ${adapter_run}, not ${restartRun}`,
    );
  yield* change(sql`
    UPDATE debug_breakpoints SET adapter_id = NULL, verified = ${false}, bound = NULL, hit_count = 0, version = version + 1, updated_at = ${context.now}
    WHERE debug_session_id = ${known.id}`);
  const anew = {
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
  return yield* saveDebugSession(known, anew, context, "restart", { adapterRun: adapter_run + 1 });
});

/**
 * Ends a debug session: the debugger is gone. Repeated with the same outcome, it changes nothing.
 *
 * Fails    not_found | invalid_transition when it has ended otherwise | conflict { reason: "run" | "version" }
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
    const before = yield* lockDebugSession(debugSessionId, adapterRun);
    if (before.state === outcome) return before;
    requireVersion(before, expectedVersion);
    requireOpenDebugSession(before);
    return yield* saveDebugSession(before, endChanges(outcome, reason, context), context, "end", { reason });
  },
});

/**
 * Where a debugger stands, all of it as it was at one moment.
 *
 * Input    stopEpoch: of an earlier stop, the current one unless named; events: how many of the last ones
 * Result   { debugSession, breakpoints, threads, stopEpochs, events, lastOutput }; threads: as they were seen at that stop, empty while it runs
 * Fails    not_found
 * Cost     7 statements by key
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
  resultBytes: ({ events }) => (events + bounds.debugThreads) * 4_096,
  *run({ debugSessionId: id, stopEpoch, events }) {
    let debugSession = yield* getRow("debug_session", id);
    for (let tries = 0; tries < 20; tries++) {
      const epoch = stopEpoch ?? (debugSession.state === "stopped" ? debugSession.stop_epoch : 0);
      const view = {
        debugSession,
        breakpoints: yield* all<DebugBreakpointRow>(sql`
          SELECT * FROM debug_breakpoints WHERE debug_session_id = ${id} ORDER BY kind, position LIMIT ${bounds.debugBreakpoints}`),
        threads: yield* all<StoppedThreadRow>(sql`
          SELECT * FROM debug_stops WHERE debug_session_id = ${id} AND stop_epoch = ${epoch} ORDER BY thread_id`),
        stopEpochs: yield* readStopEpochs(id),
        events: (yield* all<DebugEventRow>(sql`
          SELECT * FROM debug_events WHERE debug_session_id = ${id} ORDER BY position DESC LIMIT ${events}`)).reverse(),
        lastOutput:
          (yield* first<DebugEventRow>(sql`
          SELECT * FROM debug_events WHERE debug_session_id = ${id} AND event = 'output' ORDER BY position DESC LIMIT 1`)) ??
          null,
      };
      // Where other transactions commit between these statements, the revision tells so (D-073).
      const again = yield* getRow("debug_session", id);
      if (again.revision === debugSession.revision) return view;
      debugSession = again;
    }
    return fail("busy", {}, "the debug session changes faster than it can be read");
  },
});

/**
 * The debug sessions of a session, by age.
 *
 * Fails    nothing of its own; a session that does not exist has none
 */
export const list = operation({
  access: "read",
  input: z.strictObject({ sessionId: Id, ...paging }),
  output: page(DebugSession),
  errors: [],
  *run(input) {
    return yield* listPage("debug_session", input, sql`session_id = ${input.sessionId}`);
  },
});

/**
 * Events as they are applied, from a place in the list on, until the debug session has ended.
 *
 * Input    after: the position of the last event that was seen; 0 for all that are kept
 * Result   { events, nextPosition, ended }. Positions have no gaps, so one that is missing was dropped: only the last limits.debugEvents are kept
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
  resultBytes: ({ limit }) => limit * 4_096,
  stream: {
    items: (found) => found.events,
    next: (input, found) => (found.ended ? undefined : { ...input, after: found.nextPosition }),
  },
  *run({ debugSessionId: id, after, limit }) {
    const debug = yield* getRow("debug_session", id);
    const events = yield* all<DebugEventRow>(sql`
      SELECT * FROM debug_events WHERE debug_session_id = ${id} AND position > ${after} ORDER BY position LIMIT ${limit}`);
    const nextPosition = events.at(-1)?.position ?? after;
    const isOver = isEnded(debug.state) && events.length < limit;
    const found = { events, nextPosition, ended: isOver ? 1 : 0 };
    return events.length === 0 && !isOver ? new NotYet([debugTopic(id)], found) : found;
  },
});

/** Along the primary key; limits.debugStopEpochs bounds how many there are. */
const readStopEpochs = step(function* (id: string) {
  const epochs = yield* all<{ stop_epoch: number }>(sql`
    SELECT DISTINCT stop_epoch FROM debug_stops WHERE debug_session_id = ${id} ORDER BY stop_epoch LIMIT 500`);
  return epochs.map(({ stop_epoch }) => stop_epoch);
});

export { bindBreakpoints, setBreakpoints } from "./debugBreakpoints.ts";

export { applyEvent, patchState, putStop } from "./debugEvents.ts";
