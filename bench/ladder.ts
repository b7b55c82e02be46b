// Measures the cost of each layer: the same append at every height, from bare statements to a runner thread.
import { join } from "node:path";
import { systemClock } from "../src/clock.ts";
import type { Context } from "../src/context.ts";
import { createDispatcher } from "../src/dispatch.ts";
import { createRunnerPool, defaultLimits, type Store } from "../src/index.ts";
import { operations } from "../src/operations/table.ts";
import { openSqlite } from "../src/sqlite/open.ts";
import { openTestStore } from "../src/testing/index.ts";
import { idleServer } from "../test/support/serverState.ts";
import { keepInFlight, type Load, lineOf, nextSpan, type Slot, type Tally } from "./load.ts";
import { describe, type Environment, environment, format, median, spread, table } from "./report.ts";
import {
  bytesAcknowledged,
  bytesInFile,
  bytesInStore,
  checkBytes,
  logBytes,
  newFile,
  newStore,
  runCommands,
  temporaryFolder,
} from "./setup.ts";
import { connect, prepareAppend } from "./statements.ts";

export interface LadderOptions {
  readonly rounds: number;
  /** For each rung in each round. */
  readonly seconds: number;
  readonly size: number;
}

interface Round {
  readonly calls: number;
  readonly seconds: number;
  /** The CPU time of all threads of the process, in microseconds for each call. */
  readonly cpuUs: number;
}

interface Figures {
  readonly leg: string;
  readonly name: string;
  readonly rounds: readonly Round[];
}

export interface LadderResult {
  readonly bench: "ladder";
  readonly environment: Environment;
  readonly options: LadderOptions;
  readonly rungs: readonly Figures[];
  /** Acknowledged, and found stored afterwards. */
  readonly bytes: number;
}

interface Rung {
  run(seconds: number): Promise<{ calls: number; seconds: number }>;
  /** Resolves to the bytes that are stored. */
  close(): Promise<number>;
  /** As far as the logs have come. */
  slots(): readonly Slot[];
}

interface Plan {
  readonly leg: string;
  readonly name: string;
  open(path: string, size: number): Promise<Rung>;
}

const alone = "one call at a time, a sync for each";
const together = "many calls together";
/** Calls in flight, or in one transaction, of the second leg. */
const many = 64;

const plans: readonly Plan[] = [
  { leg: alone, name: "bare statements, a transaction for each call", open: (path, size) => bare(path, size, 1) },
  { leg: alone, name: "driver, one body", open: (path, size) => driver(path, size, 1) },
  { leg: alone, name: "dispatcher, one call", open: (path, size) => dispatcher(path, size, 1) },
  { leg: alone, name: "database thread, 1 in flight", open: (path, size) => actor(path, size, 1) },
  { leg: alone, name: "runner thread, 1 in flight", open: (path, size) => runner(path, size, 1) },
  { leg: together, name: "bare statements, 1000 a transaction", open: (path, size) => bare(path, size, 1_000) },
  { leg: together, name: `bare statements, ${many} a transaction`, open: (path, size) => bare(path, size, many) },
  { leg: together, name: `driver, ${many} bodies`, open: (path, size) => driver(path, size, many) },
  { leg: together, name: `dispatcher, ${many} calls`, open: (path, size) => dispatcher(path, size, many) },
  { leg: together, name: `in memory, ${many} in flight: no thread, no sync`, open: (_path, size) => memory(size) },
  { leg: together, name: `database thread, ${many} in flight`, open: (path, size) => actor(path, size, many) },
  { leg: together, name: `runner thread, ${many} in flight`, open: (path, size) => runner(path, size, many) },
];

const warmUpSeconds = 0.3;

export async function runLadder(options: LadderOptions): Promise<LadderResult> {
  const folder = temporaryFolder();
  const { rounds, seconds, size } = options;
  const rungs: Rung[] = [];
  for (const [index, { open }] of plans.entries()) rungs.push(await open(join(folder, `rung-${index}.db`), size));
  const figures = plans.map(({ leg, name }) => ({ leg, name, rounds: [] as Round[] }));
  for (const rung of rungs) await rung.run(Math.min(warmUpSeconds, seconds));
  for (let round = 0; round < rounds; round++) {
    for (const [index, rung] of rungs.entries()) {
      const cpu = process.cpuUsage();
      const done = await rung.run(seconds);
      const { user, system } = process.cpuUsage(cpu);
      figures[index]?.rounds.push({ ...done, cpuUs: (user + system) / Math.max(1, done.calls) });
    }
  }
  let bytes = 0;
  for (const [index, rung] of rungs.entries()) {
    const acknowledged = bytesAcknowledged(rung.slots());
    checkBytes((plans[index] as Plan).name, acknowledged, await rung.close());
    bytes += acknowledged;
  }
  return { bench: "ladder", environment: environment(), options, rungs: figures, bytes };
}

/** The rungs of a leg append to the same number of logs: each log that a transaction touches is another page to write. */
function logsOf(calls: number): number {
  return Math.min(calls, many);
}

/** `batch` makes so many calls. */
async function repeat(
  seconds: number,
  calls: number,
  batch: () => unknown,
): Promise<{ calls: number; seconds: number }> {
  const startedAtMs = performance.now();
  const endAtMs = startedAtMs + seconds * 1_000;
  let done = 0;
  while (performance.now() < endAtMs) {
    const running = batch();
    if (running instanceof Promise) await running;
    done += calls;
  }
  return { calls: done, seconds: (performance.now() - startedAtMs) / 1_000 };
}

async function bare(path: string, size: number, calls: number): Promise<Rung> {
  const slots = await newFile(path, logsOf(calls));
  const db = connect(path, defaultLimits.busyMs);
  const append = prepareAppend(db, lineOf(size));
  const begin = db.prepare("BEGIN IMMEDIATE");
  const commit = db.prepare("COMMIT");
  const batch = (): void => {
    begin.run();
    for (let call = 0; call < calls; call++) {
      const slot = slots[call % slots.length] as Slot;
      append(slot.commandId, slot.fence, slot.offset);
      slot.offset += size;
    }
    commit.run();
  };
  return {
    run: (seconds) => repeat(seconds, calls, batch),
    slots: () => slots,
    async close() {
      db.close();
      return bytesInFile(path);
    },
  };
}

/** Longer than any batch takes, so that no group is cut. */
const budgetMs = 60_000;

function openDriver(path: string) {
  const limits = { ...defaultLimits, logBytes };
  const file = { path, migrate: "never", synchronous: "full", maxBytes: undefined } as const;
  return { limits, opened: openSqlite({ ...file, limits, clock: systemClock, onSecondServer: () => undefined }) };
}

async function driver(path: string, size: number, calls: number): Promise<Rung> {
  const slots = await newFile(path, logsOf(calls));
  const { limits, opened } = openDriver(path);
  const data = lineOf(size);
  const batch = async (): Promise<void> => {
    const jobs = slots.map(({ commandId, fence, offset }) => {
      const input = { commandId, fence, offset, stream: "stdout", data } as never;
      const startBody = (now: Date) =>
        operations.logs.append.run(input, {
          now,
          limits,
          serverState: idleServer,
          wake: () => undefined,
          changed: () => undefined,
          used: () => undefined,
        } as Context);
      return [{ access: "write", startBody }] as const;
    });
    const { settled } = await opened.transact(jobs, budgetMs);
    for (const one of settled) if (!one.ok) throw one.error;
    for (const slot of slots) slot.offset += size;
  };
  return {
    run: (seconds) => repeat(seconds, calls, batch),
    slots: () => slots,
    async close() {
      await opened.close();
      return bytesInFile(path);
    },
  };
}

async function dispatcher(path: string, size: number, calls: number): Promise<Rung> {
  const slots = await newFile(path, logsOf(calls));
  const { limits, opened } = openDriver(path);
  const { decodeCall, runTransaction } = createDispatcher({
    operations,
    driver: opened,
    limits,
    serverState: () => idleServer,
    onInternal: (error) => {
      throw error;
    },
  });
  const { append } = operations.logs;
  const offsetAt = append.keys.indexOf("offset");
  const wires = slots.map(({ commandId, fence }) => append.encode({ commandId, fence, offset: 0, data: lineOf(size) }));
  const caller = { actor: undefined, requestId: undefined, idempotency: undefined };
  const batch = async (): Promise<void> => {
    const jobs = slots.map(({ offset }, index) => [
      decodeCall("logs.append", (wires[index] as readonly unknown[]).with(offsetAt, offset), caller),
    ]);
    const { outcomes } = await runTransaction(jobs, budgetMs);
    for (const { answers } of outcomes)
      if (answers[0]?.[0] !== true) throw new Error(`the dispatcher answered ${JSON.stringify(answers)}`);
    for (const slot of slots) slot.offset += size;
  };
  return {
    run: (seconds) => repeat(seconds, calls, batch),
    slots: () => slots,
    async close() {
      await opened.close();
      return bytesInFile(path);
    },
  };
}

/** Calls through a client, so many in flight. */
function throughStore(store: Store, slots: readonly Slot[], size: number): Rung["run"] {
  const data = lineOf(size);
  return async (seconds) => {
    const tally = await keepInFlight({ slots, inFlight: 1, span: nextSpan(seconds), size }, async (slot) => {
      const { ackOffset } = await store.logs.append({
        commandId: slot.commandId,
        fence: slot.fence,
        offset: slot.offset,
        data,
      });
      slot.offset = ackOffset;
    });
    return measured(tally);
  };
}

function measured({ latenciesMs, elapsedMs, errors }: Tally): { calls: number; seconds: number } {
  if (Object.keys(errors).length > 0) throw new Error(`calls failed: ${JSON.stringify(errors)}`);
  return { calls: latenciesMs.length, seconds: elapsedMs / 1_000 };
}

async function memory(size: number): Promise<Rung> {
  const store = await openTestStore({ limits: { logBytes } });
  const slots = await runCommands(store, many);
  return {
    run: throughStore(store, slots, size),
    slots: () => slots,
    async close() {
      const stored = await bytesInStore(store, slots);
      await store.close();
      return stored;
    },
  };
}

async function actor(path: string, size: number, calls: number): Promise<Rung> {
  const { store, slots } = await newStore(path, calls);
  return {
    run: throughStore(store, slots, size),
    slots: () => slots,
    async close() {
      await store.close();
      return bytesInFile(path);
    },
  };
}

async function runner(path: string, size: number, calls: number): Promise<Rung> {
  const opened = await newStore(path, calls);
  let slots: readonly Slot[] = opened.slots;
  const pool = createRunnerPool(opened.store, {
    filename: new URL("./runner.ts", import.meta.url),
    threads: 1,
    operations: ["logs.append"],
  });
  return {
    async run(seconds) {
      const tally = await pool.run<Tally>({ slots, inFlight: 1, span: nextSpan(seconds), size } satisfies Load);
      slots = tally.slots;
      return measured(tally);
    },
    slots: () => slots,
    async close() {
      await pool.close();
      await opened.store.close();
      return bytesInFile(path);
    },
  };
}

export function renderLadder({ environment: machine, options, rungs, bytes }: LadderResult): string {
  const { rounds, seconds, size } = options;
  const legs = [...new Set(rungs.map(({ leg }) => leg))].map((leg) => {
    const own = rungs.filter((rung) => rung.leg === leg);
    return table(
      [leg, "µs per call", "calls/s", "times the previous rung", "CPU µs per call"],
      own.map((rung, index) => rowOf(rung, own[index - 1])),
    );
  });
  return [
    `Appends of ${size} bytes at synchronous=FULL; medians (and extremes) of ${rounds} rounds of ${seconds} s per rung.`,
    ...legs,
    `All ${format(bytes)} acknowledged bytes were found in the store. ${describe(machine)}.`,
  ].join("\n\n");
}

function rowOf({ name, rounds }: Figures, before: Figures | undefined): string[] {
  const perCallUs = rounds.map(usOf);
  const times = before?.rounds.map((round, index) => (perCallUs[index] as number) / usOf(round));
  return [
    name,
    spread(perCallUs),
    format(median(rounds.map(({ calls, seconds }) => calls / seconds))),
    times === undefined ? "" : spread(times),
    format(median(rounds.map(({ cpuUs }) => cpuUs))),
  ];
}

function usOf({ calls, seconds }: Round): number {
  return (seconds * 1_000_000) / calls;
}
