// What a run did, read back from the store.
import type { Artifact } from "../model/artifacts.ts";
import { type Command, isFinal } from "../model/commands.ts";
import { isOpen, type Session } from "../model/sessions.ts";
import type { CommandState } from "../model/vocabulary.ts";
import type { Worktree } from "../model/worktrees.ts";
import type { Store } from "../storeTypes.ts";
import { oneLine } from "../terminal/controls.ts";
import type { Screen } from "../terminal/output.ts";
import { stateStyles } from "../terminal/stateStyles.ts";
import { type Column, formatTable, paint } from "../terminal/table.ts";
import { formatBytes, formatMs } from "../terminal/units.ts";
import { describeArgv } from "./display.ts";
import type { Purpose } from "./sessions.ts";

/** One line of the table: a command, and what it ran in. */
interface Row {
  readonly session: Session;
  readonly worktree: Worktree | undefined;
  readonly command: Command;
  readonly logBytes: number;
  readonly note: string;
}

export interface Report {
  readonly text: string;
  readonly allSucceeded: boolean;
  /** Nothing runs any more, and no tree is held for any of the sessions. */
  readonly allGivenBack: boolean;
}

export async function report(store: Store, sessionIds: readonly string[], screen: Screen): Promise<Report> {
  const sessions = await Promise.all(sessionIds.map((sessionId) => store.sessions.get({ sessionId })));
  const rows = (await Promise.all(sessions.map((session) => readRows(store, session)))).flat();
  const { serving } = await store.maintenance.stats();
  const artifacts = (
    await Promise.all(sessions.map(({ id }) => store.artifacts.list({ sessionId: id, state: "ready", limit: 500 })))
  ).flatMap(({ items }) => items);
  const text = [
    formatTable(columnsOf(rows), screen),
    ...summaryOf(sessions, rows, artifacts, serving, screen),
    "",
  ].join("\n");
  return {
    text,
    allSucceeded: rows.every(({ command }) => command.state === "succeeded"),
    allGivenBack:
      sessions.every(({ state }) => !isOpen(state)) && rows.every((row) => isFinal(row.command.state) && !isHeld(row)),
  };
}

/** A tree that was granted anew since is somebody else's. */
function isHeld({ session, worktree }: Row): boolean {
  return worktree !== undefined && worktree.leaseExpiresAt !== null && worktree.fence === session.worktreeFence;
}

async function readRows(store: Store, session: Session): Promise<Row[]> {
  const worktree =
    session.worktreeId === null ? undefined : await store.worktrees.get({ worktreeId: session.worktreeId });
  const { items } = await store.commands.list({ sessionId: session.id });
  return Promise.all(
    items.map(async (command) => {
      // From beyond its end a log gives no bytes, and says how many it has.
      const { endOffset } = await store.logs.read({ commandId: command.id, lastLines: 0, maxBytes: 1 });
      return { session, worktree, command, logBytes: endOffset, note: await noteOf(store, command) };
    }),
  );
}

/** Why a command did not succeed: the reason, or the last it said. */
async function noteOf(store: Store, { id, state, endReason }: Command): Promise<string> {
  if (state === "succeeded" || endReason !== null) return endReason ?? "";
  const { chunks } = await store.logs.read({ commandId: id, lastLines: 1, maxBytes: 2_000 });
  return Buffer.concat(chunks.map(({ data }) => data)).toString();
}

function columnsOf(rows: readonly Row[]): Column[] {
  const first = ({ session }: Row, index: number) => rows[index - 1]?.session !== session;
  const columns: Column[] = [
    {
      title: "commit",
      cells: rows.map((row, index) => (first(row, index) ? row.session.commitSha.slice(0, 8) : "")),
      style: () => "yellow",
    },
    {
      title: "subject",
      optional: true,
      cells: rows.map((row, index) => (first(row, index) ? subjectOf(row.session) : "")),
    },
    { title: "worktree", cells: rows.map((row, index) => (first(row, index) ? treeOf(row) : "")) },
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
      cells: rows.map(({ command }) => spanOf(command.queuedAt, command.startedAt)),
    },
    { title: "ran", align: "right", cells: rows.map(({ command }) => spanOf(command.startedAt, command.endedAt)) },
    { title: "log", align: "right", cells: rows.map(({ logBytes }) => formatBytes(logBytes)) },
    { title: "", cells: rows.map(({ note }) => oneLine(note, 60)) },
  ];
  return columns;
}

function subjectOf({ metadata }: Session): string {
  return oneLine((metadata as Partial<Purpose> | null)?.subject ?? "", 28);
}

/** A tree's fence counts its grants, so the first one made it. The random end of an id tells it from others of the same moment. */
function treeOf({ session, worktree }: Row): string {
  return worktree === undefined ? "none" : `${worktree.id.slice(-6)} ${isReuse(session) ? "reused" : "made"}`;
}

function isReuse({ worktreeFence }: Session): boolean {
  return (worktreeFence ?? 0) > 1;
}

function spanOf(from: Date | null, to: Date | null): string {
  return from === null || to === null ? "" : formatMs(to.getTime() - from.getTime());
}

function summaryOf(
  sessions: readonly Session[],
  rows: readonly Row[],
  artifacts: readonly Artifact[],
  serving: Record<string, number>,
  screen: Screen,
): string[] {
  const waits = rows.flatMap(({ command: { queuedAt, startedAt } }) =>
    startedAt === null ? [] : [startedAt.getTime() - queuedAt.getTime()],
  );
  const waited =
    waits.length === 0 ? "" : `; waited ${formatMs(median(waits))} (median), ${formatMs(Math.max(...waits))} at most`;
  const bytes = rows.reduce((sum, { logBytes }) => sum + logBytes, 0);
  const bound = sessions.filter(({ worktreeId }) => worktreeId !== null);
  const made = bound.filter((session) => !isReuse(session)).length;
  const { groups = 0, calls = 0, groupCallsMax = 0 } = serving;
  return [
    ["sessions", `${sessions.length}: ${tally(sessions.map(({ state }) => state))}`],
    [
      "commands",
      `${rows.length}: ${tally(rows.map(({ command }) => command.state))}${waited}; ${formatBytes(bytes)} of log`,
    ],
    [
      "worktrees",
      `${new Set(bound.map(({ worktreeId }) => worktreeId)).size} used, ${made} made, reused ${bound.length - made}×`,
    ],
    [
      "artifacts",
      `${artifacts.length}: ${tally(artifacts.map(({ kind }) => kind))}; ${formatBytes(artifacts.reduce((sum, { sizeBytes }) => sum + (sizeBytes ?? 0), 0))}`,
    ],
    [
      "store",
      `${calls} calls in ${groups} groups: ${(calls / Math.max(1, groups)).toFixed(1)} a transaction on average, ${groupCallsMax} at most`,
    ],
  ].map(([name = "", text]) => `${paint("dim", name.padEnd(10), screen)}${text}`);
}

function tally(states: readonly string[]): string {
  const counts = Map.groupBy(states, (state) => state);
  return [...counts].map(([state, same]) => `${same.length} ${state}`).join(", ");
}

function median(values: readonly number[]): number {
  return [...values].sort((left, right) => left - right)[Math.floor(values.length / 2)] ?? 0;
}
