// A thread that adds jobs to graphile-worker's queue, or runs them. The task of a job waits until a unit of work asks for
// one, so the runner works exactly as long as it is measured.
import type { Cell, Opened } from "../cells/cell.ts";
import type { GraphileWorker } from "./graphileWorker.ts";
import { loadPackage } from "./packages.ts";

export async function open({ scenario, inFlight }: Cell, { url }: { url: string }): Promise<Opened> {
  const { run, makeWorkerUtils, Logger } = await loadPackage<GraphileWorker>("graphile-worker");
  const shared = { connectionString: url, maxPoolSize: inFlight + 2, logger: new Logger(() => () => undefined) };
  if (scenario === "enqueue") {
    const utils = await makeWorkerUtils(shared);
    return {
      unit: async () => void (await utils.addJob("bench", { argv: ["true"] })),
      close: () => utils.release(),
    };
  }
  /** The tasks that wait for a unit, and the units that wait for a task or for its end. */
  const tasks: PromiseWithResolvers<void>[] = [];
  const waiting: (() => void)[] = [];
  const ending: (() => void)[] = [];
  const match = (): void => {
    while (tasks.length > 0 && waiting.length > 0) {
      ending.push(waiting.shift() as () => void);
      tasks.shift()?.resolve();
    }
  };
  let closed = false;
  const over = new Error("the benchmark is over");
  const bench = async (): Promise<void> => {
    if (closed) throw over;
    const task = Promise.withResolvers<void>();
    tasks.push(task);
    match();
    await task.promise;
  };
  const runner = await run({ ...shared, concurrency: inFlight, noHandleSignals: true, taskList: { bench } });
  runner.events.on("job:complete", () => {
    if (!closed) ending.shift()?.();
  });
  return {
    unit: () =>
      new Promise<void>((resolve) => {
        waiting.push(resolve);
        match();
      }),
    async close() {
      closed = true;
      const stopped = runner.stop();
      for (const task of tasks) task.reject(over);
      await stopped;
    },
  };
}
