// Prints figures: medians, tables, and the machine that they were measured on. Knows no benchmark.
import { availableParallelism, cpus } from "node:os";
import Database from "better-sqlite3";

export interface Environment {
  readonly date: string;
  readonly node: string;
  readonly sqlite: string;
  readonly platform: string;
  readonly cpu: string;
  readonly cores: number;
}

/** Describes the machine well enough to judge the figures, without identifying it. */
export function environment(): Environment {
  const db = new Database(":memory:");
  const sqlite = db.prepare("SELECT sqlite_version()").pluck().get() as string;
  db.close();
  return {
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    sqlite,
    platform: `${process.platform} ${process.arch}`,
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
  };
}

/** Formats the environment as one line. */
export function describe({ date, node, sqlite, platform, cpu, cores }: Environment): string {
  return `${date}, Node ${node}, SQLite ${sqlite}, ${platform}, ${cores} cores of ${cpu}`;
}

export function median(values: readonly number[]): number {
  return quantile(
    values.toSorted((left, right) => left - right),
    0.5,
  );
}

/** Returns the nearest-rank quantile of values in ascending order, or 0 when there are none. */
export function quantile(sorted: ArrayLike<number>, fraction: number): number {
  const rank = Math.ceil(fraction * sorted.length) - 1;
  return sorted[Math.min(Math.max(rank, 0), sorted.length - 1)] ?? 0;
}

/** Formats a figure with three significant digits and a space between thousands. */
export function format(value: number): string {
  if (!Number.isFinite(value)) return "-";
  const rounded = Number(value.toPrecision(3));
  return rounded.toLocaleString("en-US", { maximumFractionDigits: 20 }).replaceAll(",", " ");
}

/** Formats the median of the rounds, and their lowest and highest figure. */
export function spread(rounds: readonly number[]): string {
  return `${format(median(rounds))} (${format(Math.min(...rounds))}..${format(Math.max(...rounds))})`;
}

/** Formats a Markdown table with aligned columns: text in the first one, figures in the others. */
export function table(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => (row[column] ?? "").length)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => pad(cell, widths[column] as number, column)).join(" | ")} |`;
  const rules = widths.map((width, column) => (column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`));
  return [line(columns), `| ${rules.join(" | ")} |`, ...rows.map(line)].join("\n");
}

function pad(cell: string, width: number, column: number): string {
  return column === 0 ? cell.padEnd(width) : cell.padStart(width);
}
