// Rows on standard output: a table for people, one JSON object a line for programs; and pages of them.
import { type Command, Option } from "commander";
import { bounds } from "../limits.ts";
import { type Column, formatTable, plain, type Style } from "../terminal/table.ts";
import { wholeNumber } from "../terminal/wholeNumber.ts";
import { type StoreFlags, say, toJsonLine } from "./storeCommand.ts";

export interface PageFlags {
  readonly limit: number;
  readonly cursor?: string;
}

interface Page<Row> {
  readonly items: readonly Row[];
  readonly nextCursor: string | undefined;
}

export function withPages(command: Command): Command {
  return command
    .addOption(
      new Option("--limit <number>", "at most so many rows")
        .default(bounds.pageRows)
        .argParser(wholeNumber(1, 100_000)),
    )
    .option("--cursor <cursor>", "go on after an earlier page: what it said on stderr");
}

/** As many pages of the store as the limit takes. */
export async function collect<Row>(
  { limit, cursor }: PageFlags,
  fetch: (page: PageFlags) => Promise<Page<Row>>,
): Promise<Page<Row>> {
  const items: Row[] = [];
  for (let next = cursor; ; ) {
    const page = await fetch({
      limit: Math.min(bounds.pageRowsMax, limit - items.length),
      ...(next === undefined ? {} : { cursor: next }),
    });
    items.push(...page.items);
    next = page.nextCursor;
    if (next === undefined || items.length >= limit) return { items, nextCursor: next };
  }
}

export function printPage<Row>(
  flags: StoreFlags,
  { items, nextCursor }: Page<Row>,
  columns: (rows: readonly Row[]) => readonly Column[],
): void {
  printRows(flags, items, columns);
  if (items.length === 0) say(flags, "None.");
  if (nextCursor !== undefined) say(flags, `More follow: --cursor ${nextCursor}`);
}

export function printRows<Row>(
  { json }: StoreFlags,
  rows: readonly Row[],
  columns: (rows: readonly Row[]) => readonly Column[],
): void {
  if (json) process.stdout.write(rows.map(toJsonLine).join(""));
  else if (rows.length > 0) process.stdout.write(formatTable(columns(rows), process.stdout));
}

/** Names and values, one below the other; what is null is left out. */
export function printFields(
  { json }: StoreFlags,
  value: unknown,
  fields: Readonly<Record<string, string | null>>,
): void {
  if (json) process.stdout.write(toJsonLine(value));
  else process.stdout.write(formatFields(fields));
}

export function formatFields(fields: Readonly<Record<string, string | null>>): string {
  const present = Object.entries(fields).filter((field): field is [string, string] => field[1] !== null);
  const width = Math.max(...present.map(([name]) => name.length));
  return present.map(([name, text]) => `${name.padEnd(width)}  ${plain(text, 10_000)}\n`).join("");
}

export function column<Row>(
  title: string,
  rows: readonly Row[],
  cell: (row: Row) => string | number | null | undefined,
  more: Omit<Column, "title" | "cells"> = {},
): Column {
  return { title, cells: rows.map((row) => String(cell(row) ?? "")), ...more };
}

/** To the second, UTC. */
export function formatTime(at: Date | null): string {
  return at === null ? "" : `${at.toISOString().slice(0, 19)}Z`;
}

const states: Readonly<Record<string, Style>> = {
  running: "cyan",
  leased: "cyan",
  creating: "cyan",
  evicting: "cyan",
  online: "green",
  completed: "green",
  succeeded: "green",
  ready: "green",
  idle: "green",
  live: "green",
  ok: "green",
  failed: "red",
  timed_out: "red",
  lost: "red",
  damaged: "red",
  quarantined: "red",
  revoked: "red",
  disabled: "red",
  gone: "red",
  cancelling: "yellow",
  cancelled: "yellow",
  expired: "yellow",
  stalled: "yellow",
  draining: "yellow",
  rotated: "yellow",
  dirty: "yellow",
  unfinished: "yellow",
};

export function stateColumn<Row>(rows: readonly Row[], cell: (row: Row) => string): Column {
  return column("state", rows, cell, { style: (text) => states[text] });
}
