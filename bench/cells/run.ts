// Runs the cells of scenarios: in rounds, one process after the other, so that all contenders of a scenario meet the same
// machine. Knows what each scenario compares, and the ratio that it is to reach.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { contenders } from "../contenders/index.ts";
import { isInstalled } from "../contenders/packages.ts";
import { type Environment, environment } from "../report.ts";
import type { Cell, CellRound, Contender, Scenario } from "./cell.ts";

type Shape = Pick<Cell, "contender" | "threads" | "inFlight">;

/** A comparison: the first cell is what the others are compared with. */
interface Comparison {
  /** Its name on the command line. */
  readonly name: string;
  readonly scenario: Scenario;
  readonly title: string;
  readonly cells: readonly Shape[];
}

const ours = "debug-server-db";
const oursOnPostgres = "debug-server-db on PostgreSQL";
const naive = "connection per thread";

export const comparisons: readonly Comparison[] = [
  {
    name: "runner-day",
    scenario: "runner-day",
    title: "A runner's day on 16 threads",
    cells: [
      { contender: naive, threads: 16, inFlight: 1 },
      { contender: ours, threads: 16, inFlight: 10 },
      { contender: ours, threads: 16, inFlight: 1 },
      { contender: naive, threads: 16, inFlight: 10 },
      ...["Drizzle", "@libsql/client", "kysely-sqlite-worker"].map((contender) => ({
        contender,
        threads: 16,
        inFlight: 1,
      })),
    ],
  },
  {
    name: "enqueue",
    scenario: "enqueue",
    title: "Adding to a queue from one thread",
    cells: [
      { contender: "plainjob", threads: 1, inFlight: 1 },
      { contender: naive, threads: 1, inFlight: 1 },
      { contender: ours, threads: 1, inFlight: 1 },
      { contender: ours, threads: 1, inFlight: 16 },
    ],
  },
  {
    name: "work",
    scenario: "work",
    title: "Claiming and finishing by 16 workers",
    cells: [
      { contender: "plainjob", threads: 16, inFlight: 1 },
      { contender: naive, threads: 16, inFlight: 1 },
      { contender: ours, threads: 16, inFlight: 1 },
    ],
  },
  {
    name: "enqueue-postgres",
    scenario: "enqueue",
    title: "Adding to a queue on PostgreSQL from one thread (synchronous_commit=on; CPU and memory without the server)",
    cells: ["graphile-worker", "pg-boss", oursOnPostgres].flatMap((contender) => [
      { contender, threads: 1, inFlight: 1 },
      { contender, threads: 1, inFlight: 16 },
    ]),
  },
  {
    name: "work-postgres",
    scenario: "work",
    title:
      "Claiming and finishing by 16 workers on PostgreSQL (synchronous_commit=on; CPU and memory without the server)",
    cells: [
      { contender: "graphile-worker", threads: 1, inFlight: 16 },
      { contender: "pg-boss", threads: 1, inFlight: 16 },
      { contender: oursOnPostgres, threads: 1, inFlight: 16 },
      { contender: oursOnPostgres, threads: 16, inFlight: 1 },
    ],
  },
  {
    name: "lone",
    scenario: "lone",
    title: "One append at a time",
    cells: [
      { contender: "Comlink echo and commit", threads: 1, inFlight: 1 },
      { contender: naive, threads: 1, inFlight: 1 },
      { contender: ours, threads: 1, inFlight: 1 },
    ],
  },
];

export interface CellOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly warmUpSeconds: number;
}

export interface CellsResult {
  readonly bench: "cells";
  readonly environment: Environment;
  readonly options: CellOptions;
  readonly comparisons: readonly ComparisonResult[];
}

export interface ComparisonResult {
  readonly name: string;
  readonly scenario: Scenario;
  readonly title: string;
  readonly cells: readonly (Shape & { readonly rounds: readonly CellRound[] })[];
  /** The contenders that were left out because their packages are not installed. */
  readonly missing: readonly string[];
}

export async function runCells(names: readonly string[], options: CellOptions): Promise<CellsResult> {
  const results: ComparisonResult[] = [];
  for (const comparison of comparisons)
    if (names.includes(comparison.name)) results.push(await compare(comparison, options));
  return { bench: "cells", environment: environment(), options, comparisons: results };
}

async function compare({ name, scenario, title, cells }: Comparison, options: CellOptions): Promise<ComparisonResult> {
  const isMissing = ({ contender }: Shape): boolean => !isInstalled(contenders[contender] as Contender);
  const missing = [...new Set(cells.filter(isMissing).map(({ contender }) => contender))];
  const measured = cells.filter((cell) => !isMissing(cell)).map((shape) => ({ ...shape, rounds: [] as CellRound[] }));
  const { rounds, seconds, warmUpSeconds } = options;
  for (let round = 0; round < rounds; round++)
    for (const { rounds: figures, ...shape } of measured)
      figures.push(await runInProcess({ ...shape, scenario, seconds, warmUpSeconds }));
  return { name, scenario, title, cells: measured, missing };
}

const entry = fileURLToPath(new URL("./process.ts", import.meta.url));

async function runInProcess(cell: Cell): Promise<CellRound> {
  const { stdout } = await promisify(execFile)(process.execPath, [entry, JSON.stringify(cell)]);
  return JSON.parse(stdout) as CellRound;
}
