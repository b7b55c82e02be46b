// A calling thread of a cell: opens its contender, warms up, and then does units of work for as long as the cell says.
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import type { Cell, Open, Opened, Tally } from "./cell.ts";

const { cell, module, data } = workerData as { cell: Cell; module: string; data: never };
const owner = parentPort as MessagePort;
const { open } = (await import(module)) as { open: Open };
const opened = await open(cell, data);

/** Keeps units under way until the time is over, and returns what they took. */
async function work({ scenario, inFlight }: Cell, contender: Opened, seconds: number): Promise<Tally> {
  const latenciesMs: number[] = [];
  const before = process.threadCpuUsage();
  const endMs = performance.now() + seconds * 1_000;
  let units = 0;
  const lane = async (): Promise<void> => {
    do {
      const startedMs = performance.now();
      await contender.unit();
      const nowMs = performance.now();
      latenciesMs.push(nowMs - startedMs);
      if (nowMs <= endMs) units++;
    } while (performance.now() < endMs);
  };
  // A day has its own calls in flight.
  await Promise.all(Array.from({ length: scenario === "runner-day" ? 1 : inFlight }, lane));
  const { user, system } = process.threadCpuUsage(before);
  return { units, latenciesMs: Float64Array.from(latenciesMs), cpuUs: user + system };
}

const steps = [cell.warmUpSeconds, cell.seconds];
owner.on("message", async () => {
  const seconds = steps.shift();
  if (seconds === undefined) {
    await opened.close();
    owner.close();
  } else owner.postMessage(await work(cell, opened, seconds));
});
owner.postMessage("ready");
