// Measures what long reads do to the latency of writes: lone appends and reservations alone and beside reads that another
// thread makes over and over, with and without a reader, in turns within one run.
import { join } from "node:path";
import { MessageChannel, Worker } from "node:worker_threads";
import { defaultLimits } from "../src/index.ts";
import { fixtures } from "../src/testing/index.ts";
import { attachSlowStore, type SlowStore } from "../test/support/slowStore.ts";
import type { ReadKind } from "./peers/readsLoad.ts";
import { readsOf } from "./peers/readsOf.ts";
import { describe, type Environment, environment, format, median, quantile, spread, table } from "./report.ts";
import { temporaryFolder } from "./setup.ts";

export interface ReadsOptions {
  readonly rounds: number;
  /** The time of each write beside each kind of read in each round. */
  readonly seconds: number;
}

interface Round {
  readonly calls: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** The reads of the other thread in this time. */
  readonly reads: number;
  /** The part of the time for which the database thread ran. */
  readonly busy: number;
}

type Write = "append" | "reserve";

interface Figures {
  readonly readers: number;
  readonly write: Write;
  readonly beside: ReadKind | "nothing";
  readonly rounds: Round[];
}

/** The processor time of a lone read, in microseconds, in each round. */
interface Cost {
  readonly readers: number;
  readonly read: Loop;
  readonly databaseUs: number[];
  readonly processUs: number[];
}

export interface ReadsResult {
  readonly bench: "reads";
  readonly environment: Environment;
  readonly options: ReadsOptions;
  readonly figures: readonly Figures[];
  readonly costs: readonly Cost[];
}

const loops = ["stats", "lists", "logs"] as const;
type Loop = (typeof loops)[number];
const kinds = ["nothing", "burner", "statement", ...loops] as const;
const named: Record<(typeof kinds)[number], string> = {
  nothing: "nothing",
  burner: "a thread that uses a processor and no store",
  statement: "a read of one statement of two seconds",
  stats: "a loop of maintenance.stats",
  lists: "a loop of lists of 500 commands",
  logs: "a loop of log reads of 1 MiB",
};

/** A database thread with rows to read, and the writes that are measured on it. */
interface Rig {
  readonly readers: number;
  connect(): MessageChannel["port1"];
  /** Returns the processor time of the database thread so far. */
  cpuMs(): Promise<number>;
  readonly commandId: string;
  readonly reads: Record<Loop, () => Promise<unknown>>;
  readonly writes: Record<Write, () => Promise<number>>;
  close(): Promise<unknown>;
}

export async function runReads(options: ReadsOptions): Promise<ReadsResult> {
  const folder = temporaryFolder();
  const rigs = await Promise.all([0, 1].map((readers) => openRig(join(folder, `readers-${readers}.db`), readers)));
  const rows = await rowsOfTwoSeconds((rigs[0] as Rig).connect());
  const figures: Figures[] = rigs.flatMap(({ readers }) =>
    kinds.flatMap((beside) =>
      (["append", "reserve"] as const).map((write) => ({ readers, write, beside, rounds: [] })),
    ),
  );
  const costs = rigs.flatMap(({ readers }) =>
    loops.map((read): Cost => ({ readers, read, databaseUs: [], processUs: [] })),
  );
  for (let round = 0; round < options.rounds; round++) {
    for (const cost of costs) await measureCost(rigs[cost.readers] as Rig, cost);
    for (const figure of figures) {
      const rig = rigs.find(({ readers }) => readers === figure.readers) as Rig;
      figure.rounds.push(await measure(rig, figure, rows, options.seconds));
    }
  }
  for (const rig of rigs) await rig.close();
  return { bench: "reads", environment: environment(), options, figures, costs };
}

/** The reads before a measurement, which start the reader, and those that are measured. */
const [readsBefore, readsMeasured] = [100, 200];

async function measureCost({ reads, cpuMs }: Rig, { read, databaseUs, processUs }: Cost): Promise<void> {
  const make = async (count: number) => {
    for (let index = 0; index < count; index++) await reads[read]();
  };
  await make(readsBefore);
  const [databaseMs, before] = [await cpuMs(), process.cpuUsage()];
  await make(readsMeasured);
  databaseUs.push((((await cpuMs()) - databaseMs) * 1_000) / readsMeasured);
  const { user, system } = process.cpuUsage(before);
  processUs.push((user + system) / readsMeasured);
}

async function openRig(path: string, readers: number): Promise<Rig> {
  const limits = { ...defaultLimits, logBytes: 4 * 1024 * 1024 * 1024, callMs: 120_000, reapEveryMs: 0 };
  const worker = new Worker(new URL("./peers/readsDatabase.ts", import.meta.url), {
    workerData: { path, readers, limits },
  });
  const connect = () => {
    const { port1, port2 } = new MessageChannel();
    worker.postMessage(port2, [port2]);
    return port1;
  };
  const store = attachSlowStore(connect(), limits);
  const rows = fixtures(store as never);
  for (let session = 0; session < 4; session++) {
    const { session: parent } = await rows.session();
    const commands = Array.from({ length: 100 }, () => ({ argv: ["make", "test"] }));
    for (let batch = 0; batch < 5; batch++) await store.commands.enqueue({ sessionId: parent.id, commands });
  }
  const long = await rows.claim();
  const chunk = new Uint8Array(64 * 1024).fill(97);
  for (let index = 0; index < 32; index++)
    await store.logs.append({
      commandId: long.command.id,
      fence: long.fence,
      offset: index * chunk.length,
      data: chunk,
    });
  const { command, fence } = await rows.claim();
  const { worktree } = await rows.worktree();
  const data = new Uint8Array(256);
  let offset = 0;
  const { repositoryId } = worktree;
  const timed = async (call: Promise<unknown>): Promise<number> => {
    const startedAtMs = performance.now();
    await call;
    return performance.now() - startedAtMs;
  };
  const writes: Rig["writes"] = {
    append() {
      const append = store.logs.append({ commandId: command.id, fence, offset, data });
      offset += data.length;
      return timed(append);
    },
    async reserve() {
      let reserved: Awaited<ReturnType<SlowStore["worktrees"]["reserve"]>> | undefined;
      const ms = await timed(
        store.worktrees.reserve({ repositoryId, owner: "bench", commitSha: "0".repeat(40) }).then((result) => {
          reserved = result;
        }),
      );
      const { worktree: leased, fence: leaseFence } = reserved as NonNullable<typeof reserved>;
      await store.worktrees.release({ worktreeId: leased.id, fence: leaseFence, to: "clean" });
      return ms;
    },
  };
  const cpuMs = async () => {
    const { user, system } = await worker.cpuUsage();
    return (user + system) / 1_000;
  };
  const commandId = long.command.id;
  const reads = readsOf(store, commandId);
  return { readers, connect, cpuMs, commandId, reads, writes, close: () => worker.terminate() };
}

/** Returns the number of rows for which the slow read takes two seconds on this machine. */
async function rowsOfTwoSeconds(port: ReturnType<Rig["connect"]>): Promise<number> {
  const store = attachSlowStore(port, defaultLimits);
  const rows = 1_000_000;
  const startedAtMs = performance.now();
  await store.slow.read({ statements: 1, rows });
  const tookMs = performance.now() - startedAtMs;
  port.close();
  return Math.round((rows * 2_000) / tookMs);
}

/** Checks for a load that takes seconds each time, so that a few of them are enough to start a reader. */
function isSlow(beside: Figures["beside"]): boolean {
  return beside === "statement" || beside === "burner";
}

async function measure(rig: Rig, { write, beside }: Figures, rows: number, seconds: number): Promise<Round> {
  const shared = new SharedArrayBuffer(4);
  const counts = new Int32Array(shared);
  let load: Worker | undefined;
  if (beside !== "nothing") {
    const port = rig.connect();
    load = new Worker(new URL("./peers/readsLoad.ts", import.meta.url), {
      workerData: { port, kind: beside, commandId: rig.commandId, rows, shared },
      transferList: [port],
    });
    // The first reads start the reader.
    for (let index = 0; index < 1 || (!isSlow(beside) && Atomics.load(counts, 0) < 100); index++) {
      await rig.writes[write]();
      await new Promise((resolve) => setTimeout(resolve, 5));
      if (isSlow(beside) && Atomics.load(counts, 0) < 1) index--;
    }
  } else for (let index = 0; index < 50; index++) await rig.writes[write]();
  const doneBefore = Atomics.load(counts, 0);
  const [startedAtMs, cpuBeforeMs] = [performance.now(), await rig.cpuMs()];
  const times: number[] = [];
  const endAtMs = performance.now() + seconds * 1_000;
  do times.push(await rig.writes[write]());
  while (performance.now() < endAtMs);
  const reads = Atomics.load(counts, 0) - doneBefore;
  const busy = ((await rig.cpuMs()) - cpuBeforeMs) / (performance.now() - startedAtMs);
  await load?.terminate();
  times.sort((left, right) => left - right);
  return { calls: times.length, p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99), reads, busy };
}

export function renderReads({ environment: where, options, figures, costs }: ReadsResult): string {
  const lines = figures.map(({ readers, write, beside, rounds }) => {
    const alone = figures.find((one) => one.readers === readers && one.write === write && one.beside === "nothing");
    // The rounds are compared in pairs, because other work on the machine changes between them.
    const ratios = rounds.map(({ p99Ms }, index) => p99Ms / (alone?.rounds[index]?.p99Ms ?? p99Ms));
    const kept = rounds.map(({ calls }, index) => calls / (alone?.rounds[index]?.calls ?? calls));
    return [
      `${write}, ${withReaders(readers)}, beside ${named[beside]}`,
      format(median(rounds.map(({ p50Ms }) => p50Ms))),
      spread(rounds.map(({ p99Ms }) => p99Ms)),
      spread(ratios),
      format(median(kept)),
      format(median(rounds.map((round) => round.reads)) / options.seconds),
      format(median(rounds.map(({ busy }) => busy))),
    ];
  });
  const columns = [
    "write",
    "p50 ms",
    "p99 ms",
    "p99 of alone",
    "throughput of alone",
    "reads/s",
    "database thread runs",
  ];
  const costLines = costs.map(({ readers, read, databaseUs, processUs }) => [
    `${named[read].replace("a loop of", "one of")}, ${withReaders(readers)}`,
    spread(databaseUs),
    spread(processUs),
  ]);
  return [
    `${describe(where)}; medians of ${options.rounds} rounds of ${options.seconds} s, least..most`,
    table(columns, lines),
    table(["processor time of a read, µs", "of the database thread", "of the process"], costLines),
  ].join("\n\n");
}

function withReaders(readers: number): string {
  return readers === 0 ? "without readers" : "with a reader";
}
