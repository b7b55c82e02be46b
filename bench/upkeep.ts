// Measures what the upkeep of a store does to the latency of writes: lone appends alone, beside a prune of many rows, while
// free pages are given back, beside a check of the store and beside a backup, in turns within one run.
import { copyFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { type Limits, type OwnedStore, openStore } from "../src/index.ts";
import { fixtures } from "../src/testing/index.ts";
import { fillFile, fillOf } from "./growth/fill.ts";
import { describe, type Environment, environment, format, median, quantile, spread, table } from "./report.ts";
import { runCommands, sessionsIn, temporaryFolder } from "./setup.ts";

export interface UpkeepOptions {
  readonly rounds: number;
  /** The time of each measurement. */
  readonly seconds: number;
  /** The number of commands in the store, of which three quarters are old enough to go. */
  readonly commands: number;
}

/** The work beside the writes. A check or a backup is begun again when it has ended; a measurement ends with its prune. */
export const upkeepKinds = ["nothing", "pruner", "prune", "vacuum", "fsck", "backup"] as const;
export type UpkeepKind = (typeof upkeepKinds)[number];

interface Round {
  readonly calls: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** The sessions that went, the rows that were checked, the bytes that were given back, or the backups that were made. */
  readonly done: number;
  readonly elapsedMs: number;
}

export interface UpkeepResult {
  readonly bench: "upkeep";
  readonly environment: Environment;
  readonly options: UpkeepOptions;
  readonly figures: readonly { readonly beside: UpkeepKind; readonly rounds: Round[] }[];
}

/** The limits with which a server does work by itself all the time, with its pauses. */
const ownWork: Partial<Record<UpkeepKind, Partial<Limits>>> = {
  pruner: { pruneEveryMs: 10 },
  vacuum: { upkeepEveryMs: 10 },
};
const quiet: Partial<Limits> = { reapEveryMs: 0, pruneEveryMs: 0, upkeepEveryMs: 0 };

/** Runs the benchmark. Every measurement has a fresh copy of a filled file, or of one from which the old rows went. */
export async function runUpkeep(options: UpkeepOptions): Promise<UpkeepResult> {
  const folder = temporaryFolder();
  const [filled, pruned] = [join(folder, "filled.db"), join(folder, "pruned.db")];
  const store = await openStore({ url: `sqlite:${filled}`, limits: quiet });
  const { account } = await fixtures(store).account();
  await store.close();
  fillFile(filled, fillOf(options.commands), account.id);
  copyFileSync(filled, pruned);
  const prunedStore = await openStore({ url: `sqlite:${pruned}`, limits: quiet });
  await prunedStore.maintenance.prune();
  await prunedStore.close();
  const figures = upkeepKinds.map((beside) => ({ beside, rounds: [] as Round[] }));
  for (let round = 0; round < options.rounds; round++) {
    for (const { beside, rounds } of figures) {
      const path = join(folder, "measured.db");
      copyFileSync(beside === "vacuum" ? pruned : filled, path);
      rounds.push(await measure(path, beside, options.seconds));
      for (const name of [path, `${path}-wal`, `${path}-shm`]) rmSync(name, { force: true });
    }
  }
  return { bench: "upkeep", environment: environment(), options, figures };
}

async function measure(path: string, beside: UpkeepKind, seconds: number): Promise<Round> {
  const limits = { ...quiet, ...ownWork[beside] };
  const store = await openStore({ url: `sqlite:${path}`, limits });
  const [slot] = await runCommands(store, 1);
  const { commandId, fence } = slot as NonNullable<typeof slot>;
  const data = new Uint8Array(256);
  let offset = 0;
  const append = async (): Promise<number> => {
    const startedAtMs = performance.now();
    await store.logs.append({ commandId, fence, offset, data });
    offset += data.length;
    return performance.now() - startedAtMs;
  };
  for (let index = 0; index < 50; index++) await append();
  const load = isLoad(beside) ? startLoad(store, beside, path) : undefined;
  await load?.begun;
  const doneSoFar = async (): Promise<number> => {
    if (load !== undefined) return load.done();
    return beside === "pruner" ? -sessionsIn(path) : Number((await store.maintenance.stats()).database.vacuumed_bytes);
  };
  const before = await doneSoFar();
  const times: number[] = [];
  const beganAtMs = performance.now();
  const endAtMs = beganAtMs + seconds * 1_000;
  do times.push(await append());
  while (performance.now() < endAtMs && load?.hasEnded() !== true);
  const elapsedMs = performance.now() - beganAtMs;
  const done = (await doneSoFar()) - before;
  await load?.stop();
  await store.close();
  times.sort((left, right) => left - right);
  const [p50Ms, p99Ms, maxMs] = [quantile(times, 0.5), quantile(times, 0.99), times.at(-1) as number];
  return { calls: times.length, p50Ms, p99Ms, maxMs, done, elapsedMs };
}

/** The work of other threads, or of the owner of the store. */
type LoadKind = "prune" | "fsck" | "backup";

function isLoad(kind: UpkeepKind): kind is LoadKind {
  return kind === "prune" || kind === "fsck" || kind === "backup";
}

interface Load {
  /** Resolves when the work has begun. */
  readonly begun: Promise<void>;
  done(): number;
  /** True when nothing is left to do. */
  hasEnded(): boolean;
  stop(): Promise<unknown>;
}

/** Starts work in another thread. Backups are made by the owner of the store, which is this thread. */
function startLoad(store: OwnedStore, kind: LoadKind, path: string): Load {
  const counts = new Int32Array(new SharedArrayBuffer(8));
  if (kind === "backup") {
    let stopped = false;
    const run = async (): Promise<void> => {
      for (; !stopped; counts[0] = (counts[0] as number) + 1) {
        const { path: made, manifestPath } = await store.backup({ path: `${path}.backup` });
        rmSync(made);
        rmSync(manifestPath);
      }
    };
    const ended = run();
    return {
      begun: Promise.resolve(),
      done: () => counts[0] as number,
      hasEnded: () => false,
      stop() {
        stopped = true;
        return ended;
      },
    };
  }
  const port = store.connect();
  const worker = new Worker(new URL("./peers/upkeepLoad.ts", import.meta.url), {
    workerData: { port, kind, counts },
    transferList: [port],
  });
  return {
    begun: new Promise((resolve) => worker.once("message", () => resolve())),
    done: () => (kind === "prune" ? -sessionsIn(path) : Atomics.load(counts, 0)),
    hasEnded: () => Atomics.load(counts, 1) !== 0,
    stop: () => worker.terminate(),
  };
}

export function renderUpkeep({ environment: where, options, figures }: UpkeepResult): string {
  const alone = figures.find(({ beside }) => beside === "nothing")?.rounds;
  const lines = figures.map(({ beside, rounds }) => [
    `append, beside ${named[beside]}`,
    spread(rounds.map(({ p50Ms }) => p50Ms)),
    spread(rounds.map(({ p99Ms }) => p99Ms)),
    // The rounds are compared in pairs, because other work on the machine changes between them.
    spread(rounds.map(({ p99Ms }, index) => p99Ms / (alone?.[index]?.p99Ms ?? p99Ms))),
    spread(rounds.map(({ maxMs }) => maxMs)),
    format(median(rounds.map(({ done, elapsedMs }) => (done * 1_000) / elapsedMs))),
  ]);
  const title = `${describe(where)}; a store of ${options.commands} commands, ${options.rounds} rounds of ${options.seconds} s: medians, least..most`;
  return `${title}\n\n${table(["write", "p50 ms", "p99 ms", "p99 of alone", "longest ms", "done/s"], lines)}`;
}

const named: Record<UpkeepKind, string> = {
  nothing: "nothing",
  pruner: "the pruner of the server (sessions with all they have)",
  prune: "a prune on demand (sessions with all they have)",
  vacuum: "the return of free pages (bytes)",
  fsck: "a check of the store (rows)",
  backup: "backups (files)",
};
