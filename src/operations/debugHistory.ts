// The history of a debug session: what clients have set and asked, what became of it, and by whom, in one order. The events
// of the adapter have a list of their own; each entry says before which of them it stands.
import { z } from "zod";
import type { Context } from "../context.ts";
import { bounds } from "../limits.ts";
import type { DebugSessionRow } from "../model/debug.ts";
import { DebugEntryPage, type DebugEntryRow } from "../model/debugRequests.ts";
import { Id, WaitMs } from "../model/fields.ts";
import { formatJson, parseJson } from "../model/json.ts";
import { defaultSecretNames, maskingOf } from "../model/masking.ts";
import type { DebugEntryKind } from "../model/vocabulary.ts";
import { NotYet, operation } from "../operation.ts";
import { all, changeEach, first, sql, step } from "../sql.ts";
import { countWithin, getRow, textBytes } from "./rows.ts";
import { debugHistoryTopic } from "./topics.ts";

/** The columns of a debug session that its entries name. */
export type DebugMoment = Pick<DebugSessionRow, "id" | "adapter_run" | "stop_epoch" | "next_position">;

interface NewEntry {
  readonly kind: DebugEntryKind;
  /** The name of who did it; that of the caller by default. */
  readonly actor?: string | null;
  readonly requestId?: string;
  /** JSON text. */
  readonly detail?: string;
}

/**
 * Adds entries to the history of a locked debug session, and drops the oldest beyond the bound, together with the requests
 * whose ends they tell. Returns the position of the first one.
 */
export const noteEntries = step(function* (debug: DebugMoment, entries: readonly NewEntry[], context: Context) {
  const { now, limits, actor, wake, counted } = context;
  const last = yield* first<{ position: number }>(sql`
    SELECT position FROM debug_history WHERE debug_session_id = ${debug.id} ORDER BY position DESC LIMIT 1`);
  const position = (last?.position ?? 0) + 1;
  const droppedUpTo = position + entries.length - 1 - limits.debugHistory;
  yield* changeEach([
    ...entries.map(
      (entry, index) => sql`
        INSERT INTO debug_history (
          debug_session_id,
          position,
          at,
          kind,
          actor,
          adapter_run,
          stop_epoch,
          event_position,
          request_id,
          detail
        ) VALUES (
          ${debug.id},
          ${position + index},
          ${now},
          ${entry.kind},
          ${entry.actor === undefined ? (actor ?? null) : entry.actor},
          ${debug.adapter_run},
          ${debug.stop_epoch},
          ${debug.next_position},
          ${entry.requestId ?? null},
          ${entry.detail ?? null}
        )`,
    ),
    sql`DELETE FROM debug_history WHERE debug_session_id = ${debug.id} AND position <= ${droppedUpTo}`,
  ]);
  if (droppedUpTo > 0) {
    const dropped = yield* all<{ state: string }>(sql`
      DELETE FROM debug_requests WHERE debug_session_id = ${debug.id} AND ended_position <= ${droppedUpTo}
      RETURNING state`);
    for (const { state } of dropped) counted("debug_request", state, undefined);
  }
  wake(debugHistoryTopic(debug.id));
  return position;
});

/** The kinds of entries for writes to the row of a debug session, by what the change feed calls them. */
const kindOfOp: Readonly<Record<string, DebugEntryKind>> = {
  restart: "restarted",
  end: "closed",
  patch: "state",
  update: "state",
  continue: "state",
};

/** Notes what a caller has changed in a debug session. What an event has changed is told by the event. */
export const noteChange = step(function* (
  before: DebugSessionRow,
  after: DebugSessionRow,
  op: string | undefined,
  context: Context,
) {
  const kind = kindOfOp[op ?? ""];
  if (kind === undefined || (after.last_event !== before.last_event && op !== "restart")) return;
  const { state, end_reason: reason } = after;
  yield* noteEntries(after, [{ kind, detail: formatJson({ state, ...(reason === null ? {} : { reason }) }) }], context);
});

/** Notes the breakpoints that a caller has set. More of them than an entry has room for are only counted. */
export const noteBreakpoints = step(function* (
  debug: DebugSessionRow,
  { kind, sourcePath }: { readonly kind: string; readonly sourcePath?: string | undefined },
  requested: readonly string[],
  context: Context,
) {
  const bytes = requested.reduce((sum, text) => sum + text.length, 0);
  const place = { kind, ...(sourcePath === undefined ? {} : { sourcePath }), count: requested.length };
  const shown =
    bytes > bounds.debugArgumentBytes
      ? place
      : { ...place, breakpoints: maskingOf(defaultSecretNames).data(requested.map((text) => parseJson(text))) };
  yield* noteEntries(debug, [{ kind: "breakpoints", detail: formatJson(shown) }], context);
});

/**
 * Returns the history of a debug session in its order: breakpoints and states that were set, requests that were asked, and
 * their ends, each with its caller. The events of the adapter are in debug.follow.
 *
 * Input    after: the position of the last entry that the caller has seen; 0 starts at the oldest one. last: only this
 *          number of last entries. waitMs: the time to wait for an entry after that position
 * Result   { entries, nextPosition }: entries of at most 1 MiB. nextPosition: `after` of the next page. Positions have no
 *          gaps, so a missing one is that of an entry that was dropped: the store keeps the last limits.debugHistory.
 *          Values of secrets are masked
 * Fails    not_found
 * Cost     3 statements by key
 */
export const history = operation({
  access: "read",
  input: z
    .strictObject({
      debugSessionId: Id,
      after: z.int().min(0).default(0),
      last: z.int().min(1).max(bounds.pageRowsMax).optional(),
      limit: z.int().min(1).max(bounds.pageRowsMax).default(100),
      waitMs: WaitMs.default(0),
    })
    .refine(({ last, after, waitMs }) => last === undefined || (after === 0 && waitMs === 0), {
      error: "excludes after and waitMs",
      path: ["last"],
    }),
  output: DebugEntryPage,
  errors: ["not_found"],
  waitMs: (input) => input.waitMs,
  resultBytes: () => bounds.pageBytes,
  *run({ debugSessionId: id, after, last, limit }) {
    yield* getRow("debug_session", id);
    const newest =
      last === undefined
        ? undefined
        : yield* first<{ position: number }>(sql`
            SELECT position FROM debug_history WHERE debug_session_id = ${id} ORDER BY position DESC LIMIT 1`);
    const from = last === undefined ? after : Math.max(0, (newest?.position ?? 0) - last);
    const count = last ?? limit;
    const sizes = yield* all<{ bytes: number }>(sql`
      SELECT ${textBytes(sql`debug_history.detail`, sql`debug_requests.arguments`, sql`debug_requests.body`)} AS bytes
      FROM debug_history LEFT JOIN debug_requests ON debug_requests.id = debug_history.request_id
      WHERE debug_history.debug_session_id = ${id} AND debug_history.position > ${from}
      ORDER BY debug_history.position LIMIT ${count}`);
    const entries = yield* all<DebugEntryRow>(sql`
      SELECT
        debug_history.*,
        debug_requests.command,
        CASE WHEN debug_history.kind = 'asked' THEN debug_requests.arguments END AS arguments,
        CASE WHEN debug_history.kind = 'answered' THEN debug_requests.success END AS success,
        CASE WHEN debug_history.kind = 'answered' THEN debug_requests.body END AS body,
        CASE WHEN debug_history.kind = 'answered' THEN debug_requests.message END AS message,
        CASE WHEN debug_history.kind <> 'asked' THEN debug_requests.reason END AS reason
      FROM debug_history LEFT JOIN debug_requests ON debug_requests.id = debug_history.request_id
      WHERE debug_history.debug_session_id = ${id} AND debug_history.position > ${from}
      ORDER BY debug_history.position LIMIT ${countWithin(sizes, bounds.pageBytes)}`);
    const found = { entries, nextPosition: entries.at(-1)?.position ?? from };
    return entries.length === 0 && last === undefined ? new NotYet([debugHistoryTopic(id)], found) : found;
  },
});
