// Measures what operations cost in stores of growing size. All stores are open at once and take turns, so that what else
// the machine does meets every size alike.
import { statSync } from "node:fs";
import { join } from "node:path";
import { type OwnedStore, openStore, type StoreError } from "../../src/index.ts";
import { fixtures } from "../../src/testing/index.ts";
import { type Environment, environment, median, quantile } from "../report.ts";
import { leaseMs, sessionsIn, temporaryFolder } from "../setup.ts";
import { filledId, fillFile, fillOf, kinds } from "./fill.ts";
import { canCountPages, pagesOf } from "./pages.ts";

export interface GrowthOptions {
  /** The numbers of commands, smallest first. */
  readonly sizes: readonly number[];
  readonly rounds: number;
}

export interface GrowthFigure {
  readonly name: string;
  /** The microseconds that the fastest tenth of the calls stayed below, for each size. */
  readonly us: readonly number[];
  /** The pages that the call reads from the file on a new connection: a median for each size. */
  readonly pages?: readonly number[];
}

export interface GrowthResult {
  readonly bench: "growth";
  readonly environment: Environment;
  readonly options: GrowthOptions;
  readonly figures: readonly GrowthFigure[];
  /** For each size: the bytes of the file for each command, and the milliseconds until a store is open. */
  readonly bytesPerCommand: readonly number[];
  readonly openMs: readonly number[];
}

/** One store of a size, with what its calls need. */
interface Subject {
  readonly store: OwnedStore;
  readonly commands: number;
  readonly runnerId: string;
  readonly holderId: string;
  readonly held: { id: string; fence: number }[];
  readonly sessionId: string;
  readonly secret: string;
  readonly claimed: { readonly commandId: string; readonly fence: number }[];
}

const callsPerTurn = 10;
const holdings = 50;

export async function runGrowth({ sizes, rounds }: GrowthOptions): Promise<GrowthResult> {
  const folder = temporaryFolder();
  const files = sizes.map((commands) => ({ commands, path: join(folder, `${commands}.db`) }));
  const bytesPerCommand: number[] = [];
  for (const { commands, path } of files) {
    await create(path, commands);
    bytesPerCommand.push(statSync(path).size / commands);
  }
  const openMs: number[] = [];
  const subjects: Subject[] = [];
  for (const { commands, path } of files) {
    openMs.push(await timeToOpen(path));
    subjects.push(await prepare(await openStore(optionsOf(path)), commands));
  }
  const figures: GrowthFigure[] = [];
  const times: number[][] = [];
  for (const [, run] of calls) times.push(await measure(subjects, run, rounds));
  // Commands for the calls that take one.
  for (const { store, sessionId } of subjects)
    for (let count = 0; count < pageCalls; count++)
      await store.commands.enqueue({ sessionId, commands: [{ argv: ["true"] }] });
  for (const { store } of subjects) await store.close();
  for (const [index, [name, run]] of calls.entries()) {
    const pages: number[] = [];
    for (const [place, { path }] of files.entries())
      pages.push(await countPages(path, subjects[place] as Subject, run));
    figures.push({ name, us: times[index] as number[], ...(canCountPages && { pages }) });
  }
  const prune: number[] = [];
  for (const { path } of files) prune.push(await timeToPrune(path));
  figures.push({ name: "maintenance.prune, for each session", us: prune });
  return { bench: "growth", environment: environment(), options: { sizes, rounds }, figures, bytesPerCommand, openMs };
}

/**
 * The reaper, the pruner and the upkeep of the store are off, so that they run in no measured call and leave all rows. A
 * commit without a sync shows the work itself.
 */
function optionsOf(path: string) {
  const limits = { reapEveryMs: 0, pruneEveryMs: 0, upkeepEveryMs: 0 };
  return { url: `sqlite:${path}`, synchronous: "normal", limits } as const;
}

async function create(path: string, commands: number): Promise<void> {
  const store = await openStore(optionsOf(path));
  const { account } = await fixtures(store).account({ name: "filled" });
  await store.close();
  fillFile(path, fillOf(commands), account.id);
}

/** Returns the time until a store is open and answers, the shortest of some. */
async function timeToOpen(path: string): Promise<number> {
  let shortestMs = Number.POSITIVE_INFINITY;
  for (let turn = 0; turn < 5; turn++) {
    const startedMs = performance.now();
    const store = await openStore(optionsOf(path));
    await store.maintenance.health();
    shortestMs = Math.min(shortestMs, performance.now() - startedMs);
    await store.close();
  }
  return shortestMs;
}

/** Returns the time in which a session goes, with its commands and their logs: the mean over a second, or until all went. */
async function timeToPrune(path: string): Promise<number> {
  const store = await openStore(optionsOf(path));
  const before = sessionsIn(path);
  const startedMs = performance.now();
  await store.maintenance.prune({ kinds: ["sessions"] }, { timeoutMs: 1_000 }).catch((error: StoreError) => {
    if (error.code !== "deadline_exceeded") throw error;
  });
  const tookMs = performance.now() - startedMs;
  await store.close();
  return (tookMs * 1_000) / (before - sessionsIn(path));
}

async function prepare(store: OwnedStore, commands: number): Promise<Subject> {
  const make = fixtures(store);
  const { runner } = await make.runner({ ttlMs: leaseMs });
  const { runner: holder } = await make.runner({ ttlMs: leaseMs });
  const argv = ["true"];
  const { session: work } = await make.session({
    repositoryId: filledId(kinds.repository, 0),
    maxParallel: holdings,
    commands: Array.from({ length: holdings }, () => ({ argv })),
  });
  const held: { id: string; fence: number }[] = [];
  for (let count = 0; count < holdings; count++) {
    const claim = await store.commands.claim({ runnerId: holder.id, sessionId: work.id, ttlMs: leaseMs });
    if (claim === undefined) throw new Error("an enqueued command could not be claimed");
    held.push({ id: claim.command.id, fence: claim.fence });
  }
  const { session } = await make.session({ repositoryId: filledId(kinds.repository, 0), maxParallel: 1_000 });
  const { secret } = await make.token();
  return {
    store,
    commands,
    runnerId: runner.id,
    holderId: holder.id,
    held,
    sessionId: session.id,
    secret,
    claimed: [],
  };
}

/** Measures a call in all stores in turn, after calls that nobody measures. */
async function measure(subjects: readonly Subject[], run: Call, rounds: number): Promise<number[]> {
  const times = subjects.map((): number[] => []);
  for (let round = -2; round < rounds; round++) {
    for (const [index, subject] of subjects.entries()) {
      for (let call = 0; call < callsPerTurn; call++) {
        const startedMs = performance.now();
        const units = await run(subject, Math.random());
        const us = ((performance.now() - startedMs) * 1_000) / (typeof units === "number" ? units : 1);
        if (round >= 0) times[index]?.push(us);
      }
    }
  }
  return times.map((us) =>
    quantile(
      us.sort((left, right) => left - right),
      0.1,
    ),
  );
}

/** The calls of each kind whose pages are counted. */
const pageCalls = 3;

/** Returns the median of the pages that a call reads, each time on a new connection. */
async function countPages(path: string, subject: Subject, run: Call): Promise<number> {
  const pages: number[] = [];
  for (let call = 0; call < pageCalls; call++)
    pages.push(await pagesOf(path, (store) => run({ ...subject, store }, (call + 0.5) / pageCalls)));
  return median(pages);
}

/** A call whose cost is measured. The number between 0 and 1 chooses a row. One that resolves to a number did so many. */
type Call = (subject: Subject, random: number) => Promise<unknown>;

/** As few rows as the smallest store has of each kind, so that a page is full in every store. */
const page = { limit: 10 } as const;
const [asc, desc] = [
  { ...page, order: "asc" },
  { ...page, order: "desc" },
] as const;

const oldSession = ({ commands }: Subject, random: number) =>
  filledId(kinds.session, Math.floor((random * commands) / 10));

/** The calls in their order: claims take what was enqueued, and appends and finishes what was claimed. */
const calls: readonly (readonly [name: string, call: Call])[] = [
  [
    "worktrees.reserve and release",
    async ({ store, runnerId }, random) => {
      const { worktree, fence } = await store.worktrees.reserve({
        repositoryId: filledId(kinds.repository, Math.floor(random * 3)),
        runnerId,
        commitSha: Math.floor(random * 1_000)
          .toString(16)
          .padStart(40, "0"),
      });
      const worktreeId = worktree.id;
      if (worktree.state === "creating") await store.worktrees.ready({ worktreeId, fence });
      await store.worktrees.release({ worktreeId, fence, to: "clean" });
    },
  ],
  ["commands.enqueue", ({ store, sessionId }) => store.commands.enqueue({ sessionId, commands: [{ argv: ["true"] }] })],
  [
    "commands.claim",
    async ({ store, runnerId, claimed }) => {
      const claim = await store.commands.claim({ runnerId, ttlMs: leaseMs });
      if (claim === undefined) throw new Error("an enqueued command could not be claimed");
      claimed.push({ commandId: claim.command.id, fence: claim.fence });
    },
  ],
  [
    "logs.append",
    async ({ store, claimed }) => {
      // The log of each command gets one append, so that all begin at 0.
      const claim = claimed.shift() as Subject["claimed"][number];
      claimed.push(claim);
      await store.logs.append({ ...claim, offset: 0, data: new Uint8Array(256) });
    },
  ],
  [
    "commands.finish",
    ({ store, claimed }) =>
      store.commands.finish({ ...(claimed.shift() as Subject["claimed"][number]), outcome: "succeeded" }),
  ],
  [
    "runners.heartbeat, 50 leases",
    ({ store, holderId, held }) => store.runners.heartbeat({ runnerId: holderId, commands: held, ttlMs: leaseMs }),
  ],
  ["tokens.verify", ({ store, secret }) => store.tokens.verify({ token: secret })],
  ["sessions.list, first page", ({ store }) => store.sessions.list(asc)],
  ["sessions.list, last page", ({ store }) => store.sessions.list(desc)],
  [
    "sessions.list by requestedBy",
    ({ store }, random) => store.sessions.list({ ...desc, requestedBy: `user-${Math.floor(random * 10)}` }),
  ],
  ["commands.list, first page", ({ store }) => store.commands.list(asc)],
  ["commands.list, last page", ({ store }) => store.commands.list(desc)],
  ["commands.list by state", ({ store }) => store.commands.list({ ...desc, state: "succeeded" })],
  ["worktrees.list by state", ({ store }) => store.worktrees.list({ ...desc, state: "idle" })],
  ["runners.list by state", ({ store }) => store.runners.list({ ...desc, state: "gone" })],
  ["artifacts.list by state", ({ store }) => store.artifacts.list({ ...desc, state: "ready" })],
  ["artifacts.list by kind", ({ store }) => store.artifacts.list({ ...desc, kind: "junit" })],
  ["tokens.list, last page", ({ store }) => store.tokens.list(desc)],
  [
    "changes.since, at the end",
    async ({ store }) => {
      const { nextSeq } = await store.changes.since({ limit: 0 });
      await store.changes.since({ after: nextSeq - 20, limit: 20 });
    },
  ],
  [
    "changes.since of a session",
    async (subject, random) => subject.store.changes.since({ sessionId: oldSession(subject, random) }),
  ],
  ["maintenance.reap", ({ store }) => store.maintenance.reap()],
  ["maintenance.stats", ({ store }) => store.maintenance.stats()],
  ["maintenance.fsck of commands, 1 000 rows", thousandsChecked("command-attempt-number")],
  ["maintenance.fsck of logs, 1 000 rows", thousandsChecked("log-end")],
];

/** Returns the call that runs the first step of a check, which is longer in a larger store. */
function thousandsChecked(check: string): Call {
  return async ({ store }) => (await store.maintenance.fsck({ check })).rows / 1_000;
}
