// The store of this package, on SQLite and on PostgreSQL, with a port for each thread.
import { join } from "node:path";
import Database from "better-sqlite3";
import { type OwnedStore, openStore, type Repository } from "../../src/index.ts";
import { type Cell, type Contender, day, type ThreadData, unitsToPrepare } from "../cells/cell.ts";
import { leaseMs, logBytes } from "../setup.ts";
import { cellServer } from "./postgres.ts";
import type { StoreThread } from "./storeThread.ts";

/** Opens the store at `url`, and prepares what the threads of a cell need. */
async function prepareStore(url: string, cell: Cell): Promise<{ opened: OwnedStore; threads: readonly ThreadData[] }> {
  const opened = await openStore({ url, synchronous: "full", limits: { logBytes, queuedCommands: 1_000_000 } });
  const repository = await opened.repositories.upsert({
    name: "bench",
    worktreeRoot: "/srv/worktrees",
    maxWorktrees: cell.threads,
  });
  await createCommands(opened, repository, cell);
  const threads = await Promise.all(
    Array.from({ length: cell.threads }, async (_, index) => {
      const runner = await opened.runners.register({ name: `runner ${index}`, ttlMs: leaseMs });
      const port = opened.connect();
      const data: StoreThread = {
        port,
        limits: opened.limits,
        repositoryId: repository.id,
        runnerId: runner.id,
        ...(await targetOf(opened, repository, cell, runner.id)),
      };
      return { data, ports: [port] };
    }),
  );
  return { opened, threads };
}

const thread = new URL("./storeThread.ts", import.meta.url);

export const store: Contender = {
  scenarios: ["runner-day", "enqueue", "work", "lone"],
  thread,
  async prepare(cell, folder) {
    const path = join(folder, "store.db");
    const { opened, threads } = await prepareStore(`sqlite:${path}`, cell);
    return {
      threads,
      async finish() {
        await opened.close();
        const db = new Database(path, { readonly: true });
        try {
          return db.prepare(counts[cell.scenario]).pluck().get() as number;
        } finally {
          db.close();
        }
      },
    };
  },
};

export const storeOnPostgres: Contender = {
  scenarios: ["runner-day", "enqueue", "work", "lone"],
  thread,
  async prepare(cell) {
    const server = await cellServer();
    const { opened, threads } = await prepareStore(server.url, cell);
    return {
      threads,
      async finish() {
        await opened.close();
        try {
          return await server.count(counts[cell.scenario]);
        } finally {
          await server.remove();
        }
      },
    };
  },
};

const session = { commitSha: "a".repeat(40), maxParallel: 1_000 } as const;
const argv = ["true"];

/** Creates the commands that the threads take: each with a session of its own for days, and few sessions for work. */
async function createCommands(opened: OwnedStore, { id: repositoryId }: Repository, cell: Cell): Promise<void> {
  const commandsOfSession = cell.scenario === "runner-day" ? 1 : 500;
  const sessions = Math.ceil(unitsToPrepare(cell) / commandsOfSession);
  const commands = Array.from({ length: commandsOfSession }, () => ({ argv }));
  for (let made = 0; made < sessions; made += 64) {
    const batch = Math.min(64, sessions - made);
    await Promise.all(
      Array.from({ length: batch }, () => opened.sessions.create({ ...session, repositoryId, commands })),
    );
  }
}

/** Creates what a thread adds to: a session for `enqueue`, a running command for `lone`. */
async function targetOf(
  opened: OwnedStore,
  { id: repositoryId }: Repository,
  { scenario }: Cell,
  runnerId: string,
): Promise<Pick<StoreThread, "sessionId" | "log">> {
  if (scenario !== "enqueue" && scenario !== "lone") return {};
  const commands = scenario === "lone" ? [{ argv }] : [];
  const { session: created } = await opened.sessions.create({ ...session, repositoryId, commands });
  const claim =
    scenario === "lone" ? await opened.commands.claim({ runnerId, sessionId: created.id, ttlMs: leaseMs }) : undefined;
  return {
    sessionId: created.id,
    ...(claim === undefined ? {} : { log: { commandId: claim.command.id, fence: claim.fence } }),
  };
}

/** The units that are stored. A day counts only with all bytes of its log. */
const counts = {
  "runner-day": `SELECT count(*) FROM commands WHERE state = 'succeeded' AND
    (SELECT sum(length(data)) FROM log_chunks JOIN attempts ON attempts.id = attempt_id
     WHERE attempts.command_id = commands.id) = ${day.appends * day.bytes}`,
  work: "SELECT count(*) FROM commands WHERE state = 'succeeded'",
  enqueue: "SELECT count(*) FROM commands",
  lone: "SELECT count(*) FROM log_chunks",
} as const;
