// The report of a run as text: a table of its commands, and a summary. Knows no store.
import type { CommandState, Session } from "../index.ts";
import { quoteArguments } from "../terminal/argumentText.ts";
import { oneLine } from "../terminal/controls.ts";
import type { Screen } from "../terminal/output.ts";
import { stateStyles } from "../terminal/stateStyles.ts";
import { type Column, formatTable, paint } from "../terminal/table.ts";
import { formatBytes, formatMs } from "../terminal/units.ts";
import { describeArgv } from "./display.ts";
import type { Report, ReportRow } from "./report.ts";
import type { Purpose } from "./sessions.ts";

export function formatReport(report: Report, screen: Screen): string {
  const summary = summaryOf(report).map(([name, text]) => `${paint("dim", name.padEnd(10), screen)}${text}\n`);
  return `${formatTable(columnsOf(report.rows), screen)}\n${summary.join("")}`;
}

/** Formats the commands with which a reader may go on from a run. `options` name the store of the run. */
export function formatNext({ rows }: Report, options: readonly string[], screen: Screen): string {
  const last = rows.findLast(({ logBytes }) => logBytes > 0);
  const commands: readonly (readonly [words: readonly string[], does: string])[] = [
    ...(last === undefined ? [] : [[["logs", "show", last.command.id], "shows a log"] as const]),
    [["sessions", "list"], "lists the sessions"],
    [["demo", "--commits", "1", "--debug"], "debugs a program in a worktree"],
    [["demo", "--clean"], "removes what the demo has made"],
  ];
  const lines = commands.map(([words, does]) => [
    `npx debug-server-db ${quoteArguments([...words, ...options])}`,
    does,
  ]);
  const width = Math.max(...lines.map(([line = ""]) => line.length));
  return lines.map(([line = "", does]) => `  ${line.padEnd(width)}  ${paint("dim", `# ${does}`, screen)}\n`).join("");
}

function columnsOf(rows: readonly ReportRow[]): readonly Column[] {
  /** Cells that only the first command of a session shows. */
  const ofSession = (cell: (row: ReportRow) => string) =>
    rows.map((row, index) => (rows[index - 1]?.session === row.session ? "" : cell(row)));
  return [
    { title: "commit", cells: ofSession(({ session }) => session.commitSha.slice(0, 8)), style: () => "yellow" },
    { title: "subject", optional: true, cells: ofSession(({ session }) => subjectOf(session)) },
    { title: "worktree", cells: ofSession(describeWorktree) },
    { title: "command", cells: rows.map(({ command }) => describeArgv(command.argv, 32)) },
    {
      title: "outcome",
      cells: rows.map(({ command }) => command.state),
      style: (state) => stateStyles[state as CommandState],
    },
    {
      title: "exit",
      align: "right",
      cells: rows.map(({ command: { exitCode, signal } }) => String(exitCode ?? signal ?? "")),
    },
    {
      title: "waited",
      optional: true,
      align: "right",
      cells: rows.map(({ command }) => formatSpan(command.queuedAt, command.startedAt)),
    },
    { title: "ran", align: "right", cells: rows.map(({ command }) => formatSpan(command.startedAt, command.endedAt)) },
    { title: "log", align: "right", cells: rows.map(({ logBytes }) => formatBytes(logBytes)) },
    { title: "", cells: rows.map(({ note }) => oneLine(note, 60)) },
  ];
}

function subjectOf({ metadata }: Session): string {
  return oneLine((metadata as Partial<Purpose> | null)?.subject ?? "", 28);
}

/** Shows the end of the worktree's id: its beginning is a time, and the same for worktrees of one moment. */
function describeWorktree({ session, worktree }: ReportRow): string {
  return worktree === undefined ? "none" : `${worktree.id.slice(-6)} ${isReused(session) ? "reused" : "created"}`;
}

/** The fencing token counts the grants of a worktree, and the first grant creates it. */
function isReused({ worktreeFence }: Session): boolean {
  return (worktreeFence ?? 0) > 1;
}

function formatSpan(from: Date | null, to: Date | null): string {
  return from === null || to === null ? "" : formatMs(to.getTime() - from.getTime());
}

function summaryOf({ sessions, rows, serving }: Report): readonly (readonly [string, string])[] {
  const logBytes = formatBytes(sum(rows.map((row) => row.logBytes)));
  const withWorktree = sessions.filter(({ worktreeId }) => worktreeId !== null);
  const worktreeCount = new Set(withWorktree.map(({ worktreeId }) => worktreeId)).size;
  const reused = withWorktree.filter(isReused).length;
  const { groups = 0, calls = 0, groupCallsMax = 0 } = serving;
  const average = (calls / Math.max(1, groups)).toFixed(1);
  return [
    ["sessions", `${sessions.length}: ${tally(sessions.map(({ state }) => state))}`],
    [
      "commands",
      `${rows.length}: ${tally(rows.map(({ command }) => command.state))}${waitsOf(rows)}; ${logBytes} of log`,
    ],
    ["worktrees", `${worktreeCount} used, ${withWorktree.length - reused} created, reused ${reused}×`],
    ["store", `${calls} calls in ${groups} groups: ${average} per transaction on average, at most ${groupCallsMax}`],
  ];
}

function waitsOf(rows: readonly ReportRow[]): string {
  const waits = rows.flatMap(({ command: { queuedAt, startedAt } }) =>
    startedAt === null ? [] : [startedAt.getTime() - queuedAt.getTime()],
  );
  if (waits.length === 0) return "";
  return `; waited ${formatMs(median(waits))} (median), at most ${formatMs(Math.max(...waits))}`;
}

function tally(words: readonly string[]): string {
  return [...Map.groupBy(words, (word) => word)].map(([word, same]) => `${same.length} ${word}`).join(", ");
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function median(values: readonly number[]): number {
  return [...values].sort((left, right) => left - right)[Math.floor(values.length / 2)] ?? 0;
}
