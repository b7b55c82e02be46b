// Measures what operations cost in stores of growing size. All stores are open at once and take turns, so that what else
// the machine does meets every size alike.
import { statSync } from "node:fs";
import { join } from "node:path";
import { type OwnedStore, openStore } from "../../src/index.ts";
import { fixtures } from "../../src/testing/index.ts";
import { type Environment, environment, quantile } from "../report.ts";
import { leaseMs, temporaryFolder } from "../setup.ts";
import { filledId, fillFile, fillOf, kinds } from "./fill.ts";

export interface GrowthOptions {
  /** The numbers of commands, smallest first. */
  readonly sizes: readonly number[];
  readonly rounds: number;
}

export interface GrowthFigure {
  readonly name: string;
  /** The microseconds that the fastest tenth of the calls stayed below, for each size. */
  readonly us: readonly number[];
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
  for (const [name, run] of calls) figures.push({ name, us: await measure(subjects, run, rounds) });
  for (const { store } of subjects) await store.close();
  return { bench: "growth", environment: environment(), options: { sizes, rounds }, figures, bytesPerCommand, openMs };
}

/** The reaper of the store is off, so that it runs in no measured call. A commit without a sync shows the work itself. */
function optionsOf(path: string) {
  return { url: `sqlite:${path}`, synchronous: "normal", limits: { reapEveryMs: 0 } } as const;
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
        await run(subject, Math.random());
        const us = (performance.now() - startedMs) * 1_000;
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

/** A call whose cost is measured. The number between 0 and 1 chooses a row. */
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
];
