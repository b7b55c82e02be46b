// The command line of the benchmarks: reads a name and options, and prints tables.
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { bounds } from "../src/limits.ts";
import { type AppendResult, renderAppend, runAppend } from "./append.ts";
import { renderCells } from "./cells/render.ts";
import { type CellsResult, comparisons, runCells } from "./cells/run.ts";
import { renderGrowth } from "./growth/render.ts";
import { type GrowthResult, runGrowth } from "./growth/run.ts";
import { type LadderResult, renderLadder, runLadder } from "./ladder.ts";
import { type PostgresResult, renderPostgres, runPostgres } from "./postgres.ts";
import { type RunnerResult, renderRunner, runRunner } from "./programs.ts";
import { type ReadsResult, renderReads, runReads } from "./reads.ts";
import { type RemoteResult, renderRemote, runRemote } from "./remoteCalls.ts";
import { renderTracing, runTracing, type TracingResult } from "./tracing.ts";
import { renderUpkeep, runUpkeep, type UpkeepResult } from "./upkeep.ts";

const scenarioNames = comparisons.map(({ name }) => name);

const usage = `Usage: npm run bench [-- SCENARIO ...] [--quick] [--rounds 5] [--seconds 5] [--json FILE]
                               scenarios: ${scenarioNames.join(", ")};
                               all of them by default
       npm run bench -- ladder [--rounds 5] [--seconds 0.5] [--size 256] [--json FILE]
       npm run bench -- append [--rounds 5] [--seconds 2.5] [--size 256] [--threads 16]
                               [--in-flight 1,16,256] [--logs 1,256] [--json FILE]
       npm run bench -- append --url postgres://USER:PASSWORD@HOST:PORT/DATABASE
                               [--rounds 5] [--seconds 2.5] [--size 256] [--threads 16] [--json FILE]
       npm run bench -- reads [--rounds 5] [--seconds 3] [--json FILE]
       npm run bench -- runner [--rounds 5] [--json FILE]
       npm run bench -- remote [--rounds 5] [--seconds 1] [--json FILE]
       npm run bench -- tracing [--rounds 5] [--seconds 1] [--json FILE]
       npm run bench -- upkeep [--rounds 5] [--seconds 3] [--commands 50000] [--json FILE]
       npm run bench -- growth [--commands 1000000] [--rounds 20] [--json FILE]
       npm run bench -- render FILE`;

/** The numbers of commands of the stores whose costs are compared. */
const growthSizes = [1_000, 10_000, 100_000, 1_000_000];

/** A mistake in the command line, as one sentence for the user. */
class UsageError extends Error {}

type Result =
  | AppendResult
  | CellsResult
  | GrowthResult
  | LadderResult
  | PostgresResult
  | ReadsResult
  | RemoteResult
  | RunnerResult
  | TracingResult
  | UpkeepResult;

async function main(args: readonly string[]): Promise<void> {
  const { positionals, values } = parse(args);
  const [name, file, ...rest] = positionals;
  if (values.help === true) return console.log(usage);
  const areScenarios = positionals.every(isScenario);
  if (!areScenarios && (rest.length > 0 || (file !== undefined && name !== "render")))
    throw new UsageError(`expected scenarios or one other benchmark, not ${positionals.join(" ")}`);
  if (name === "render") return console.log(render(read(file)));
  const result = areScenarios ? await runScenarios(positionals, values) : await run(name, values);
  console.log(render(result));
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, undefined, 2)}\n`);
}

function parse(args: readonly string[]) {
  const string = { type: "string" } as const;
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        rounds: string,
        seconds: string,
        size: string,
        threads: string,
        "in-flight": string,
        logs: string,
        url: string,
        json: string,
        commands: string,
        quick: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function isScenario(name: string): boolean {
  return scenarioNames.includes(name);
}

/** Runs the scenarios, or all of them when none is named. */
async function runScenarios(names: readonly string[], values: ReturnType<typeof parse>["values"]): Promise<Result> {
  const quick = values.quick === true;
  if ((values.size ?? values.threads ?? values["in-flight"] ?? values.logs ?? values.url) !== undefined)
    throw new UsageError("scenarios take --quick, --rounds, --seconds and --json");
  return runCells(names.length === 0 ? scenarioNames : names, {
    rounds: wholeNumber("rounds", values.rounds ?? (quick ? "1" : "5"), 1, 100),
    seconds: duration(values.seconds ?? (quick ? "1" : "5")),
    warmUpSeconds: quick ? duration(values.seconds ?? "1") : 5,
  });
}

/** Fails when there are other options than those that a benchmark takes. */
function refuse(values: ReturnType<typeof parse>["values"], name: string, taken: readonly string[]): void {
  if (Object.keys(values).some((option) => !taken.includes(option)))
    throw new UsageError(`${name} takes ${taken.map((option) => `--${option}`).join(", ")}`);
}

async function run(name: string | undefined, values: ReturnType<typeof parse>["values"]): Promise<Result> {
  if (name === "growth") {
    refuse(values, name, ["rounds", "commands", "json"]);
    const commandsMax = wholeNumber("commands", values.commands ?? "1000000", 1_000, 1_000_000);
    const rounds = wholeNumber("rounds", values.rounds ?? "20", 1, 100);
    return runGrowth({ rounds, sizes: growthSizes.filter((size) => size <= commandsMax) });
  }
  if (name === "upkeep") {
    refuse(values, name, ["rounds", "seconds", "commands", "json"]);
    return runUpkeep({
      rounds: wholeNumber("rounds", values.rounds ?? "5", 1, 100),
      seconds: duration(values.seconds ?? "3"),
      commands: wholeNumber("commands", values.commands ?? "50000", 10, 1_000_000),
    });
  }
  const rounds = wholeNumber("rounds", values.rounds ?? "5", 1, 100);
  const size = wholeNumber("size", values.size ?? "256", 1, bounds.logChunkBytes);
  if (name === "ladder") {
    if ((values.threads ?? values["in-flight"] ?? values.logs ?? values.url) !== undefined) {
      throw new UsageError("ladder does not take --threads, --in-flight, --logs or --url");
    }
    return runLadder({ rounds, size, seconds: duration(values.seconds ?? "0.5") });
  }
  if (name === "runner") return runRunner({ rounds });
  if (name === "remote") {
    refuse(values, name, ["rounds", "seconds", "json"]);
    return runRemote({ rounds, seconds: duration(values.seconds ?? "1") });
  }
  if (name === "tracing") {
    refuse(values, name, ["rounds", "seconds", "json"]);
    return runTracing({ rounds, seconds: duration(values.seconds ?? "1") });
  }
  if (name === "reads") {
    if ((values.size ?? values.threads ?? values["in-flight"] ?? values.logs ?? values.url) !== undefined)
      throw new UsageError("reads takes --rounds, --seconds and --json");
    return runReads({ rounds, seconds: duration(values.seconds ?? "3") });
  }
  if (name === "append") {
    const threads = wholeNumber("threads", values.threads ?? "16", 1, 64);
    if (values.url !== undefined) {
      if ((values["in-flight"] ?? values.logs) !== undefined)
        throw new UsageError("append does not take --in-flight or --logs with --url");
      return runPostgres(values.url, { rounds, size, threads, seconds: duration(values.seconds ?? "2.5") });
    }
    const inFlight = wholeNumbers("in-flight", values["in-flight"] ?? "1,16,256", 1, 1_000);
    const logs = wholeNumbers("logs", values.logs ?? "1,256", 1, 256);
    return runAppend({ rounds, size, threads, inFlight, logs, seconds: duration(values.seconds ?? "2.5") });
  }
  throw new UsageError(
    `unknown benchmark ${name}: choose ${scenarioNames.join(", ")}, ladder, append, growth, reads, runner, tracing, upkeep or render`,
  );
}

function wholeNumber(option: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new UsageError(`--${option}: expected a whole number from ${min} to ${max}, not "${text}"`);
}

function wholeNumbers(option: string, text: string, min: number, max: number): number[] {
  return text.split(",").map((part) => wholeNumber(option, part, min, max));
}

function duration(text: string): number {
  const seconds = Number(text);
  if (/^\d*\.?\d+$/.test(text) && seconds >= 0.05 && seconds <= 60) return seconds;
  throw new UsageError(`--seconds: expected a number from 0.05 to 60, not "${text}"`);
}

function read(file: string | undefined): Result {
  if (file === undefined) throw new UsageError("render: expected the name of a file that --json wrote");
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Result;
  } catch (error) {
    throw new UsageError(`render: ${(error as Error).message}`);
  }
}

function render(result: Result): string {
  if (result.bench === "append") return renderAppend(result);
  if (result.bench === "cells") return renderCells(result);
  if (result.bench === "growth") return renderGrowth(result);
  if (result.bench === "ladder") return renderLadder(result);
  if (result.bench === "postgres") return renderPostgres(result);
  if (result.bench === "runner") return renderRunner(result);
  if (result.bench === "reads") return renderReads(result);
  if (result.bench === "remote") return renderRemote(result);
  if (result.bench === "tracing") return renderTracing(result);
  if (result.bench === "upkeep") return renderUpkeep(result);
  throw new UsageError("render: the file does not hold the result of a benchmark");
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(`bench: ${error.message}`);
  process.exitCode = 2;
}
