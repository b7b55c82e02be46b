// Checks of debug sessions: their counters agree with the breakpoints, the events and the stops that hang on them.
import { type Statement, sql } from "../../sql.ts";
import { byId, type Check } from "./check.ts";
import { writeColumns } from "./repair.ts";

const walk = byId(sql`debug_sessions`);
const id = sql`id`;

const breakpoints = sql`(SELECT count(*) FROM debug_breakpoints WHERE debug_session_id = debug_sessions.id)`;

const firstPosition = sql`(
  SELECT position FROM debug_events WHERE debug_session_id = debug_sessions.id ORDER BY position LIMIT 1)`;
const lastPosition = sql`(
  SELECT position FROM debug_events WHERE debug_session_id = debug_sessions.id ORDER BY position DESC LIMIT 1)`;
const events = sql`(SELECT count(*) FROM debug_events WHERE debug_session_id = debug_sessions.id)`;
/** The adapter's numbers begin anew with each of its starts, and its events may arrive in another order. */
const lastSeq = sql`COALESCE((
  SELECT max(seq) FROM debug_events
  WHERE debug_session_id = debug_sessions.id AND debug_events.adapter_run = debug_sessions.adapter_run), 0)`;
const isStopped = sql`(
  others_stop_epoch IS NOT NULL OR EXISTS (
    SELECT 1 FROM debug_threads
    WHERE debug_threads.debug_session_id = debug_sessions.id AND debug_threads.stop_epoch IS NOT NULL))`;
/** The events of a session that is being deleted go before it does. */
const hasEvents = sql`(${lastPosition} IS NOT NULL OR ended_at IS NULL)`;

const requests = byId(sql`debug_requests`);
const entries = sql`(SELECT count(*) FROM debug_history WHERE debug_session_id = debug_sessions.id)`;
const entryPosition = (order: Statement): Statement => sql`(
  SELECT position FROM debug_history WHERE debug_session_id = debug_sessions.id ORDER BY position ${order} LIMIT 1)`;
const entryCount = sql`${entryPosition(sql`DESC`)} - ${entryPosition(sql`ASC`)} + 1`;
/** The first entry of the history of a request's debug session: those before it were dropped. */
const firstEntry = sql`(
  SELECT debug_history.position FROM debug_history
  WHERE debug_history.debug_session_id = debug_requests.debug_session_id
  ORDER BY debug_history.position LIMIT 1)`;
/** The condition of a request without an entry of this kind at this position, although it was not dropped. */
const lacksEntry = (position: Statement, kind: Statement): Statement => sql`(
  ${position} >= ${firstEntry} AND NOT EXISTS (
    SELECT 1 FROM debug_history
    WHERE debug_history.debug_session_id = debug_requests.debug_session_id
      AND debug_history.position = ${position} AND debug_history.request_id = debug_requests.id
      AND debug_history.kind = ${kind}))`;

export const debugChecks: readonly Check[] = [
  {
    name: "debug-breakpoint-count",
    says: "A debug session counts its breakpoints.",
    walk,
    rows: 256,
    rule: { id, found: sql`breakpoint_count`, expected: breakpoints, broken: sql`breakpoint_count <> ${breakpoints}` },
    repair: writeColumns("debug_session", () => sql`breakpoint_count = ${breakpoints}`),
    remedy: "Repair it: the breakpoints are counted.",
  },
  {
    name: "debug-event-position",
    says: "The next event of a debug session gets the number after the last one.",
    walk,
    rows: 5_000,
    rule: {
      id,
      found: sql`next_position`,
      expected: sql`COALESCE(${lastPosition}, 0) + 1`,
      broken: sql`${hasEvents} AND next_position <> COALESCE(${lastPosition}, 0) + 1`,
    },
    repair: writeColumns("debug_session", () => sql`next_position = COALESCE(${lastPosition}, 0) + 1`),
    remedy: "Repair it: the number follows from the events.",
  },
  {
    name: "debug-last-event",
    says: "A debug session knows the highest number of the events of this start of the adapter.",
    walk,
    rows: 5_000,
    rule: {
      id,
      found: sql`last_event`,
      expected: lastSeq,
      broken: sql`last_event < ${lastSeq}`,
    },
    repair: writeColumns("debug_session", () => sql`last_event = ${lastSeq}`),
    remedy: "Repair it: the number is that of an event.",
  },
  {
    name: "debug-event-gap",
    says: "The events of a debug session are numbered without a gap.",
    walk,
    rows: 64,
    rule: {
      id,
      found: events,
      expected: sql`${lastPosition} - ${firstPosition} + 1`,
      broken: sql`${events} <> ${lastPosition} - ${firstPosition} + 1`,
    },
    remedy: "Events are lost. Read the state of the debugger anew.",
  },
  {
    name: "debug-stop-epoch",
    says: "No stop of a debug session comes after its current epoch.",
    walk,
    rows: 5_000,
    rule: {
      id,
      found: sql`stop_epoch`,
      broken: sql`
        EXISTS (
          SELECT 1 FROM debug_stops
          WHERE debug_session_id = debug_sessions.id AND debug_stops.stop_epoch > debug_sessions.stop_epoch)`,
    },
    remedy: "Start the debugger again (debug.open with restartRun).",
  },
  {
    name: "debug-stopped",
    says: "A debug session is stopped while one of its threads is.",
    walk,
    rows: 1_000,
    rule: { id, found: sql`state`, broken: sql`(state = 'stopped') <> ${isStopped}` },
    remedy: "Start the debugger again (debug.open with restartRun).",
  },
  {
    name: "debug-command",
    says: "The command of a debug session belongs to the same session.",
    walk,
    rows: 5_000,
    rule: {
      id,
      found: sql`command_id`,
      broken: sql`
        command_id IS NOT NULL AND NOT EXISTS (
          SELECT 1 FROM commands
          WHERE commands.id = debug_sessions.command_id AND commands.session_id = debug_sessions.session_id)`,
    },
    remedy: "Close the debug session, and open it again.",
  },
  {
    name: "debug-history-gap",
    says: "The entries in the history of a debug session are numbered without a gap.",
    walk,
    rows: 64,
    rule: { id, found: entries, expected: entryCount, broken: sql`${entries} <> ${entryCount}` },
    remedy: "A part of the history is lost. Nothing else depends on it.",
  },
  {
    name: "debug-request-entry",
    says: "Each request to a debugger has its entry in the history, and so has its end.",
    walk: requests,
    rows: 2_000,
    rule: {
      id,
      found: sql`debug_requests.position`,
      broken: sql`
        ${lacksEntry(sql`debug_requests.position`, sql`'asked'`)}
        OR ${lacksEntry(sql`debug_requests.ended_position`, sql`debug_requests.state`)}`,
    },
    remedy: "A part of the history is lost. Nothing else depends on it.",
  },
  {
    name: "debug-request-open",
    says: "An open request to a debugger is one to the current run of the adapter of an open debug session.",
    walk: requests,
    rows: 5_000,
    rule: {
      id,
      found: sql`state`,
      broken: sql`
        ended_at IS NULL AND NOT EXISTS (
          SELECT 1 FROM debug_sessions
          WHERE debug_sessions.id = debug_requests.debug_session_id AND debug_sessions.ended_at IS NULL
            AND debug_sessions.adapter_run = debug_requests.adapter_run)`,
    },
    remedy: "Cancel the request (debug.cancelRequest). It ends by itself when its time is over.",
  },
];
