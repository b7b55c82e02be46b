// The threads of a debug session: read as a whole, changed by the rules of the protocol (../model/debugThreads.ts), and
// written back as far as they differ.
import { bounds } from "../limits.ts";
import type { DebugSessionRow, DebugThreadRow } from "../model/debug.ts";
import { isStopped, lastStopped, type Threads } from "../model/debugThreads.ts";
import { all, change, changeEach, type Statement, sql, step, valueList } from "../sql.ts";

/** Reads what is known of the threads of a debug session. */
export const readThreads = step(function* (debug: DebugSessionRow) {
  const rows = yield* all<DebugThreadRow>(sql`
    SELECT
      thread_id,
      name,
      stop_epoch,
      changed_epoch,
      last_event,
      stop_reason,
      stop_description,
      hit_breakpoint_ids,
      awaits_place,
      stale_areas
    FROM debug_threads
    WHERE debug_session_id = ${debug.id}
    ORDER BY thread_id LIMIT ${bounds.debugKnownThreads}`);
  const { others_stop_epoch, others_changed_epoch, others_last_event } = debug;
  const others = { stopEpoch: others_stop_epoch, changedEpoch: others_changed_epoch, lastEvent: others_last_event };
  const threads: Threads = { rows, others };
  return threads;
});

/**
 * Writes the threads that have changed. Returns the columns of the debug session that follow from its threads, or
 * undefined when nothing has changed.
 */
export const saveThreads = step(function* (debug: DebugSessionRow, before: Threads, after: Threads) {
  const known = new Map(before.rows.map((row) => [row.thread_id, row]));
  const changed = after.rows.filter((row) => known.get(row.thread_id) !== row);
  const left = new Set(after.rows.map(({ thread_id }) => thread_id));
  const gone = before.rows.filter(({ thread_id }) => !left.has(thread_id)).map(({ thread_id }) => thread_id);
  if (changed.length === 0 && gone.length === 0 && after.others === before.others) return undefined;
  const statements: Statement[] = [];
  if (gone.length > 0)
    statements.push(sql`
      DELETE FROM debug_threads WHERE debug_session_id = ${debug.id} AND thread_id IN (${valueList(gone)})`);
  const updates = changed.filter(({ thread_id }) => known.has(thread_id));
  // Threads that stop or go on together get one statement, because a process may have hundreds.
  for (const rows of Map.groupBy(updates, ({ thread_id: _, ...rest }) => JSON.stringify(rest)).values())
    statements.push(updateOf(debug.id, rows));
  for (const row of changed) if (!known.has(row.thread_id)) statements.push(insertionOf(debug.id, row));
  if (statements.length > 0) yield* changeEach(statements);
  const { stopEpoch, changedEpoch, lastEvent } = after.others;
  return { others_stop_epoch: stopEpoch, others_changed_epoch: changedEpoch, others_last_event: lastEvent };
});

function updateOf(id: string, rows: readonly DebugThreadRow[]): Statement {
  const [row] = rows as readonly [DebugThreadRow, ...DebugThreadRow[]];
  return sql`
    UPDATE debug_threads SET
      name = ${row.name},
      stop_epoch = ${row.stop_epoch},
      changed_epoch = ${row.changed_epoch},
      last_event = ${row.last_event},
      stop_reason = ${row.stop_reason},
      stop_description = ${row.stop_description},
      hit_breakpoint_ids = ${row.hit_breakpoint_ids},
      awaits_place = ${row.awaits_place === 1},
      stale_areas = ${row.stale_areas}
    WHERE debug_session_id = ${id} AND thread_id IN (${valueList(rows.map(({ thread_id }) => thread_id))})`;
}

function insertionOf(id: string, row: DebugThreadRow): Statement {
  return sql`
    INSERT INTO debug_threads (
      debug_session_id,
      thread_id,
      name,
      stop_epoch,
      changed_epoch,
      last_event,
      stop_reason,
      stop_description,
      hit_breakpoint_ids,
      awaits_place,
      stale_areas
    ) VALUES (
      ${id},
      ${row.thread_id},
      ${row.name},
      ${row.stop_epoch},
      ${row.changed_epoch},
      ${row.last_event},
      ${row.stop_reason},
      ${row.stop_description},
      ${row.hit_breakpoint_ids},
      ${row.awaits_place === 1},
      ${row.stale_areas}
    )`;
}

/** Deletes all threads of a debug session whose adapter has ended. */
export const deleteThreads = step(function* (id: string) {
  yield* change(sql`DELETE FROM debug_threads WHERE debug_session_id = ${id}`);
});

/**
 * Returns the columns of a stop that a debug session shows: those of the thread in focus, while it is stopped, and then of
 * the thread that has stopped last. When only threads are left that stopped with another one, the reason stays, and so
 * does all of a stop of all threads. Returns undefined when no thread is stopped.
 */
export function focusOf(debug: DebugSessionRow, threads: Threads): Partial<DebugSessionRow> | undefined {
  if (!isStopped(threads)) return undefined;
  const inFocus = threads.rows.find(
    ({ thread_id, stop_reason }) => thread_id === debug.stop_thread_id && stop_reason !== null,
  );
  const row = inFocus ?? lastStopped(threads);
  if (row === undefined && debug.stop_thread_id === null) return {};
  return {
    stop_reason: row?.stop_reason ?? debug.stop_reason,
    stop_description: row?.stop_description ?? null,
    stop_thread_id: row?.thread_id ?? null,
    hit_breakpoint_ids: row?.hit_breakpoint_ids ?? null,
  };
}
