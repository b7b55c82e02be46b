// A process that must exit by itself, because its calls have failed with their port or thread and nothing is left to
// do.
import { attachStore, openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { startThread } from "./databaseThread.ts";
import { until } from "./until.ts";

const [, , path, cause] = process.argv as [string, string, string, string];

function report(error: { code: string; outcome: string }): void {
  console.log(`${error.code} ${error.outcome}`);
}

if (cause === "close") {
  const store = await openStore({ url: `sqlite:${path}` });
  const attached = attachStore(store.connect());
  const { runner } = await fixtures(store).runner();
  const parked = attached.commands.claim({ runnerId: runner.id, waitMs: 600_000 }).catch(report);
  await until(async () => (await store.maintenance.stats()).serving.parked === 1);
  await attached.close();
  await parked;
  await store.close();
} else {
  const thread = await startThread(path);
  const store = thread.connect();
  const { runner } = await fixtures(store).runner();
  const parked = store.commands.claim({ runnerId: runner.id, waitMs: 600_000 }).catch(report);
  await until(async () => (await store.maintenance.stats()).serving.parked === 1);
  await thread.worker.terminate();
  await parked;
}
