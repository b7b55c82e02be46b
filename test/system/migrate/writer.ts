// A thread that writes notes without end, for tests of operations that must work beside a writer.
import { once } from "node:events";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import Database from "better-sqlite3";

const self = fileURLToPath(import.meta.url);

/** Starts the thread, and resolves when it writes. The thread ends with the test. */
export async function startWriter(t: TestContext, path: string): Promise<void> {
  const writer = new Worker(self, { workerData: path });
  t.after(() => writer.terminate());
  await once(writer, "message");
}

if (!isMainThread) {
  const db = new Database(workerData as string);
  db.pragma("synchronous = OFF");
  const insert = db.prepare("INSERT INTO notes (body) VALUES (?)");
  insert.run("first");
  parentPort?.postMessage("writes");
  for (;;) insert.run("x");
}
