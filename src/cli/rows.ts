// Rows on standard output: a table for people, one JSON object a line for programs.
import { stateStyles } from "../terminal/stateStyles.ts";
import { type Column, formatTable, plain, type Style } from "../terminal/table.ts";
import type { Page } from "./pages.ts";
import { type StoreFlags, say, toJsonLine } from "./storeCommand.ts";

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

/** The states of rows, and those that the command line derives: of tokens, accounts and backups. */
const styles: Readonly<Record<string, Style | undefined>> = {
  ...stateStyles,
  live: "green",
  ok: "green",
  rotated: "yellow",
  unfinished: "yellow",
  revoked: "red",
  disabled: "red",
  damaged: "red",
};

export function stateColumn<Row>(rows: readonly Row[], cell: (row: Row) => string): Column {
  return column("state", rows, cell, { style: (text) => styles[text] });
}
