// Breakpoints as an adapter reports them: its events, and its answers to setBreakpoints. An event may come before the answer
// that tells which breakpoint it is about, and may be about one that no client has asked for (Debug Adapter Protocol,
// sections Events, Breakpoint, and Types, Breakpoint: https://microsoft.github.io/debug-adapter-protocol/specification).
import type { z } from "zod";
import type { Context } from "../context.ts";
import { bounds } from "../limits.ts";
import type { DebugBreakpointRow, DebugSessionRow, EarlyReportRow } from "../model/debug.ts";
import type { BoundInput, eventEffects } from "../model/debugInputs.ts";
import { sourceKey } from "../model/sourcePaths.ts";
import { all, change, changeEach, first, type Statement, sql, step, valueList } from "../sql.ts";
import { readThreads, saveThreads } from "./debugThreads.ts";

type ReportedBreakpoint = NonNullable<z.output<z.ZodObject<typeof eventEffects>>["breakpoint"]>;

/** The reports of an adapter under one id: a breakpoint that it has made, and others about one that is not bound. */
interface Reported {
  readonly made?: DebugBreakpointRow | undefined;
  readonly early?: EarlyReportRow | undefined;
}

/** Reads what the adapter has reported of breakpoints that no answer has bound, by its ids. */
export const readReported = step(function* ({ id }: DebugSessionRow) {
  const made = yield* all<DebugBreakpointRow>(sql`
    SELECT * FROM debug_breakpoints
    WHERE debug_session_id = ${id} AND kind = 'source' AND origin = 'adapter'
    ORDER BY position LIMIT ${bounds.debugBreakpoints}`);
  const early = yield* all<EarlyReportRow>(sql`
    SELECT adapter_id, position, removed, bound, hit_count FROM debug_early_reports
    WHERE debug_session_id = ${id}
    ORDER BY adapter_id LIMIT ${bounds.debugEarlyReports}`);
  const reported = new Map<number, Reported>();
  for (const row of made) if (row.adapter_id !== null) reported.set(row.adapter_id, { made: row });
  for (const row of early) reported.set(row.adapter_id, { ...reported.get(row.adapter_id), early: row });
  return reported;
});

/**
 * Returns a breakpoint as an answer binds it: with the hits of what was reported before, and with the data of an event that
 * came after the breakpoint was set, which is later than the answer.
 */
export function bindingOf(
  { as_of }: DebugBreakpointRow,
  { adapterId, verified, bound }: z.output<typeof BoundInput>,
  { made, early }: Reported,
) {
  const isLater = early !== undefined && early.position > as_of;
  const hits = (made?.hit_count ?? 0) + (isLater ? early.hit_count : 0);
  const answer = { adapterId: adapterId ?? null, verified, bound: bound as string | null, hits };
  if (isLater && early.removed === 1) return { adapterId: null, verified: false, bound: null, hits };
  if (isLater && early.bound !== null) return { ...answer, ...stated(merged(bound, early.bound)) };
  if (made?.bound != null && made.as_of > as_of) return { ...answer, ...stated(made.bound) };
  return answer;
}

/** Deletes what was reported under ids that are bound now. Returns the columns of the debug session that change with it. */
export const takeOver = step(function* (before: DebugSessionRow, taken: ReadonlyMap<Reported, string>) {
  const made = [...taken].flatMap(([{ made: row }, heir]) => (row === undefined ? [] : [{ id: row.id, heir }]));
  const early = [...taken].flatMap(([{ early: row }]) => (row === undefined ? [] : [row.adapter_id]));
  const statements: Statement[] = [];
  if (made.length > 0)
    statements.push(sql`DELETE FROM debug_breakpoints WHERE id IN (${valueList(made.map(({ id }) => id))})`);
  if (early.length > 0)
    statements.push(sql`
      DELETE FROM debug_early_reports WHERE debug_session_id = ${before.id} AND adapter_id IN (${valueList(early)})`);
  if (statements.length > 0) yield* changeEach(statements);
  if (made.length === 0) return {};
  // The stops at which the adapter's breakpoint was hit are those of the client's breakpoint.
  const renamed = (ids: string | null) =>
    ids === null ? null : made.reduce((text, { id, heir }) => text.replaceAll(id, heir), ids);
  const threads = yield* readThreads(before);
  const rows = threads.rows.map((row) => {
    const hit_breakpoint_ids = renamed(row.hit_breakpoint_ids);
    return hit_breakpoint_ids === row.hit_breakpoint_ids ? row : { ...row, hit_breakpoint_ids };
  });
  yield* saveThreads(before, threads, { ...threads, rows });
  return {
    breakpoint_count: before.breakpoint_count - made.length,
    hit_breakpoint_ids: renamed(before.hit_breakpoint_ids),
  };
});

/** Counts a hit for each breakpoint that the adapter knows by one of these ids, and returns the ids of their rows. */
export const countHits = step(function* (
  { id, next_position }: DebugSessionRow,
  adapterIds: readonly number[],
  { now }: Context,
) {
  const hits: string[] = [];
  for (const adapterId of new Set(adapterIds)) {
    const rows = yield* all<{ id: string }>(sql`
      UPDATE debug_breakpoints SET
        hit_count = hit_count + 1,
        updated_at = ${now}
      WHERE debug_session_id = ${id} AND adapter_id = ${adapterId}
      RETURNING id`);
    hits.push(...rows.map((row) => row.id));
    if (rows.length === 0) yield* reportEarly(id, next_position, { adapterId, bound: null, removed: false, hits: 1 });
  }
  return hits;
});

/** Applies a `breakpoint` event: the adapter has moved, verified, removed or made a breakpoint by itself. */
export const bindByAdapter = step(function* (
  before: DebugSessionRow,
  reason: string | undefined,
  breakpoint: ReportedBreakpoint,
  { now }: Context,
) {
  const { id: debugSessionId, breakpoint_count, next_position: position } = before;
  const { adapterId, bound } = breakpoint;
  const removed = reason === "removed";
  const known = yield* findKnown(debugSessionId, breakpoint);
  if (known.length > 0) {
    const gone = known.filter(({ origin }) => removed && origin === "adapter");
    yield* changeEach(
      known.map((row) =>
        gone.includes(row)
          ? sql`DELETE FROM debug_breakpoints WHERE id = ${row.id}`
          : updateOf(row, removed ? null : merged(row.bound, bound), position, now),
      ),
    );
    return gone.length === 0 ? {} : { breakpoint_count: breakpoint_count - gone.length };
  }
  const { sourcePath, line } = breakpoint;
  if (reason !== "new" || sourcePath === undefined || line === undefined) {
    // It may be about a breakpoint whose answer is on its way.
    if (adapterId !== undefined) yield* reportEarly(debugSessionId, position, { adapterId, bound, removed, hits: 0 });
    return {};
  }
  if (breakpoint_count >= bounds.debugBreakpoints) return {};
  const last = yield* first<{ position: number }>(sql`
    SELECT position FROM debug_breakpoints
    WHERE debug_session_id = ${debugSessionId} AND kind = 'source'
    ORDER BY position DESC LIMIT 1`);
  yield* change(sql`
    INSERT INTO debug_breakpoints (
      id,
      debug_session_id,
      kind,
      origin,
      source_path,
      position,
      line,
      requested,
      adapter_id,
      verified,
      bound,
      as_of,
      created_at,
      updated_at
    ) VALUES (
      ${breakpoint.id},
      ${debugSessionId},
      'source',
      'adapter',
      ${sourcePath},
      ${(last?.position ?? -1) + 1},
      ${line},
      ${breakpoint.requested},
      ${adapterId ?? null},
      ${breakpoint.verified},
      ${bound},
      ${position},
      ${now},
      ${now}
    )`);
  return { breakpoint_count: breakpoint_count + 1 };
});

/**
 * Finds the breakpoints that an event is about: those that the adapter knows by this id. Without an id, one that it has made
 * at the same place.
 */
const findKnown = step(function* (debugSessionId: string, { adapterId, sourcePath, line }: ReportedBreakpoint) {
  if (adapterId !== undefined)
    return yield* all<DebugBreakpointRow>(sql`
      SELECT * FROM debug_breakpoints
      WHERE debug_session_id = ${debugSessionId} AND adapter_id = ${adapterId} LIMIT ${bounds.debugBreakpoints}`);
  const made = yield* all<DebugBreakpointRow>(sql`
    SELECT * FROM debug_breakpoints
    WHERE debug_session_id = ${debugSessionId} AND kind = 'source' AND origin = 'adapter'
    ORDER BY position LIMIT ${bounds.debugBreakpoints}`);
  const key = sourceKey(sourcePath ?? "");
  return made.filter((row) => row.adapter_id === null && row.line === line && sourceKey(row.source_path ?? "") === key);
});

function updateOf(
  { id, adapter_id }: DebugBreakpointRow,
  bound: string | null,
  position: number,
  now: Date,
): Statement {
  return sql`
    UPDATE debug_breakpoints SET
      adapter_id = ${bound === null ? null : adapter_id},
      verified = ${bound !== null && stated(bound).verified},
      bound = ${bound},
      as_of = ${position},
      version = version + 1,
      updated_at = ${now}
    WHERE id = ${id}`;
}

/** Keeps what an adapter has reported of a breakpoint that is not bound, for the last ones. */
const reportEarly = step(function* (
  debugSessionId: string,
  position: number,
  report: {
    readonly adapterId: number;
    readonly bound: string | null;
    readonly removed: boolean;
    readonly hits: number;
  },
) {
  const { adapterId, bound, removed, hits } = report;
  const before = yield* first<EarlyReportRow>(sql`
    SELECT adapter_id, position, removed, bound, hit_count FROM debug_early_reports
    WHERE debug_session_id = ${debugSessionId} AND adapter_id = ${adapterId}`);
  const known = before?.bound ?? null;
  const both = bound === null ? known : merged(known, bound);
  yield* change(sql`
    INSERT INTO debug_early_reports (
      debug_session_id,
      adapter_id,
      position,
      removed,
      bound,
      hit_count
    ) VALUES (
      ${debugSessionId},
      ${adapterId},
      ${position},
      ${removed},
      ${both},
      ${(before?.hit_count ?? 0) + hits}
    )
    ON CONFLICT (debug_session_id, adapter_id) DO UPDATE SET
      position = excluded.position,
      removed = excluded.removed,
      bound = excluded.bound,
      hit_count = excluded.hit_count`);
  if (before !== undefined) return;
  const oldest = yield* first<{ position: number }>(sql`
    SELECT position FROM debug_early_reports
    WHERE debug_session_id = ${debugSessionId}
    ORDER BY position DESC LIMIT 1 OFFSET ${bounds.debugEarlyReports}`);
  if (oldest !== undefined)
    yield* change(sql`
      DELETE FROM debug_early_reports WHERE debug_session_id = ${debugSessionId} AND position <= ${oldest.position}`);
});

/** Returns a breakpoint with the attributes that an event names as new values; the others stay. */
function merged(stored: string | null, changed: string): string {
  if (stored === null) return changed;
  return JSON.stringify({ json: { ...JSON.parse(stored).json, ...JSON.parse(changed).json } });
}

function stated(bound: string): { readonly bound: string; readonly verified: boolean } {
  return { bound, verified: (JSON.parse(bound).json as { verified: boolean }).verified };
}

/** Forgets at a restart what the old adapter has made and reported. Returns the number of breakpoints that are gone. */
export const forgetReported = step(function* (debugSessionId: string) {
  yield* change(sql`DELETE FROM debug_early_reports WHERE debug_session_id = ${debugSessionId}`);
  return yield* change(sql`
    DELETE FROM debug_breakpoints
    WHERE debug_session_id = ${debugSessionId} AND kind = 'source' AND origin = 'adapter'`);
});
