// Prints what commands report: data on stdout, as tables for people or JSON lines for programs, and messages on stderr.

import { escapeJsonControls, oneLine, stripTerminalControls } from "../terminal/controls.ts";
import { stateStyles } from "../terminal/stateStyles.ts";
import { type Column, formatTable, type Style } from "../terminal/table.ts";
import type { CommandLine } from "./commandLine.ts";
import type { Page } from "./pages.ts";

export interface PrintFlags {
  readonly json?: true;
  readonly quiet?: true;
}

export function printPage<Row>(
  cli: CommandLine,
  flags: PrintFlags,
  { items, nextCursor }: Page<Row>,
  columns: (rows: readonly Row[]) => readonly Column[],
): void {
  printRows(cli, flags, items, columns);
  if (items.length === 0) printMessage(cli, flags, "None.");
  if (nextCursor !== undefined) printMessage(cli, flags, `More follow: --cursor ${nextCursor}`);
}

export function printRows<Row>(
  { stdout }: CommandLine,
  { json }: PrintFlags,
  rows: readonly Row[],
  columns: (rows: readonly Row[]) => readonly Column[],
): void {
  if (json) stdout.write(rows.map(toJsonLine).join(""));
  else if (rows.length > 0) stdout.write(formatTable(columns(rows), stdout));
}

/** Prints names and values, one field a line, without those that are null. */
export function printFields(
  { stdout }: CommandLine,
  { json }: PrintFlags,
  value: unknown,
  fields: Readonly<Record<string, string | null>>,
): void {
  stdout.write(json ? toJsonLine(value) : formatFields(fields));
}

export function formatFields(fields: Readonly<Record<string, string | null>>): string {
  const lines = Object.entries(fields).filter((field): field is [string, string] => field[1] !== null);
  const width = Math.max(...lines.map(([name]) => name.length));
  return lines.map(([name, text]) => `${name.padEnd(width)}  ${oneLine(text, 10_000)}\n`).join("");
}

/** Returns text as one line for a terminal. */
export function lineOf(text: string): string {
  return `${oneLine(text, 10_000)}\n`;
}

/** Prints a message to a person, which is no data: on stderr, and not with --quiet. */
export function printMessage({ stderr }: CommandLine, { quiet }: PrintFlags, text: string): void {
  if (!quiet) stderr.write(`${stripTerminalControls(text)}\n`);
}

/** Formats a value as one line of JSON. What only superjson restores is written as the nearest form that JSON has. */
export function toJsonLine(value: unknown): string {
  return `${escapeJsonControls(
    JSON.stringify(value, (_, part) => {
      if (typeof part === "bigint") return String(part);
      if (part instanceof Map) return Object.fromEntries(part);
      return part instanceof Set ? [...part] : part;
    }),
  )}\n`;
}

export function column<Row>(
  title: string,
  rows: readonly Row[],
  cell: (row: Row) => string | number | null | undefined,
  more: Omit<Column, "title" | "cells"> = {},
): Column {
  return { title, cells: rows.map((row) => String(cell(row) ?? "")), ...more };
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
  unreadable: "red",
};

export function stateColumn<Row>(rows: readonly Row[], cell: (row: Row) => string): Column {
  return column("state", rows, cell, { style: (text) => styles[text] });
}

/** Formats a time in UTC, to the second. */
export function formatTime(at: Date | null): string {
  return at === null ? "" : `${at.toISOString().slice(0, 19)}Z`;
}
