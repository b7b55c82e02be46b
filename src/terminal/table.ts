// Tables as text, as wide as the terminal that shows them.
import { styleText } from "node:util";
import { oneLine, stripTerminalControls } from "./controls.ts";
import type { Screen } from "./output.ts";

export type Style = Parameters<typeof styleText>[0];

export interface Column {
  readonly title: string;
  readonly align?: "right";
  /** Dropped when the terminal is too narrow for all columns. */
  readonly optional?: true;
  /** Text from any source: terminal controls are stripped. */
  readonly cells: readonly string[];
  readonly style?: (cell: string) => Style | undefined;
}

interface MeasuredColumn extends Column {
  readonly width: number;
}

export function formatTable(columns: readonly Column[], screen: Screen): string {
  const safe = columns.map((column) =>
    measure({ ...column, cells: column.cells.map((cell) => stripTerminalControls(cell).replaceAll("\n", " ")) }),
  );
  const shown = fit(safe, screen.columns ?? Number.POSITIVE_INFINITY);
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

/** Drops optional columns from the left until the rest fits, then cuts the last column. */
function fit(columns: readonly MeasuredColumn[], widthMax: number): readonly MeasuredColumn[] {
  const excess = columns.reduce((sum, { width }) => sum + width + gap.length, -gap.length) - widthMax;
  if (excess <= 0) return columns;
  const dispensable = columns.findIndex(({ optional }) => optional);
  if (dispensable !== -1) return fit(columns.toSpliced(dispensable, 1), widthMax);
  return columns.map((column) => (column === columns.at(-1) ? cut(column, column.width - excess) : column));
}

function cut(column: Column, width: number): MeasuredColumn {
  return measure({ ...column, cells: column.cells.map((cell) => oneLine(cell, Math.max(1, width))) });
}

function measure(column: Column): MeasuredColumn {
  const width = column.cells.reduce((longest, cell) => Math.max(longest, cell.length), column.title.length);
  return { ...column, width };
}

function pad(text: string, { align, width }: MeasuredColumn): string {
  return align === "right" ? text.padStart(width) : text.padEnd(width);
}

export function paint(style: Style, text: string, { hasColors }: Pick<Screen, "hasColors">): string {
  return hasColors ? styleText(style, text, { validateStream: false }) : text;
}
