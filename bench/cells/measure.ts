// Measures one cell: prepares the contender, starts the calling threads, lets them warm up and then work. Fails when the
// stored units are not those that were acknowledged.
import { once } from "node:events";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Worker } from "node:worker_threads";
import { quantile } from "../report.ts";
import { temporaryFolder } from "../setup.ts";
import type { Cell, CellRound, Contender, Tally } from "./cell.ts";

/** Runs a cell in this process. */
export async function runCell(cell: Cell, contender: Contender): Promise<CellRound> {
  const prepared = await contender.prepare(cell, temporaryFolder());
  const entry = new URL("./thread.ts", import.meta.url);
  const workers = prepared.threads.map(
    ({ data, ports = [] }) =>
      new Worker(entry, { workerData: { cell, module: contender.thread.href, data }, transferList: [...ports] }),
  );
  const fromEach = async (): Promise<unknown[]> =>
    Promise.all(workers.map(async (worker) => ((await once(worker, "message")) as [unknown])[0]));
  const step = async (): Promise<Tally[]> => {
    const answers = fromEach();
    for (const worker of workers) worker.postMessage("next");
    return (await answers) as Tally[];
  };
  await fromEach();
  const warmUp = await step();
  const loopDelay = monitorEventLoopDelay({ resolution: 1 });
  loopDelay.enable();
  const before = process.cpuUsage();
  const tallies = await step();
  const { user, system } = process.cpuUsage(before);
  loopDelay.disable();
  const exits = workers.map((worker) => once(worker, "exit"));
  for (const worker of workers) worker.postMessage("end");
  await Promise.all(exits);
  const acknowledged = [...warmUp, ...tallies].reduce((sum, { latenciesMs }) => sum + latenciesMs.length, 0);
  const stored = await prepared.finish();
  if (stored !== acknowledged)
    throw new Error(`${cell.contender}: ${acknowledged} units were acknowledged, but ${stored} are stored`);
  return summarize(cell, tallies, user + system, loopDelay.percentile(99) / 1e6);
}

function summarize({ seconds }: Cell, tallies: readonly Tally[], cpuUs: number, loopDelayMs: number): CellRound {
  const latenciesMs = Float64Array.from(tallies.flatMap((tally) => Array.from(tally.latenciesMs))).sort();
  const done = Math.max(1, latenciesMs.length);
  return {
    unitsPerSecond: tallies.reduce((sum, { units }) => sum + units, 0) / seconds,
    p50Ms: quantile(latenciesMs, 0.5),
    p99Ms: quantile(latenciesMs, 0.99),
    p999Ms: quantile(latenciesMs, 0.999),
    worstMs: latenciesMs.at(-1) ?? 0,
    cpuUs: cpuUs / done,
    callersCpuUs: tallies.reduce((sum, tally) => sum + tally.cpuUs, 0) / done,
    memoryMb: process.resourceUsage().maxRSS / 1_024,
    loopDelayMs,
    starvedThreads: tallies.filter(({ units }) => units === 0).length,
  };
}
