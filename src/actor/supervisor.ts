// The owner's side of the database thread: starts it, hands ports to it, starts another when it dies (D-019), ends it.
import { setTimeout as sleep } from "node:timers/promises";
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import type { BackUpWatch } from "../driver.ts";
import { fromWireFailure, StoreError } from "../errors.ts";
import type { StoreEvent } from "../events.ts";
import { workerUrl } from "../package.ts";
import type { Liveness } from "../storeTypes.ts";
import { Backups } from "./backups.ts";
import { beatAgoMs, newHeart } from "./heartbeat.ts";
import type { Control, DatabaseThreadData, Report } from "./thread.ts";

export interface DatabaseThread {
  /**
   * A new port to the thread. While the thread is being replaced, the port waits for the next one. Fails closed when
   * the store is closed.
   */
  connect(patterns?: readonly string[]): MessagePort;
  /**
   * Lets the thread serve this port, or closes it when the store is closed: its other end learns that nobody will
   * answer.
   */
  serve(port: MessagePort, patterns?: readonly string[]): void;
  liveness(): Liveness;
  /**
   * Lets the thread copy its database to a file that is there and empty. Fails as Driver.backUp, and closed when the
   * thread ends.
   */
  backUp(target: string, watch: BackUpWatch): Promise<void>;
  /** Lets the thread finish what it has and end by itself; after closeMs it is ended. */
  close(): Promise<void>;
}

/**
 * Resolves when the database is open. Fails as openSqlite does. When the thread dies later, its ports close and another
 * thread is started, again and again until one can open the database.
 */
export async function startDatabaseThread(
  data: DatabaseThreadData,
  onEvent: (event: StoreEvent) => void,
): Promise<DatabaseThread> {
  const waiting: { readonly port: MessagePort; readonly patterns: readonly string[] | undefined }[] = [];
  const closing = new AbortController();
  let bornAtMs = 0;
  let diedAtMs: number | undefined;
  let restMs = restMsMin;
  let running: RunningThread | undefined;
  let starting: Promise<void> | undefined;

  const start = async (): Promise<void> => {
    running = await startThread(data, onEvent, () => {
      running = undefined;
      // One that dies as soon as it lives has not ended the death of the one before.
      if (diedAtMs === undefined || performance.now() - bornAtMs > soundMs) {
        diedAtMs = performance.now();
        restMs = restMsMin;
      }
      if (!closing.signal.aborted) starting = replace();
    });
    bornAtMs = performance.now();
    for (const { port, patterns } of waiting.splice(0)) running?.serve(port, patterns);
  };
  const replace = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      // Also before the first try: the next thread may die of the same at once.
      await sleep(restMs, undefined, { ref: false, signal: closing.signal }).catch(() => undefined);
      restMs = Math.min(restMs * 2, restMsMax);
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
    else if (running === undefined) waiting.push({ port, patterns });
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
      const agoMs = Math.round(performance.now() - (diedAtMs ?? performance.now()));
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
      // One that is just being started is ended like one that runs.
      await starting?.catch(() => undefined);
      for (const { port } of waiting.splice(0)) port.close();
      await running?.close();
      running = undefined;
    },
  };
}

/** A thread that has lived for so long is sound, in milliseconds. */
const soundMs = 5_000;
const restMsMin = 10;
const restMsMax = 2_000;

interface RunningThread {
  serve(port: MessagePort, patterns: readonly string[] | undefined): void;
  liveness(): Liveness;
  backUp: DatabaseThread["backUp"];
  close(): Promise<void>;
}

async function startThread(
  data: DatabaseThreadData,
  onEvent: (event: StoreEvent) => void,
  onDeath: () => void,
): Promise<RunningThread> {
  const heart = newHeart();
  const worker = new Worker(workerUrl("database"), {
    workerData: { ...data, heart } satisfies DatabaseThreadData,
    name: "debug-server-db",
  });
  const exited = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
  let closing = false;
  let opened = false;
  const ready = Promise.withResolvers<void>();
  const control = (message: Control, transfer: MessagePort[] = []): void => worker.postMessage(message, transfer);
  const backups = new Backups(control, (busy) => {
    if (busy) worker.ref();
    else if (!closing) worker.unref();
  });
  worker.on("message", (report: Report) => {
    if (report.type === "ready") ready.resolve();
    else if (report.type === "backupProgress" || report.type === "backedUp") backups.hear(report);
    else if (report.type === "failed") ready.reject(fromWireFailure(report.failure, "openStore"));
    else onEvent(report.event);
  });
  let cause: unknown;
  worker.on("error", (error) => {
    cause = error;
    ready.reject(new StoreError("internal", "the database thread failed to start", { cause }));
  });
  worker.on("exit", (code) => {
    backups.lose();
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
  // A process that has nothing else to do may end; what was acknowledged is on the disk.
  worker.unref();

  return {
    serve: (port, patterns) => control({ type: "connect", port, patterns }, [port]),
    liveness() {
      const agoMs = beatAgoMs(heart);
      return { state: agoMs > data.limits.stuckMs ? "stuck" : "beating", beatAgoMs: agoMs };
    },
    backUp: (target, watch) => backups.make(target, watch),
    async close() {
      closing = true;
      worker.ref();
      control({ type: "close" });
      const late = setTimeout(() => void worker.terminate(), data.limits.closeMs);
      await exited;
      clearTimeout(late);
    },
  };
}
