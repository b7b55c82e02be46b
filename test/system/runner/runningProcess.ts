// A process with a runner, for tests that kill it: runningProcess.ts URL FOLDER CONCURRENCY THREADS TTL_MS
import { openStore } from "../../../src/index.ts";
import { formatRunnerEvent, startRunner } from "../../../src/runner/index.ts";

const [url = "", folder = "", concurrency = "1", threads = "0", ttlMs = "2000"] = process.argv.slice(2);
const store = await openStore({ url });
const runner = await startRunner(store, {
  folder,
  concurrency: Number(concurrency),
  threads: Number(threads),
  ttlMs: Number(ttlMs),
  idleMs: 0,
  drainMs: 300,
  graceMs: 200,
  onEvent: (event) => console.log(formatRunnerEvent(event)),
});
await runner.ended;
await store.close();
