// Acknowledged log appends at synchronous=FULL: runner threads with a store, beside those who do without one.
import { join } from "node:path";
import { MessageChannel } from "node:worker_threads";
import { createRunnerPool } from "../src/index.ts";
import { type Load, lineOf, nextSpan, type Slot, type Tally } from "./load.ts";
import { describe, type Environment, environment, format, median, quantile, spread, table } from "./report.ts";
import { bytesAcknowledged, bytesInFile, checkBytes, newFile, newStore, temporaryFolder } from "./setup.ts";
import { startThread } from "./threads.ts";

export interface AppendOptions {
  readonly threads: number;
  /** Calls that each thread has in flight, one contender for each. */
  readonly inFlight: readonly number[];
  /** Logs that each thread appends to, with its calls in flight spread over them; a contender for each that the calls can fill. */
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
  /** The CPU time of all threads of the process, in microseconds for each call. */
  readonly cpuUs: number;
  readonly errors: Readonly<Record<string, number>>;
  /** The number of threads that got no call through. */
  readonly starvedThreads: number;
}

interface Figures {
  readonly name: string;
  /** The calls in flight of a contender that runs the store; null for a peer. */
  readonly inFlight: number | null;
  readonly logs: number;
  readonly rounds: readonly Round[];
}

export interface AppendResult {
  readonly bench: "append";
  readonly environment: Environment;
  readonly options: AppendOptions;
  readonly contenders: readonly Figures[];
  /** Acknowledged, and found in the files afterwards. */
  readonly bytes: number;
}

/** The targets of the store, as multiples of the peer with a connection for each thread. */
const targets = { throughput: new Map([[16, 8]]).set(256, 12), worst: 0.1 };

export interface Contender {
  readonly name: string;
  readonly inFlight: number | null;
  /** The number of logs that each thread appends to. */
  readonly logs: number;
  run(load: Pick<Load, "span" | "size">): Promise<Tally[]>;
}

/** One file and those who append to it. */
interface Field {
  readonly contenders: readonly Contender[];
  /** Ends its threads and resolves to the bytes that were acknowledged, which are all in the file. */
  close(): Promise<number>;
}

/** Every thread compiles its own code, and each sees a sixteenth of the calls. */
const warmUpSeconds = 2;

export async function runAppend(options: AppendOptions): Promise<AppendResult> {
  const folder = temporaryFolder();
  const { seconds, rounds, size } = options;
  const fields = [await connections(folder, options), await comlink(folder, options), await stores(folder, options)];
  const contenders = fields.flatMap((field) => field.contenders);
  const figures = contenders.map(({ name, inFlight, logs }) => ({ name, inFlight, logs, rounds: [] as Round[] }));
  for (const contender of contenders) {
    // The first span is over before all threads are up; the second begins when they are.
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
  for (const field of fields) bytes += await field.close();
  return { bench: "append", environment: environment(), options, contenders: figures, bytes };
}

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

/** Runs a load on every thread, with so many slots of each, and keeps how far the logs have come. */
export async function onEach(
  slots: Slot[][],
  count: number,
  load: Omit<Load, "slots">,
  run: (load: Load, thread: number) => Promise<Tally>,
): Promise<Tally[]> {
  return Promise.all(
    slots.map(async (own, thread) => {
      const tally = await run({ ...load, slots: own.slice(0, count) }, thread);
      own.splice(0, count, ...tally.slots);
      return tally;
    }),
  );
}

export function dealt(slots: readonly Slot[], threads: number): Slot[][] {
  return Array.from({ length: threads }, (_, thread) => slots.filter((_slot, index) => index % threads === thread));
}

function checkFile(name: string, slots: readonly Slot[][], path: string): number {
  const acknowledged = bytesAcknowledged(slots.flat());
  checkBytes(name, acknowledged, bytesInFile(path));
  return acknowledged;
}

async function stores(folder: string, { threads, inFlight, logs }: AppendOptions): Promise<Field> {
  const path = join(folder, "store.db");
  const { store, slots: all } = await newStore(path, threads * Math.max(...logs));
  const slots = dealt(all, threads);
  const pool = createRunnerPool(store, {
    filename: new URL("./runner.ts", import.meta.url),
    threads,
    operations: ["logs.append"],
  });
  const contenders = inFlight.flatMap((count) =>
    [...new Set(logs.map((wanted) => Math.min(wanted, count)))].map(
      (slotCount): Contender => ({
        name: `debug-server-db, ${threads} x ${count}${slotCount === 1 ? "" : ` to ${slotCount} logs`}`,
        inFlight: count,
        logs: slotCount,
        run: (load) =>
          onEach(slots, slotCount, { ...load, inFlight: Math.floor(count / slotCount) }, (own) => pool.run<Tally>(own)),
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

async function connections(folder: string, { threads }: AppendOptions): Promise<Field> {
  const path = join(folder, "connections.db");
  const slots = dealt(await newFile(path, threads), threads);
  const entry = new URL("./peers/connection.ts", import.meta.url);
  const started = await Promise.all(slots.map(() => startThread(entry, { path })));
  const name = `a connection for each of ${threads} threads`;
  return {
    contenders: [
      {
        name,
        inFlight: null,
        logs: 1,
        run: (load) =>
          onEach(slots, 1, { ...load, inFlight: 1 }, (own, thread) =>
            (started[thread] as (typeof started)[number]).run(own),
          ),
      },
    ],
    async close() {
      await Promise.all(started.map((thread) => thread.close()));
      return checkFile(name, slots, path);
    },
  };
}

async function comlink(folder: string, { threads, size }: AppendOptions): Promise<Field> {
  const count = 16;
  const path = join(folder, "comlink.db");
  const slots = dealt(await newFile(path, threads * count), threads);
  const channels = slots.map(() => new MessageChannel());
  const ports = channels.map(({ port1 }) => port1);
  const database = await startThread(
    new URL("./peers/comlinkDatabase.ts", import.meta.url),
    { path, line: lineOf(size), ports },
    ports,
  );
  const entry = new URL("./peers/comlinkCaller.ts", import.meta.url);
  const callers = await Promise.all(channels.map(({ port2 }) => startThread(entry, { port: port2 }, [port2])));
  const name = `Comlink, a commit for each call, ${threads} x ${count}`;
  return {
    contenders: [
      {
        name,
        inFlight: null,
        logs: count,
        run: (load) =>
          onEach(slots, count, { ...load, inFlight: 1 }, (own, thread) =>
            (callers[thread] as (typeof callers)[number]).run(own),
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
  const heads = [
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
    const of = (figure: (round: Round) => number): number[] => contender.rounds.map(figure);
    const toPeer = (figure: (round: Round) => number): number[] =>
      contender.rounds.map((round, index) => figure(round) / figure(peer.rounds[index] as Round));
    return [
      contender.name,
      spread(of((round) => round.callsPerSecond)),
      spread(of((round) => round.p50Ms)),
      spread(of((round) => round.p99Ms)),
      spread(of((round) => round.worstMs)),
      format(median(of((round) => round.cpuUs))),
      spread(toPeer((round) => round.callsPerSecond)) + targetOf(contender, "throughput"),
      spread(toPeer((round) => round.worstMs)) + targetOf(contender, "worst"),
      failures(contender.rounds),
      format(Math.max(...of((round) => round.starvedThreads))),
    ];
  });
  return [
    `Acknowledged appends of ${size} bytes at synchronous=FULL, ${threads} threads with one log each unless the name says otherwise; medians (and extremes) of ${rounds} rounds of ${seconds} s. The peer is the first row.`,
    "",
    table(heads, rows),
    "",
    `All ${format(bytes)} acknowledged bytes were found in the files. ${describe(machine)}.`,
  ].join("\n");
}

function targetOf({ inFlight, logs }: Figures, figure: "throughput" | "worst"): string {
  if (inFlight === null) return "";
  if (figure === "worst") return `, target ${targets.worst}`;
  const target = logs === 1 ? targets.throughput.get(inFlight) : undefined;
  return target === undefined ? "" : `, target ${target}`;
}

export function failures(rounds: readonly Round[]): string {
  const counts = new Map<string, number>();
  for (const { errors } of rounds)
    for (const [code, count] of Object.entries(errors)) counts.set(code, (counts.get(code) ?? 0) + count);
  return counts.size === 0 ? "0" : [...counts].map(([code, count]) => `${count} ${code}`).join(", ");
}
