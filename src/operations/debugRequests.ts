// Requests of clients to a debugger, which its bridge takes and answers. They are handed out in their order, each once, and
// under the run of the adapter: a bridge that was replaced gets and answers none.
import { z } from "zod";
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import { StoreError } from "../errors.ts";
import { bounds } from "../limits.ts";
import type { RawOf } from "../model/codec.ts";
import type { DebugSessionRow } from "../model/debug.ts";
import { isMove } from "../model/debugCommands.ts";
import { AdapterRun } from "../model/debugInputs.ts";
import { capAnswer, shownArguments } from "../model/debugRequestCaps.ts";
import {
  AnsweredRequest,
  AskInput,
  DebugRequest,
  type DebugRequestRow,
  StoredAskInput,
  type TakenRequest,
  TakenRequests,
} from "../model/debugRequests.ts";
import { standsAt } from "../model/debugThreads.ts";
import { Id, Json, LeaseTtl, Reason, reportedText, WaitMs } from "../model/fields.ts";
import { maskingOf } from "../model/masking.ts";
import { SecretNames } from "../model/secretNames.ts";
import { fail, NotYet, operation, sealedOperation } from "../operation.ts";
import { present } from "../present.ts";
import { all, change, first, one, sql, step, valueList } from "../sql.ts";
import { noteEntries } from "./debugHistory.ts";
import { endRequests, expireRequests, type OpenRequest, openRequests } from "./debugRequestState.ts";
import { lockDebugSession, renewBridge, requireAdapterRun, requireOpenDebugSession } from "./debugState.ts";
import { letGoOn } from "./debugStops.ts";
import { readThreads } from "./debugThreads.ts";
import { invalidTransition, notFound } from "./failures.ts";
import { getRow, lockRow } from "./rows.ts";
import { keepSessionActive } from "./sessionActivity.ts";
import { debugQueueTopic, debugRequestTopic } from "./topics.ts";

/**
 * Asks the debugger something, and waits for the answer of its adapter: a step, an evaluation, variables by reference, or
 * any other request of the protocol that a client may make.
 *
 * Input    command, arguments: as in the protocol; at most 16 KiB as JSON. stopEpoch: the stop that the caller sees,
 *          required for what moves the program, and for what names threads, frames or variables. threadId: the thread that
 *          is at this stop; by default that of the arguments, for what moves the program the one that has stopped there,
 *          or any. timeoutMs: the time for which the request is open, 10 minutes at most. wait: false returns the request at once, while it is queued; a
 *          call with the same id waits for it. id: chosen by a caller that may have to repeat the call; it is then asked
 *          once. requestedBy: who asks, if that is not the name of the caller; over HTTP it is the account of the token
 * Result   the request, `answered`: success, body and message are those of the protocol's response. success is false when
 *          the adapter has refused it
 * Fails    not_found | invalid_transition when the debug session has ended | conflict { reason: "epoch", currentEpoch }
 *          when the stop is over, before the request was taken | conflict { reason: "thread_ended" } when its thread has
 *          ended before that | conflict { reason: "adapter_gone", wasTaken } when the
 *          adapter has ended or was replaced, or its runner is lost | conflict { reason: "cancelled" }
 *          | conflict { reason: "exists" } when the id is that of another request | overloaded when 100 are open
 *          | deadline_exceeded after timeoutMs; with the outcome `unknown`, the bridge had taken it
 * Effect   one row of debug_requests and one entry of the history, and others when it ends. A caller that gives up cancels
 *          it, see debug.cancelRequest. No row of changes
 * Cost     at most 12 statements by key
 */
export const request = sealedOperation({
  access: "write",
  publicInput: AskInput,
  seal: ({ arguments: args, secretNames, ...rest }) => ({
    wireInput: {
      ...rest,
      ...present({
        threadId: rest.threadId ?? (Number.isSafeInteger(args?.threadId) ? (args?.threadId as number) : undefined),
        exactArguments: args,
        shownArguments: args === undefined ? undefined : shownArguments(args, maskingOf(secretNames)),
      }),
    },
  }),
  input: StoredAskInput,
  output: DebugRequest,
  errors: ["not_found", "invalid_transition", "conflict", "overloaded", "deadline_exceeded"],
  // A little longer than the request is open, so that the call itself finds out that its time is over.
  waitMs: ({ wait, timeoutMs }) => (wait ? timeoutMs + 1_000 : 0),
  givenUp: ({ id }) => ["debug.cancelRequest", { requestId: id }],
  idOfKey: "id",
  *run(input, context) {
    const { id, debugSessionId, command, stopEpoch, threadId, shownArguments: shown, wait } = input;
    const known = yield* findRequest(id);
    if (known !== undefined) return answerTo(requireSame(known, input), wait, context);
    const before = yield* lockDebugSession(debugSessionId, undefined, context);
    // The same call, sent again, may have come first.
    const twin = yield* findRequest(id);
    if (twin !== undefined) return answerTo(requireSame(twin, input), wait, context);
    requireOpenDebugSession(before);
    const stoppedId = stopEpoch === undefined ? undefined : yield* requireStop(before, stopEpoch, threadId);
    const open = yield* expireRequests(before, yield* openRequests(debugSessionId), context);
    if (open.length >= bounds.debugRequests) {
      const message = `${open.length} requests of debug session ${debugSessionId} wait for its bridge, and no more may`;
      fail("overloaded", { openRequests: open.length }, message);
    }
    const requestedBy = input.requestedBy ?? context.actor ?? null;
    const position = yield* noteEntries(before, [{ kind: "asked", actor: requestedBy, requestId: id }], context);
    const row = yield* one<DebugRequestRow>(sql`
      INSERT INTO debug_requests (
        id,
        debug_session_id,
        position,
        adapter_run,
        state,
        command,
        exact_arguments,
        arguments,
        stop_epoch,
        thread_id,
        requested_by,
        created_at,
        expires_at
      ) VALUES (
        ${id},
        ${debugSessionId},
        ${position},
        ${before.adapter_run},
        'queued',
        ${command},
        ${input.exactArguments ?? null},
        ${shown ?? null},
        ${stopEpoch ?? null},
        ${threadId ?? (isMove(command) ? stoppedId : undefined) ?? null},
        ${requestedBy},
        ${context.now},
        ${after(context.now, input.timeoutMs)}
      )
      RETURNING *`);
    context.counted("debug_request", undefined, "queued");
    context.wake(debugQueueTopic(debugSessionId));
    return answerTo(row, wait, context);
  },
});

const findRequest = step(function* (id: string) {
  return yield* first<DebugRequestRow>(sql`SELECT * FROM debug_requests WHERE id = ${id}`);
});

interface Asked {
  readonly debugSessionId: string;
  readonly command: string;
  readonly shownArguments?: string | undefined;
}

/** Fails with `conflict` when the id belongs to another request. */
function requireSame(row: DebugRequestRow, { debugSessionId, command, shownArguments: shown }: Asked): DebugRequestRow {
  const isSame =
    row.debug_session_id === debugSessionId && row.command === command && row.arguments === (shown ?? null);
  if (!isSame) fail("conflict", { reason: "exists" }, `request ${row.id} is another one: choose a new id for each`);
  return row;
}

/**
 * Fails with `conflict` unless the thread, or without one any thread, is at this stop. Returns the thread that the event of
 * the stop has named.
 */
const requireStop = step(function* (debug: DebugSessionRow, stopEpoch: number, threadId: number | undefined) {
  const { id, state, stop_epoch: currentEpoch } = debug;
  const threads = yield* readThreads(debug);
  if (!standsAt(threads, stopEpoch, threadId ?? null)) stopIsOver(id, stopEpoch, { currentEpoch, state });
  return threads.rows.find(({ stop_epoch, stop_reason }) => stop_epoch === stopEpoch && stop_reason !== null)
    ?.thread_id;
});

function stopIsOver(debugSessionId: string, stopEpoch: number, details: object): never {
  const message = `the stop ${stopEpoch} of debug session ${debugSessionId} is over: read it again`;
  fail("conflict", { reason: "epoch", ...details }, message);
}

/** Returns an answered request, waits for an open one, and fails for one that has ended otherwise. */
function answerTo(row: DebugRequestRow, waits: boolean, { now }: Context): DebugRequestRow | NotYet<DebugRequestRow> {
  const { id, command, state, stop_epoch, reason, debug_session_id } = row;
  const wasTaken = row.taken_at !== null;
  // What a bridge has taken it may have done.
  const outcome = wasTaken ? ("unknown" as const) : ("not_run" as const);
  const isOpen = row.ended_at === null;
  const isLate = state === "expired" || (isOpen && row.expires_at <= now.getTime());
  const late = new StoreError(
    "deadline_exceeded",
    `the debugger has not answered ${command} in time${wasTaken ? "" : ": no bridge has taken it"}`,
    { outcome, details: { requestId: id, wasTaken } },
  );
  if (isLate) throw late;
  if (isOpen && waits)
    return new NotYet<DebugRequestRow>([debugRequestTopic(id)], late as never, {
      againMs: Math.max(1, row.expires_at - now.getTime()),
    });
  if (isOpen || state === "answered") return row;
  if (reason === "epoch") stopIsOver(debug_session_id, stop_epoch as number, {});
  if (reason === "thread_ended") {
    const message = `the thread of which ${command} was asked has ended`;
    fail("conflict", { reason, requestId: id, wasTaken }, message);
  }
  const why =
    state === "cancelled"
      ? `${command} was cancelled${reason === null ? "" : `: ${reason}`}`
      : `the debug adapter is gone, and with it ${command}: ${reason}`;
  const details = { reason: state === "cancelled" ? "cancelled" : "adapter_gone", requestId: id, wasTaken };
  throw new StoreError("conflict", why, { outcome, details });
}

const nothingToTake = { requests: [], cancelled: [] };

/**
 * Takes the next requests to the debugger, for the bridge that holds its adapter, and waits while there are none. A request
 * is handed out once: when the answer of this call is lost, or the bridge dies, the request ends without an answer.
 *
 * Input    adapterRun: that of the bridge. limit: the most requests to take. waitMs: the time to wait. ttlMs: a lease: a
 *          bridge that gives it calls again within this time, also while it answers; if it does not, it is lost, and its
 *          debug session ends as error with the reason bridge_lost
 * Result   { requests, cancelled }: requests in their order; a call with debug.reply answers each. Behind one that moves
 *          the program, those that depend on the same stop wait until it is answered. cancelled: the ids of requests that
 *          were taken before and are over, for the protocol's cancel; an answer to one changes nothing
 * Fails    not_found | conflict { reason: "run", currentRun } when the adapter was replaced
 *          | invalid_transition when the debug session has ended | invalid_input unless ttlMs is more than waitMs
 * Effect   the rows of debug_requests; those of a stop that is over fail. Taking keeps the session active; waiting does not
 * Cost     at most 9 statements by key, and 4 while there is nothing
 */
export const takeRequests = operation({
  access: "write",
  input: z.strictObject({
    debugSessionId: Id,
    adapterRun: AdapterRun,
    limit: z.int().min(1).max(32).default(16),
    waitMs: WaitMs.default(20_000),
    ttlMs: LeaseTtl.optional(),
  }),
  output: TakenRequests,
  errors: ["not_found", "conflict", "invalid_transition"],
  waitMs: (input) => input.waitMs,
  resultBytes: ({ limit }) => limit * bounds.debugArgumentBytes,
  *run({ debugSessionId, adapterRun, limit, waitMs, ttlMs }, context) {
    if (ttlMs !== undefined && ttlMs <= waitMs)
      fail("invalid_input", {}, `ttlMs: must be more than the time for which the call waits, ${waitMs} ms`);
    const seen = yield* getRow("debug_session", debugSessionId);
    requireAdapterRun(seen, adapterRun);
    requireOpenDebugSession(seen);
    if (ttlMs !== undefined) yield* renewBridge(seen, ttlMs, context);
    const nothing = new NotYet([debugQueueTopic(debugSessionId)], nothingToTake);
    if (!(yield* hasWork(debugSessionId))) return nothing;
    const debug = yield* lockRow("debug_session", debugSessionId);
    requireAdapterRun(debug, adapterRun);
    requireOpenDebugSession(debug);
    const open = yield* expireRequests(debug, yield* openRequests(debugSessionId), context);
    const next = nextOf(open, limit);
    const cancelled = yield* all<{ id: string }>(sql`
      SELECT id FROM debug_requests
      WHERE debug_session_id = ${debugSessionId} AND cancel_due
      ORDER BY position LIMIT ${bounds.debugRequests}`);
    if (next.length === 0 && cancelled.length === 0) return nothing;
    if (cancelled.length > 0)
      yield* change(sql`
        UPDATE debug_requests SET cancel_due = ${false} WHERE id IN (${valueList(cancelled.map(({ id }) => id))})`);
    const requests = yield* take(
      next.map(({ id }) => id),
      context,
    );
    if (requests.length > 0) yield* keepSessionActive(debug.session_id, context);
    return { requests, cancelled: cancelled.map(({ id }) => id) };
  },
});

/** Checks without a lock whether there may be something to hand out. */
const hasWork = step(function* (debugSessionId: string) {
  const queued = yield* first(sql`
    SELECT id FROM debug_requests
    WHERE debug_session_id = ${debugSessionId} AND ended_at IS NULL AND (state = 'queued') IS TRUE
    LIMIT 1`);
  if (queued !== undefined) return true;
  const due = yield* first(sql`
    SELECT id FROM debug_requests WHERE debug_session_id = ${debugSessionId} AND cancel_due LIMIT 1`);
  return due !== undefined;
});

/**
 * Returns the requests to hand out next. What depends on a stop waits behind what moves the program: if that succeeds, the
 * stop is over. A request that depends on no stop, such as pause, waits for nothing.
 */
function nextOf(open: readonly OpenRequest[], limit: number): readonly OpenRequest[] {
  let isMoving = open.some(({ state, command }) => state === "taken" && isMove(command));
  const next: OpenRequest[] = [];
  for (const row of open) {
    if (next.length === limit) break;
    if (row.state !== "queued" || (row.stop_epoch !== null && isMoving)) continue;
    isMoving ||= isMove(row.command);
    next.push(row);
  }
  return next;
}

type TakenRow = RawOf<typeof TakenRequest> & { readonly position: number };

const take = step(function* (ids: readonly string[], { now, counted }: Context) {
  if (ids.length === 0) return [];
  const rows = yield* all<TakenRow>(sql`
    UPDATE debug_requests SET
      state = 'taken',
      taken_at = ${now}
    WHERE id IN (${valueList(ids)})
    RETURNING id, position, command, exact_arguments AS arguments, stop_epoch, thread_id, requested_by, expires_at`);
  counted("debug_request", "queued", "taken", rows.length);
  return rows.toSorted((one, other) => one.position - other.position);
});

const replyFields = { debugSessionId: Id, adapterRun: AdapterRun, success: z.boolean().default(true) };

/**
 * Answers a request that this bridge has taken. Repeating the call changes nothing, and neither does an answer to a request
 * that is over.
 *
 * Input    request: the request as it was taken; its arguments say what is secret in the answer. success, message, body:
 *          as in the protocol's response. Of a body of more than 64 KiB as JSON the ends of its lists are left out, and the
 *          request is marked as cut. secretNames: as in debug.open
 * Result   the request
 * Fails    not_found | conflict { reason: "run", currentRun } | invalid_transition when the request was not taken
 * Effect   one row of debug_requests, one entry of the history. When a request has moved the program from the stop that
 *          it named, the debugger runs, as after a continued event
 */
export const reply = sealedOperation({
  access: "write",
  publicInput: z.strictObject({
    ...replyFields,
    request: AnsweredRequest.describe("the request, as debug.takeRequests has returned it"),
    body: z.unknown().optional(),
    message: reportedText(bounds.debugTextLength).optional(),
    secretNames: SecretNames,
  }),
  seal: ({ request: answered, body, message, secretNames, ...rest }) => {
    const masking = maskingOf(secretNames);
    const shown = body === undefined ? { body: undefined, cut: false } : capAnswer(answered, body, masking);
    return {
      wireInput: {
        ...rest,
        requestId: answered.id,
        ...present({ body: shown.body, message: message === undefined ? undefined : masking.text(message) }),
        cut: shown.cut,
      },
    };
  },
  input: z.strictObject({
    ...replyFields,
    requestId: Id,
    body: Json.optional(),
    message: reportedText(bounds.debugTextLength).optional(),
    cut: z.boolean(),
  }),
  output: DebugRequest,
  errors: ["not_found", "conflict", "invalid_transition"],
  *run({ debugSessionId, adapterRun, requestId, success, body = null, message = null, cut }, context) {
    const before = yield* lockDebugSession(debugSessionId, adapterRun, context);
    const row = yield* findRequest(requestId);
    if (row === undefined || row.debug_session_id !== debugSessionId) notFound("request", requestId);
    if (row.ended_at !== null) return row;
    if (row.state === "queued")
      invalidTransition("request", row.state, `request ${requestId} is queued: take it with debug.takeRequests first`);
    const end = { state: "answered" as const, answer: { success, body, message, cut } };
    yield* endRequests(before, [row], end, context);
    const threads = yield* readThreads(before);
    const hasMoved = success && isMove(row.command) && standsAt(threads, row.stop_epoch ?? 0, row.thread_id);
    if (hasMoved) {
      const alone = row.thread_id !== null && isAlone(before, row, body) ? row.thread_id : undefined;
      yield* letGoOn(before, threads, alone, {}, context);
    }
    return (yield* findRequest(requestId)) as DebugRequestRow;
  },
});

/**
 * Checks whether a request has moved its thread alone. The answer to `continue` says so (Debug Adapter Protocol, section
 * Requests, Continue: `allThreadsContinued`). Other requests move all threads, unless their client has asked for one, and
 * the adapter is capable of that (section Requests, Next: `singleThread`).
 */
function isAlone(
  { capabilities }: DebugSessionRow,
  { command, arguments: args }: DebugRequestRow,
  body: string | null,
) {
  const fieldOf = (text: string | null, name: string) => (text === null ? undefined : JSON.parse(text).json?.[name]);
  if (command === "continue") return fieldOf(body, "allThreadsContinued") === false;
  const isAble = fieldOf(capabilities, "supportsSingleThreadExecutionRequests") === true;
  return isAble && fieldOf(args, "singleThread") === true;
}

/**
 * Cancels a request, for a caller that does not wait for its answer any more. One that no bridge has taken is never run; of
 * one that was taken, its bridge is told. Repeating the call changes nothing. A call of debug.request that is given up does
 * this by itself.
 *
 * Result   the request, which may have ended before
 * Fails    not_found
 * Effect   one row of debug_requests, one entry of the history
 */
export const cancelRequest = operation({
  access: "write",
  input: z.strictObject({ requestId: Id, reason: Reason.optional() }),
  output: DebugRequest,
  errors: ["not_found"],
  *run({ requestId, reason }, context) {
    const seen = yield* findRequest(requestId);
    if (seen === undefined) notFound("request", requestId);
    const debug = yield* lockDebugSession(seen.debug_session_id, undefined, context);
    const row = (yield* findRequest(requestId)) ?? notFound("request", requestId);
    if (row.ended_at === null) {
      const inTime = yield* expireRequests(debug, [row], context);
      yield* endRequests(debug, inTime, { state: "cancelled", reason }, context);
    }
    return (yield* findRequest(requestId)) as DebugRequestRow;
  },
});
