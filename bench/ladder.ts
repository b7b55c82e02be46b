// Measures what each layer costs: the same append on every layer, from bare statements to a runner thread.
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
  /** The time of each rung in each round. */
  readonly seconds: number;
  readonly size: number;
}

interface Round {
  readonly calls: number;
  readonly seconds: number;
  /** The CPU time of all threads of the process per call, in microseconds. */
  readonly cpuUs: number;
}

/** The figures of one rung. */
interface Figures {
  /** The part of the ladder, which is one table. */
  readonly leg: string;
  readonly name: string;
  readonly rounds: readonly Round[];
}

export interface LadderResult {
  readonly bench: "ladder";
  readonly environment: Environment;
  readonly options: LadderOptions;
  readonly rungs: readonly Figures[];
  /** The number of bytes that were acknowledged, and found stored afterwards. */
  readonly bytes: number;
}

/** One layer, ready to append. */
interface Rung {
  run(seconds: number): Promise<{ calls: number; seconds: number }>;
  /** Closes the database. Resolves to the number of bytes that it stores. */
  close(): Promise<number>;
  /** Returns the slots with the offsets that their logs have reached. */
  slots(): readonly Slot[];
}

interface Plan {
  readonly leg: string;
  readonly name: string;
  open(path: string, size: number): Promise<Rung>;
}

const oneCall = "one call at a time, one sync per call";
const manyCalls = "many calls at once";
/** The number of calls in flight, or in one transaction, in the second leg. */
const many = 64;

const plans: readonly Plan[] = [
  { leg: oneCall, name: "bare statements, one transaction per call", open: (path, size) => bare(path, size, 1) },
  { leg: oneCall, name: "driver, one body", open: (path, size) => driver(path, size, 1) },
  { leg: oneCall, name: "dispatcher, one call", open: (path, size) => dispatcher(path, size, 1) },
  { leg: oneCall, name: "database thread, 1 call in flight", open: (path, size) => actor(path, size, 1) },
  { leg: oneCall, name: "runner thread, 1 call in flight", open: (path, size) => runner(path, size, 1) },
  {
    leg: manyCalls,
    name: "bare statements, 1000 calls per transaction",
    open: (path, size) => bare(path, size, 1_000),
  },
  {
    leg: manyCalls,
    name: `bare statements, ${many} calls per transaction`,
    open: (path, size) => bare(path, size, many),
  },
  { leg: manyCalls, name: `driver, ${many} bodies`, open: (path, size) => driver(path, size, many) },
  { leg: manyCalls, name: `dispatcher, ${many} calls`, open: (path, size) => dispatcher(path, size, many) },
  {
    leg: manyCalls,
    name: `in memory (no thread, no sync), ${many} calls in flight`,
    open: (_path, size) => memory(size),
  },
  { leg: manyCalls, name: `database thread, ${many} calls in flight`, open: (path, size) => actor(path, size, many) },
  { leg: manyCalls, name: `runner thread, ${many} calls in flight`, open: (path, size) => runner(path, size, many) },
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
      const counted = await rung.run(seconds);
      const { user, system } = process.cpuUsage(cpu);
      figures[index]?.rounds.push({ ...counted, cpuUs: (user + system) / Math.max(1, counted.calls) });
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

/**
 * Returns how many logs a rung appends to. The rungs of a leg use the same number, because each log that a transaction
 * touches is another page to write.
 */
function logCount(calls: number): number {
  return Math.min(calls, many);
}

/** Runs `batch`, which makes `calls` calls, until the time is up. */
async function repeat(
  seconds: number,
  calls: number,
  batch: () => unknown,
): Promise<{ calls: number; seconds: number }> {
  const startedAtMs = performance.now();
  const endAtMs = startedAtMs + seconds * 1_000;
  let done = 0;
  do {
    const running = batch();
    if (running instanceof Promise) await running;
    done += calls;
  } while (performance.now() < endAtMs);
  return { calls: done, seconds: (performance.now() - startedAtMs) / 1_000 };
}

async function bare(path: string, size: number, calls: number): Promise<Rung> {
  const slots = await newFile(path, logCount(calls));
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

/** More time than any batch takes, so that no group is cut. */
const budgetMs = 60_000;

function openDriver(path: string) {
  const limits = { ...defaultLimits, logBytes };
  const file = { path, migrate: "never", synchronous: "full", maxBytes: undefined } as const;
  return { limits, opened: openSqlite({ ...file, limits, clock: systemClock, onEvent: () => undefined }) };
}

async function driver(path: string, size: number, calls: number): Promise<Rung> {
  const slots = await newFile(path, logCount(calls));
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
          actor: undefined,
          wake: () => undefined,
          changed: () => undefined,
          counted: () => undefined,
          spent: () => undefined,
          measured: () => undefined,
          used: () => undefined,
          block: () => undefined,
        } as Context);
      return [{ access: "write", startBody }] as const;
    });
    const { settled } = await opened.transact(jobs, budgetMs);
    for (const result of settled) if (!result.ok) throw result.error;
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
  const slots = await newFile(path, logCount(calls));
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

/** Returns a run that appends through a client, with one call in flight per slot. */
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
    return countAll(tally);
  };
}

/** Counts all acknowledged calls, and fails when a call failed. */
function countAll({ latenciesMs, elapsedMs, errors }: Tally): { calls: number; seconds: number } {
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
      return countAll(tally);
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
    const legRungs = rungs.filter((rung) => rung.leg === leg);
    return table(
      [leg, "µs per call", "calls/s", "cost vs. the row above", "CPU µs per call"],
      legRungs.map((rung, index) => rowOf(rung, legRungs[index - 1])),
    );
  });
  return [
    `Appends of ${size} bytes at synchronous=FULL. ` +
      `Figures are medians (lowest..highest) of ${rounds} rounds of ${seconds} s per row.`,
    ...legs,
    `All ${format(bytes)} acknowledged bytes were found in the store. ${describe(machine)}.`,
  ].join("\n\n");
}

function rowOf({ name, rounds }: Figures, previous: Figures | undefined): string[] {
  const callUs = rounds.map(usPerCall);
  const ratios = previous?.rounds.map((round, index) => (callUs[index] as number) / usPerCall(round));
  return [
    name,
    spread(callUs),
    format(median(rounds.map(({ calls, seconds }) => calls / seconds))),
    ratios === undefined ? "" : spread(ratios),
    format(median(rounds.map(({ cpuUs }) => cpuUs))),
  ];
}

function usPerCall({ calls, seconds }: Round): number {
  return (seconds * 1_000_000) / calls;
}
