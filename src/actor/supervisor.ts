// The owner's side of the database thread: starts it, passes ports to it, replaces it when it dies (D-019), and ends
// it.

import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import type { LogArchive } from "../archive/logArchive.ts";
import type { BackUpWatch } from "../driver.ts";
import { fromWireFailure, StoreError } from "../errors.ts";
import type { StoreEvent } from "../events.ts";
import { workerUrl } from "../package.ts";
import { realTime, sleep } from "../realTime.ts";
import type { Liveness } from "../storeTypes.ts";
import { threadOptions } from "../threadOptions.ts";
import { isServeTraced, republish } from "../tracing.ts";
import { answerArchive } from "./archiveRequests.ts";
import { BackupRequests } from "./backupRequests.ts";
import { controlOf, moved } from "./control.ts";
import { beatAgoMs, createHeartbeat } from "./heartbeat.ts";
import type { DatabaseThreadData, Report } from "./thread.ts";

interface DatabaseThread {
  /**
   * Creates a port to the thread. While the thread is being replaced, the port waits for the next one. Fails with
   * `closed` when the store is closed.
   */
  connect(patterns?: readonly string[]): MessagePort;
  /** Passes a port to the thread. When the store is closed, closes it, so that its other end expects no answer. */
  serve(port: MessagePort, patterns?: readonly string[]): void;
  liveness(): Liveness;
  /**
   * Copies the database to an existing empty file, in the thread. Fails as `Driver.backUp`, and with `closed` when the
   * thread ends.
   */
  backUp(target: string, watch: BackUpWatch): Promise<void>;
  /** Lets the thread finish its queued calls and end by itself; terminates it after `limits.closeMs`. */
  close(): Promise<void>;
}

/**
 * Resolves when the thread has opened the database. Fails as `openSqlite`. When the thread dies later, its ports close,
 * and other threads are started until one can open the database.
 */
export async function startDatabaseThread(
  data: DatabaseThreadData,
  onEvent: (event: StoreEvent) => void,
  logArchive?: LogArchive,
): Promise<DatabaseThread> {
  const waitingPorts: { readonly port: MessagePort; readonly patterns: readonly string[] | undefined }[] = [];
  const closing = new AbortController();
  let startedAtMs = 0;
  let diedAtMs: number | undefined;
  let pauseMs = pauseMsMin;
  let running: RunningThread | undefined;
  let replacing: Promise<void> | undefined;

  const start = async (): Promise<void> => {
    // A file that is gone meanwhile is reported, and not replaced by an empty one.
    const isFirst = diedAtMs === undefined;
    running = await startThread(isFirst ? data : { ...data, migrate: "never" }, onEvent, logArchive, () => {
      running = undefined;
      // A thread that dies within `stableAfterMs` belongs to the same outage, which is counted from the first death.
      if (diedAtMs === undefined || realTime.elapsed() - startedAtMs > stableAfterMs) {
        diedAtMs = realTime.elapsed();
        pauseMs = pauseMsMin;
      }
      if (!closing.signal.aborted) replacing = replace();
    });
    startedAtMs = realTime.elapsed();
    for (const { port, patterns } of waitingPorts.splice(0)) running?.serve(port, patterns);
  };
  const replace = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      // The pause comes before the first attempt too, because the next thread may die of the same cause at once.
      await sleep(pauseMs, { ref: false, signal: closing.signal });
      pauseMs = Math.min(pauseMs * 2, pauseMsMax);
      if (closing.signal.aborted) return;
      try {
        return await start();
      } catch (error) {
        const { code, message } = error as StoreError;
        onEvent({
          type: "fault",
          code,
          message: `the database thread could not be replaced: ${message}`,
          cause: undefined,
        });
      }
    }
  };
  await start();

  const serve = (port: MessagePort, patterns?: readonly string[]): void => {
    if (closing.signal.aborted) port.close();
    else if (running === undefined) waitingPorts.push({ port, patterns });
    else running.serve(port, patterns);
  };
  return {
    connect(patterns) {
      if (closing.signal.aborted) throw new StoreError("closed", "the store is closed");
      const { port1, port2 } = new MessageChannel();
      serve(port2, patterns);
      return port1;
    },
    serve,
    liveness() {
      if (running !== undefined) return running.liveness();
      const agoMs = Math.round(realTime.elapsed() - (diedAtMs ?? realTime.elapsed()));
      return {
        state: closing.signal.aborted || agoMs > data.limits.replaceMs ? "dead" : "replacing",
        beatAgoMs: agoMs,
      };
    },
    async backUp(target, watch) {
      const closed = closing.signal.aborted;
      if (closed || running === undefined)
        throw new StoreError("closed", closed ? "the store is closed" : "the database thread is being replaced");
      await running.backUp(target, watch);
    },
    async close() {
      closing.abort();
      // A thread that is being started has to be closed too, so its start is awaited.
      await replacing?.catch(() => undefined);
      for (const { port } of waitingPorts.splice(0)) port.close();
      await running?.close();
      running = undefined;
    },
  };
}

/** The age at which a thread has ended the outage before it. */
const stableAfterMs = 5_000;
/** The pause before a thread is replaced; it doubles with each attempt of one outage. */
const pauseMsMin = 10;
const pauseMsMax = 2_000;

/** The time between two looks whether this thread listens to what its database thread does. */
const listenEveryMs = 100;

interface RunningThread {
  serve(port: MessagePort, patterns: readonly string[] | undefined): void;
  liveness(): Liveness;
  backUp: DatabaseThread["backUp"];
  close(): Promise<void>;
}

async function startThread(
  data: DatabaseThreadData,
  onEvent: (event: StoreEvent) => void,
  logArchive: LogArchive | undefined,
  onDeath: () => void,
): Promise<RunningThread> {
  const heartbeat = createHeartbeat();
  let isTraced = isServeTraced();
  const worker = new Worker(workerUrl("database"), {
    workerData: { ...data, heartbeat, isTraced } satisfies DatabaseThreadData,
    name: "debug-server-db",
    ...threadOptions(),
  });
  const exited = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
  let closing = false;
  let opened = false;
  const ready = Promise.withResolvers<void>();
  const control = controlOf(worker);
  const backups = new BackupRequests(control, (busy) => {
    if (busy) worker.ref();
    else if (!closing) worker.unref();
  });
  worker.on("message", (report: Report) => {
    if (report.type === "ready") ready.resolve();
    else if (report.type === "backupProgress") backups.noteProgress(report);
    else if (report.type === "archiveRequest") answerArchive(control, logArchive, report);
    else if (report.type === "failed") ready.reject(fromWireFailure(report.failure, "openStore"));
    else if (report.type === "event") onEvent(report.event);
    else if (report.type === "traced") republish(report);
  });
  let cause: unknown;
  worker.on("error", (error) => {
    cause = error;
    ready.reject(new StoreError("internal", "the database thread failed to start", { cause }));
  });
  worker.on("exit", (code) => {
    backups.failAll();
    const message =
      cause === undefined ? `the database thread ended with code ${code}` : String((cause as Error).stack ?? cause);
    ready.reject(new StoreError("internal", message));
    if (closing || !opened) return;
    onEvent({ type: "thread_died", message });
    onDeath();
  });
  try {
    await ready.promise;
    opened = true;
  } catch (error) {
    closing = true;
    await exited;
    throw error;
  }
  // An idle store does not keep the process alive: every acknowledged write is on the disk.
  worker.unref();
  // Nobody is told when a channel gets its first subscriber.
  const listening = realTime.setInterval(() => {
    if (isTraced === isServeTraced()) return;
    isTraced = !isTraced;
    void control.trace(isTraced);
  }, listenEveryMs);
  listening.unref();
  void exited.then(() => realTime.clearInterval(listening));

  return {
    serve: (port, patterns) => void control.serve(moved(port), patterns),
    liveness() {
      const agoMs = beatAgoMs(heartbeat);
      return { state: agoMs > data.limits.stuckMs ? "stuck" : "beating", beatAgoMs: agoMs };
    },
    backUp: (target, watch) => backups.run(target, watch),
    async close() {
      closing = true;
      worker.ref();
      void control.close();
      const overdue = realTime.setTimeout(() => void worker.terminate(), data.limits.closeMs);
      await exited;
      realTime.clearTimeout(overdue);
    },
  };
}
