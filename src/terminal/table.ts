// Text for a terminal: tables, durations, sizes. What comes from outside is made harmless here.
import { stripVTControlCharacters, styleText } from "node:util";
import type { Screen } from "./output.ts";

export type Style = Parameters<typeof styleText>[0];

export interface Column {
  readonly title: string;
  readonly align?: "right";
  /** Left out when the terminal is too narrow for all. */
  readonly optional?: true;
  readonly cells: readonly string[];
  readonly style?: (cell: string) => Style | undefined;
}

export function formatTable(columns: readonly Column[], screen: Screen): string {
  const safe = columns.map((column) => ({
    ...column,
    cells: column.cells.map((cell) => harmless(cell).replaceAll("\n", " ")),
  }));
  const shown = fitting(safe, screen.columns ?? Number.POSITIVE_INFINITY);
  const head = shown.map((column) => paint("dim", pad(column.title, column), screen));
  const rows = Array.from({ length: safe[0]?.cells.length ?? 0 }, (_, row) =>
    shown.map((column) => {
      const cell = column.cells[row] ?? "";
      const style = cell === "" ? undefined : column.style?.(cell);
      return style === undefined ? pad(cell, column) : paint(style, pad(cell, column), screen);
    }),
  );
  return [head, ...rows].map((cells) => `${cells.join(gap).trimEnd()}\n`).join("");
}

const gap = "  ";

/** Without the first optional columns, as many as it takes; then the last column is cut. */
function fitting(columns: readonly Column[], widthMax: number): readonly Column[] {
  const excess = columns.reduce((sum, column) => sum + widthOf(column) + gap.length, -gap.length) - widthMax;
  if (excess <= 0) return columns;
  const dispensable = columns.findIndex(({ optional }) => optional);
  if (dispensable !== -1) return fitting(columns.toSpliced(dispensable, 1), widthMax);
  return columns.map((column) => (column === columns.at(-1) ? cut(column, widthOf(column) - excess) : column));
}

function cut(column: Column, width: number): Column {
  return { ...column, cells: column.cells.map((cell) => plain(cell, Math.max(1, width))) };
}

function widthOf({ title, cells }: Column): number {
  return cells.reduce((width, cell) => Math.max(width, cell.length), title.length);
}

function pad(text: string, column: Column): string {
  const width = widthOf(column);
  return column.align === "right" ? text.padStart(width) : text.padEnd(width);
}

export function paint(style: Style, text: string, { hasColors }: Pick<Screen, "hasColors">): string {
  return hasColors ? styleText(style, text, { validateStream: false }) : text;
}

/** Without anything that steers a terminal or turns the direction of text; line ends stay. */
export function harmless(text: string): string {
  return stripVTControlCharacters(text).replace(
    /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\p{Bidi_Control}]+/gu,
    " ",
  );
}

/** JSON escapes what steers a terminal by itself, except these; the value stays the same. */
export function harmlessJson(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u2028\u2029\p{Bidi_Control}]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** As harmless, but with the tabs and colours of a program's output: https://ecma-international.org/publications-and-standards/standards/ecma-48/ */
export function harmlessLog(text: string): string {
  const parts = text.replaceAll("\r\n", "\n").split(/(\u001b\[[\d;]*m|\t)/);
  return parts.map((part, index) => (index % 2 === 1 ? part : harmless(part))).join("");
}

/** One line of harmless text, of at most so many characters. */
export function plain(text: string, lengthMax: number): string {
  const line = harmless(text.replaceAll("\n", " ")).trim();
  return line.length <= lengthMax
    ? line
    : `${line
        .slice(0, lengthMax - 1)
        .toWellFormed()
        .replace(/\ufffd$/, "")}…`;
}

export function formatMs(ms: number): string {
  if (ms < 10) return `${ms.toFixed(ms < 1 ? 2 : 1).replace(/\.?0+$/, "")} ms`;
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  if (ms < 100_000) return `${(ms / 1_000).toFixed(1)} s`;
  return `${Math.round(ms / 60_000)} min`;
}

export function formatBytes(bytes: number): string {
  if (bytes < 1_024) return `${bytes} B`;
  return bytes < 1_048_576 ? `${(bytes / 1_024).toFixed(1)} KiB` : `${(bytes / 1_048_576).toFixed(1)} MiB`;
}
