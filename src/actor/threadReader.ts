// The database thread's side of a reader thread: starts it, sends it calls, and ends it.
import { Worker } from "node:worker_threads";
import type { JobOutcome } from "../dispatch.ts";
import { fromWireFailure, StoreError } from "../errors.ts";
import { workerUrl } from "../package.ts";
import { threadOptions } from "../threadOptions.ts";
import type { Reader } from "./longReads.ts";
import type { ReaderReport, ReaderRequest, ReaderThreadData } from "./readerThread.ts";
import type { ReaderOptions } from "./server.ts";

/** Resolves when the thread has opened the database. Fails as `openSqliteReader`. */
export async function startReaderThread(
  data: ReaderThreadData,
  { onDeath, serverState, onEvent }: ReaderOptions,
  url: URL = workerUrl("reader"),
): Promise<Reader> {
  const worker = new Worker(url, { workerData: data, name: "debug-server-db reader", ...threadOptions() });
  // The thread alone does not keep the process alive. The callers whose reads it runs do.
  worker.unref();
  const ready = Promise.withResolvers<void>();
  const exited = Promise.withResolvers<void>();
  let running: PromiseWithResolvers<readonly JobOutcome[]> | undefined;
  let [isReady, isClosing] = [false, false];
  let cause: unknown;
  worker.on("message", (report: ReaderReport) => {
    if (report.type === "event") return onEvent(report.event);
    if (report.type === "ready") {
      isReady = true;
      return ready.resolve();
    }
    const request = running;
    running = undefined;
    if (report.type === "ran") request?.resolve(report.outcomes);
    else (request ?? ready).reject(fromWireFailure(report.failure, undefined));
  });
  worker.on("error", (error) => {
    cause = error;
  });
  worker.on("exit", (code) => {
    const reason =
      cause === undefined ? `a reader thread ended with code ${code}` : String((cause as Error).stack ?? cause);
    exited.resolve();
    ready.reject(new StoreError("internal", reason));
    if (isReady && !isClosing) onDeath(reason);
    running?.reject(new StoreError("closed", reason));
  });
  await ready.promise;
  return {
    run(calls) {
      running = Promise.withResolvers();
      const state = calls.some(({ operation }) => operation.showsServer) ? serverState() : undefined;
      const sent = calls.map(({ name, input, caller }) => ({ name, input, caller }));
      worker.postMessage({ type: "run", calls: sent, state } satisfies ReaderRequest);
      return running.promise;
    },
    async close(isRunning) {
      isClosing = true;
      // A statement cannot be interrupted, but what it reads has no receiver any more.
      if (isRunning) void worker.terminate();
      else {
        worker.postMessage({ type: "close" } satisfies ReaderRequest);
        await exited.promise;
      }
    },
  };
}
