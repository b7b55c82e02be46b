// graphile-worker, as its pages on the library show it, with the number of jobs at a time as its only setting:
// https://worker.graphile.org/docs/library/run and https://worker.graphile.org/docs/library/add-job
//
// It does less than a command of the store: a finished job is deleted, and there is no fencing token, no log and no feed
// of changes; a lock ends after four hours. It does more in other places: retries with delays, named queues that run
// one job at a time, job keys, cron. It tells that a job is complete before the job is deleted, so a unit of `work`
// does not wait for its last COMMIT here.
import { type Contender, unitsToPrepare } from "../cells/cell.ts";
import { loadPackage } from "./packages.ts";
import { cellServer } from "./postgres.ts";

/** The part of the package that is used here. */
export interface GraphileWorker {
  run(options: object): Promise<Runner>;
  makeWorkerUtils(options: object): Promise<Utils>;
  Logger: new (factory: () => () => void) => unknown;
}
export interface Runner {
  readonly events: { on(event: "job:complete", listener: () => void): void };
  stop(): Promise<void>;
}
export interface Utils {
  addJob(task: string, payload: object): Promise<unknown>;
  migrate(): Promise<void>;
  release(): Promise<void>;
}

export const graphileWorker: Contender = {
  scenarios: ["enqueue", "work"],
  thread: new URL("./graphileWorkerThread.ts", import.meta.url),
  needs: ["graphile-worker"],
  async prepare(cell) {
    const server = await cellServer();
    const { makeWorkerUtils } = await loadPackage<GraphileWorker>("graphile-worker");
    const utils = await makeWorkerUtils({ connectionString: server.url });
    await utils.migrate();
    await utils.release();
    const prepared = unitsToPrepare(cell);
    await server.count(
      `SELECT count(graphile_worker.add_job('bench', '{"argv":["true"]}')) FROM generate_series(1, ${prepared})`,
    );
    return {
      threads: Array.from({ length: cell.threads }, () => ({ data: { url: server.url } })),
      async finish() {
        try {
          const left = await server.count("SELECT count(*) FROM graphile_worker.jobs");
          return cell.scenario === "work" ? prepared - left : left;
        } finally {
          await server.remove();
        }
      },
    };
  },
};
