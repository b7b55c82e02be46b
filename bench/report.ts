// Figures in order: medians, tables, and the machine they come from. Knows no bench.
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

/** Enough to judge the figures, and nothing that names the machine. */
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

export function describe({ date, node, sqlite, platform, cpu, cores }: Environment): string {
  return `${date}, Node ${node}, SQLite ${sqlite}, ${platform}, ${cores} cores of ${cpu}`;
}

export function median(values: readonly number[]): number {
  return quantile(
    values.toSorted((left, right) => left - right),
    0.5,
  );
}

/** Returns the quantile of values in ascending order by the nearest rank, or 0 when there are none. */
export function quantile(sorted: ArrayLike<number>, fraction: number): number {
  const rank = Math.ceil(fraction * sorted.length) - 1;
  return sorted[Math.min(Math.max(rank, 0), sorted.length - 1)] ?? 0;
}

/** Three significant digits, thousands apart. */
export function format(value: number): string {
  if (!Number.isFinite(value)) return "-";
  const rounded = Number(value.toPrecision(3));
  return rounded.toLocaleString("en-US", { maximumFractionDigits: 20 }).replaceAll(",", " ");
}

/** The median of the rounds, and between which figures they lie. */
export function spread(rounds: readonly number[]): string {
  return `${format(median(rounds))} (${format(Math.min(...rounds))}..${format(Math.max(...rounds))})`;
}

/** Markdown that is readable as it stands. The first column is text, the others are figures. */
export function table(heads: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = heads.map((head, column) => Math.max(head.length, ...rows.map((row) => (row[column] ?? "").length)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => pad(cell, widths[column] as number, column)).join(" | ")} |`;
  const rule = `| ${widths.map((width, column) => (column === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)).join(" | ")} |`;
  return [line(heads), rule, ...rows.map(line)].join("\n");
}

function pad(cell: string, width: number, column: number): string {
  return column === 0 ? cell.padEnd(width) : cell.padStart(width);
}
