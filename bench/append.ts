// Measures acknowledged log appends at synchronous=FULL: runner threads with a store, and peers without one.
import { join } from "node:path";
import { MessageChannel } from "node:worker_threads";
import { createRunnerPool } from "../src/index.ts";
import { type Load, lineOf, nextSpan, type Slot, type Tally } from "./load.ts";
import { describe, type Environment, environment, format, median, quantile, spread, table } from "./report.ts";
import { bytesAcknowledged, bytesInFile, checkBytes, newFile, newStore, temporaryFolder } from "./setup.ts";
import { type LoadThread, startThread } from "./threads.ts";

export interface AppendOptions {
  readonly threads: number;
  /** The numbers of calls that each thread has in flight: one contender for each. */
  readonly inFlight: readonly number[];
  /** The numbers of logs over which a thread spreads its calls: one contender for each that the calls can fill. */
  readonly logs: readonly number[];
  readonly seconds: number;
  readonly rounds: number;
  readonly size: number;
}

export interface Round {
  readonly callsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly worstMs: number;
  /** The CPU time of all threads of the process per call, in microseconds. */
  readonly cpuUs: number;
  readonly errors: Readonly<Record<string, number>>;
  /** The number of threads that completed no call. */
  readonly starvedThreads: number;
}

/** The figures of one contender. */
interface Figures {
  readonly name: string;
  /** The calls in flight per thread of a contender that uses the store; null for a peer. */
  readonly inFlight: number | null;
  readonly logs: number;
  readonly rounds: readonly Round[];
}

export interface AppendResult {
  readonly bench: "append";
  readonly environment: Environment;
  readonly options: AppendOptions;
  readonly contenders: readonly Figures[];
  /** The number of bytes that were acknowledged, and found in the files afterwards. */
  readonly bytes: number;
}

/** The figures that the store should reach, relative to the peer with one connection per thread. */
const targets = { throughput: new Map([[16, 8]]).set(256, 12), worst: 0.1 };

export interface Contender {
  readonly name: string;
  readonly inFlight: number | null;
  /** The number of logs of each thread. */
  readonly logs: number;
  run(load: Pick<Load, "span" | "size">): Promise<Tally[]>;
}

/** One file and the contenders that append to it. */
interface Arena {
  readonly contenders: readonly Contender[];
  /** Ends its threads. Resolves to the number of acknowledged bytes, and fails unless the file holds them. */
  close(): Promise<number>;
}

/** The time in which each thread compiles its own code, although it makes a sixteenth of the calls only. */
const warmUpSeconds = 2;

export async function runAppend(options: AppendOptions): Promise<AppendResult> {
  const folder = temporaryFolder();
  const { seconds, rounds, size } = options;
  const arenas = [await connections(folder, options), await comlink(folder, options), await stores(folder, options)];
  const contenders = arenas.flatMap((arena) => arena.contenders);
  const figures = contenders.map(({ name, inFlight, logs }) => ({ name, inFlight, logs, rounds: [] as Round[] }));
  for (const contender of contenders) {
    // The first span is over before all threads have started, and the second begins after it.
    for (const warmUp of [0, Math.min(warmUpSeconds, seconds)]) await contender.run({ span: nextSpan(warmUp), size });
  }
  for (let round = 0; round < rounds; round++) {
    for (const [index, contender] of contenders.entries()) {
      const cpu = process.cpuUsage();
      const tallies = await contender.run({ span: nextSpan(seconds), size });
      const { user, system } = process.cpuUsage(cpu);
      figures[index]?.rounds.push(summarize(tallies, seconds, user + system));
    }
  }
  let bytes = 0;
  for (const arena of arenas) bytes += await arena.close();
  return { bench: "append", environment: environment(), options, contenders: figures, bytes };
}

/** Summarizes what the threads measured in one round. */
export function summarize(tallies: readonly Tally[], seconds: number, cpuUs: number): Round {
  const latenciesMs = Float64Array.from(tallies.flatMap((tally) => Array.from(tally.latenciesMs))).sort();
  const errors: Record<string, number> = {};
  for (const tally of tallies)
    for (const [code, count] of Object.entries(tally.errors)) errors[code] = (errors[code] ?? 0) + count;
  return {
    callsPerSecond: tallies.reduce((sum, { calls }) => sum + calls, 0) / seconds,
    p50Ms: quantile(latenciesMs, 0.5),
    p99Ms: quantile(latenciesMs, 0.99),
    worstMs: Math.max(...tallies.map(({ worstMs }) => worstMs)),
    cpuUs: cpuUs / Math.max(1, latenciesMs.length),
    errors,
    starvedThreads: tallies.filter(({ calls }) => calls === 0).length,
  };
}

/** Runs a load on every thread with `count` of its slots, and stores the offsets that the logs have reached. */
export async function onEach(
  slots: Slot[][],
  count: number,
  load: Omit<Load, "slots">,
  run: (load: Load, thread: number) => Promise<Tally>,
): Promise<Tally[]> {
  return Promise.all(
    slots.map(async (threadSlots, thread) => {
      const tally = await run({ ...load, slots: threadSlots.slice(0, count) }, thread);
      threadSlots.splice(0, count, ...tally.slots);
      return tally;
    }),
  );
}

/** Deals the slots to the threads in turn. */
export function dealSlots(slots: readonly Slot[], threads: number): Slot[][] {
  return Array.from({ length: threads }, (_, thread) => slots.filter((_slot, index) => index % threads === thread));
}

function checkFile(name: string, slots: readonly Slot[][], path: string): number {
  const acknowledged = bytesAcknowledged(slots.flat());
  checkBytes(name, acknowledged, bytesInFile(path));
  return acknowledged;
}

async function stores(folder: string, { threads, inFlight, logs }: AppendOptions): Promise<Arena> {
  const path = join(folder, "store.db");
  const { store, slots: allSlots } = await newStore(path, threads * Math.max(...logs));
  const slots = dealSlots(allSlots, threads);
  const pool = createRunnerPool(store, {
    filename: new URL("./runner.ts", import.meta.url),
    threads,
    operations: ["logs.append"],
  });
  const contenders = inFlight.flatMap((count) =>
    [...new Set(logs.map((logCount) => Math.min(logCount, count)))].map(
      (slotCount): Contender => ({
        name: `debug-server-db, ${threads} x ${count}${slotCount === 1 ? "" : `, ${slotCount} logs per thread`}`,
        inFlight: count,
        logs: slotCount,
        run: (load) =>
          onEach(slots, slotCount, { ...load, inFlight: Math.floor(count / slotCount) }, (threadLoad) =>
            pool.run<Tally>(threadLoad),
          ),
      }),
    ),
  );
  return {
    contenders,
    async close() {
      await pool.close();
      await store.close();
      return checkFile("debug-server-db", slots, path);
    },
  };
}

async function connections(folder: string, { threads }: AppendOptions): Promise<Arena> {
  const path = join(folder, "connections.db");
  const slots = dealSlots(await newFile(path, threads), threads);
  const entry = new URL("./peers/connection.ts", import.meta.url);
  const loadThreads = await Promise.all(slots.map(() => startThread(entry, { path })));
  const name = `one connection per thread, ${threads} threads`;
  return {
    contenders: [
      {
        name,
        inFlight: null,
        logs: 1,
        run: (load) =>
          onEach(slots, 1, { ...load, inFlight: 1 }, (threadLoad, thread) =>
            (loadThreads[thread] as LoadThread).run(threadLoad),
          ),
      },
    ],
    async close() {
      await Promise.all(loadThreads.map((thread) => thread.close()));
      return checkFile(name, slots, path);
    },
  };
}

async function comlink(folder: string, { threads, size }: AppendOptions): Promise<Arena> {
  const count = 16;
  const path = join(folder, "comlink.db");
  const slots = dealSlots(await newFile(path, threads * count), threads);
  const channels = slots.map(() => new MessageChannel());
  const ports = channels.map(({ port1 }) => port1);
  const database = await startThread(
    new URL("./peers/comlinkDatabase.ts", import.meta.url),
    { path, line: lineOf(size), ports },
    ports,
  );
  const entry = new URL("./peers/comlinkCaller.ts", import.meta.url);
  const callers = await Promise.all(channels.map(({ port2 }) => startThread(entry, { port: port2 }, [port2])));
  const name = `plain Comlink worker, ${threads} x ${count}, ${count} logs per thread`;
  return {
    contenders: [
      {
        name,
        inFlight: null,
        logs: count,
        run: (load) =>
          onEach(slots, count, { ...load, inFlight: 1 }, (threadLoad, thread) =>
            (callers[thread] as LoadThread).run(threadLoad),
          ),
      },
    ],
    async close() {
      await Promise.all([database, ...callers].map((thread) => thread.close()));
      return checkFile(name, slots, path);
    },
  };
}

export function renderAppend({ environment: machine, options, contenders, bytes }: AppendResult): string {
  const { threads, seconds, rounds, size } = options;
  const [peer] = contenders as readonly [Figures];
  const columns = [
    "contender",
    "calls/s",
    "p50 ms",
    "p99 ms",
    "worst ms",
    "CPU µs per call",
    "throughput / peer",
    "worst / peer",
    "failed attempts",
    "starved threads",
  ];
  const rows = contenders.map((contender) => {
    const valuesOf = (figure: (round: Round) => number): number[] => contender.rounds.map(figure);
    const relativeToPeer = (figure: (round: Round) => number): number[] =>
      contender.rounds.map((round, index) => figure(round) / figure(peer.rounds[index] as Round));
    return [
      contender.name,
      spread(valuesOf((round) => round.callsPerSecond)),
      spread(valuesOf((round) => round.p50Ms)),
      spread(valuesOf((round) => round.p99Ms)),
      spread(valuesOf((round) => round.worstMs)),
      format(median(valuesOf((round) => round.cpuUs))),
      spread(relativeToPeer((round) => round.callsPerSecond)) + targetText(contender, "throughput"),
      spread(relativeToPeer((round) => round.worstMs)) + targetText(contender, "worst"),
      failures(contender.rounds),
      format(Math.max(...valuesOf((round) => round.starvedThreads))),
    ];
  });
  return [
    `Acknowledged appends of ${size} bytes at synchronous=FULL. ` +
      `\`${threads} x N\` means ${threads} threads with N calls in flight each, ` +
      "to one log per thread unless the row says otherwise. Figures are medians (lowest..highest) of " +
      `${rounds} rounds of ${seconds} s. The peer is the first row.`,
    "",
    table(columns, rows),
    "",
    `All ${format(bytes)} acknowledged bytes were found in the files. ${describe(machine)}.`,
  ].join("\n");
}

/** Returns the target of a figure as text, or nothing when it has none. */
function targetText({ inFlight, logs }: Figures, figure: "throughput" | "worst"): string {
  if (inFlight === null) return "";
  if (figure === "worst") return `, target ${targets.worst}`;
  const target = logs === 1 ? targets.throughput.get(inFlight) : undefined;
  return target === undefined ? "" : `, target ${target}`;
}

/** Lists the failed attempts of all rounds by code. */
export function failures(rounds: readonly Round[]): string {
  const counts = new Map<string, number>();
  for (const { errors } of rounds)
    for (const [code, count] of Object.entries(errors)) counts.set(code, (counts.get(code) ?? 0) + count);
  return counts.size === 0 ? "0" : [...counts].map(([code, count]) => `${count} ${code}`).join(", ");
}
