// pg-boss, as its pages on jobs show it: `send`, and `fetch` and `complete` for workers that ask for their jobs, which
// `work` would poll for every two seconds: https://pgboss.io/api/jobs
//
// It does less than a command of the store: a job has an expiry but no fencing token, no log and no feed of changes. It
// does more in other places: retries, dead letters, throttling, schedules, and a record of each job for days.
import { type Contender, unitsToPrepare } from "../cells/cell.ts";
import { loadPackage } from "./packages.ts";
import { cellServer } from "./postgres.ts";

/** The part of the package that is used here. */
export interface PgBossModule {
  PgBoss: new (options: { connectionString: string; max: number }) => PgBoss;
}
export interface PgBoss {
  on(event: "error", listener: (error: Error) => void): void;
  start(): Promise<unknown>;
  stop(options?: object): Promise<void>;
  createQueue(name: string): Promise<void>;
  send(name: string, data: object): Promise<string | null>;
  insert(name: string, jobs: object[]): Promise<unknown>;
  fetch(name: string): Promise<{ id: string }[]>;
  complete(name: string, id: string): Promise<unknown>;
}

export async function startBoss(connectionString: string, max: number): Promise<PgBoss> {
  const { PgBoss } = await loadPackage<PgBossModule>("pg-boss");
  const boss = new PgBoss({ connectionString, max });
  boss.on("error", (error) => {
    throw error;
  });
  await boss.start();
  return boss;
}

export const pgBoss: Contender = {
  scenarios: ["enqueue", "work"],
  thread: new URL("./pgBossThread.ts", import.meta.url),
  needs: ["pg-boss"],
  async prepare(cell) {
    const server = await cellServer();
    const boss = await startBoss(server.url, 2);
    await boss.createQueue("bench");
    const batch = 1_000;
    for (let made = 0; made < unitsToPrepare(cell); made += batch)
      await boss.insert(
        "bench",
        Array.from({ length: batch }, () => ({ data: { argv: ["true"] } })),
      );
    await boss.stop();
    return {
      threads: Array.from({ length: cell.threads }, () => ({ data: { url: server.url } })),
      async finish() {
        const where = cell.scenario === "work" ? "AND state = 'completed'" : "";
        try {
          return await server.count(`SELECT count(*) FROM pgboss.job WHERE name = 'bench' ${where}`);
        } finally {
          await server.remove();
        }
      },
    };
  },
};
