// Formats the results of debug-server-db migrate for people. The caller strips terminal controls, because names come
// from the database.

import type { Difference } from "../migrate/differences.ts";
import type { Plan, VerifyResult } from "../migrate/dryRun.ts";
import type { Current, Entry, Finding, StampResult } from "../migrate/history.ts";
import { describeLoss } from "../migrate/losses.ts";
import type { MoveResult, Step } from "../migrate/upgrade.ts";
import type { RestorePoint } from "../schema/engine.ts";
import { oneLine } from "../terminal/controls.ts";
import type { Column, Style } from "../terminal/table.ts";
import { formatBytes, formatMs } from "../terminal/units.ts";

/** The parts of a report: lines of text, and tables. */
export type Report = readonly (string | readonly Column[])[];

export function reportMoved({ from, to, steps, losses, safety }: MoveResult): Report {
  if (steps.length === 0) return [`The schema is at ${to}: nothing to do.\n`];
  const lost = losses.map((loss) => `Dropped: ${describeLoss(loss)}.\n`).join("");
  return [
    columnsOf(steps),
    `The schema was at ${from} and is now at ${to}.\n${lost}${safety === undefined ? "" : reportRestorePoint(safety)}`,
  ];
}

function reportRestorePoint(safety: RestorePoint): string {
  if (!safety.made) return "This command made no backup.\n";
  const { path, bytes, sha256, restore } = safety;
  const lines = restore.map((line) => `  ${line}\n`).join("");
  return `Backup: ${path} (${formatBytes(bytes)}, sha256 ${sha256})\nTo go back, stop all processes that use the database, then run:\n${lines}`;
}

function columnsOf(steps: readonly Step[]): readonly Column[] {
  return [
    { title: "revision", cells: steps.map(({ revision }) => revision) },
    { title: "name", cells: steps.map(({ name }) => name) },
    { title: "direction", cells: steps.map(({ direction }) => direction) },
    { title: "time", align: "right", cells: steps.map(({ durationMs }) => formatMs(durationMs)) },
  ];
}

export function reportCurrent({ revision, name, head, atHead }: Current): Report {
  return [`${revision}${name === undefined ? "" : ` ${onOneLine(name)}`}${atHead ? " (head)" : `, head is ${head}`}\n`];
}

export function reportHistory(entries: readonly Entry[]): Report {
  if (entries.length === 0) return ["None.\n"];
  return [
    [
      { title: "revision", cells: entries.map(({ revision }) => revision) },
      { title: "name", cells: entries.map(({ name }) => name) },
      {
        title: "state",
        cells: entries.map(({ state }) => state),
        style: (state) => stateStyles[state as Entry["state"]],
      },
      { title: "applied", cells: entries.map(({ appliedAt }) => appliedAt ?? "") },
      {
        title: "time",
        align: "right",
        cells: entries.map(({ durationMs }) => (durationMs === undefined ? "" : formatMs(durationMs))),
      },
      { title: "by", cells: entries.map(({ appliedBy }) => appliedBy ?? "") },
    ],
  ];
}

const stateStyles: Readonly<Record<Entry["state"], Style>> = {
  applied: "green",
  pending: "yellow",
  edited: "red",
  newer: "red",
  skipped: "red",
};

export function reportStamp({ from, to, differences }: StampResult): Report {
  const warning =
    differences.length === 0
      ? ""
      : `The schema differs from what these migrations create:\n${formatDifferences(differences)}`;
  return [`The recorded revision was ${from} and is now ${to}.\n${warning}`];
}

export function reportCheck(findings: readonly Finding[]): Report {
  return findings.length === 0
    ? ["Nothing found: the schema is at head and matches the migrations.\n"]
    : findings.map(describeFinding);
}

function describeFinding(finding: Finding): string {
  if (finding.kind === "drift") return `drift: ${formatDifferences([finding])}`;
  if (finding.kind === "no_ledger") return "no ledger: there is no table schema_migrations\n";
  return `${finding.kind}: ${finding.revision} ${onOneLine(finding.name)}\n`;
}

export function reportPlan({ from, to, steps, losses, differences, backupAdvice }: Plan): Report {
  if (steps.length === 0) return [`The schema is at ${to}: nothing to do.\n`];
  const lost = losses.map((loss) => `Would drop: ${describeLoss(loss)}.\n`).join("");
  const advice = backupAdvice === undefined ? "" : `${backupAdvice}\n`;
  return [columnsOf(steps), `From ${from} to ${to}, on a copy:\n${formatDifferences(differences)}${lost}${advice}`];
}

export function reportVerify({ steps, faults }: VerifyResult): Report {
  const found = faults.map(
    ({ after, differences }) =>
      `After ${after.direction} of ${after.revision} the schema differs:\n${formatDifferences(differences)}`,
  );
  return [
    columnsOf(steps),
    ...(found.length === 0 ? ["The schema of each revision is the same whichever way it is reached.\n"] : found),
  ];
}

function formatDifferences(differences: readonly Difference[]): string {
  const signs = { added: "+", removed: "-", changed: "~" } as const;
  return differences
    .map(
      (difference) =>
        `${signs[difference.change]} ${difference.type} ${onOneLine(difference.name)}\n${changedLines(difference)}`,
    )
    .join("");
}

/** Keeps a name with line ends on one line, so that it cannot pass for other lines of the report. */
function onOneLine(name: string): string {
  return oneLine(name, 200);
}

/** Returns the lines of a changed definition that only one side has. */
function changedLines({ change, before = "", after = "" }: Difference): string {
  if (change !== "changed") return "";
  const [was, is] = [before.split("\n"), after.split("\n")];
  const only = (sign: string, lines: readonly string[], others: readonly string[]) =>
    lines.filter((line) => !others.includes(line)).map((line) => `    ${sign} ${line.trim()}\n`);
  return [...only("-", was, is), ...only("+", is, was)].join("");
}
