// The owner's side of the database thread: starts it, hands ports to it, starts another when it dies, ends it.
import { setTimeout as sleep } from "node:timers/promises";
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import type { BackUpWatch } from "../drivers/driver.ts";
import { fromWireFailure, StoreError } from "../errors.ts";
import type { StoreEvent } from "../events.ts";
import { workerUrl } from "../package.ts";
import { Backups } from "./backups.ts";
import type { Control, DatabaseThreadData, Report } from "./database.ts";
import { beatAgoMs, type Liveness, newHeart } from "./heartbeat.ts";

export interface DatabaseThread {
  /** A new port to the thread. While the thread is being replaced, the port waits for the next one. Fails closed when the store is closed. */
  connect(patterns?: readonly string[]): MessagePort;
  /** Lets the thread serve this port, or closes it when the store is closed: its other end learns that nobody will answer. */
  serve(port: MessagePort, patterns?: readonly string[]): void;
  liveness(): Liveness;
  /** Lets the thread copy its database to a file that is there and empty. Fails as Driver.backUp, and closed when the thread ends. */
  backUp(target: string, watch: BackUpWatch): Promise<void>;
  /** Lets the thread finish what it has and end by itself; after closeMs it is ended. */
  close(): Promise<void>;
}

/**
 * Resolves when the database is open. Fails as openSqlite does. When the thread dies later, its ports close and another thread is started, again
 * and again until one can open the database.
 */
export async function startDatabaseThread(data: DatabaseThreadData, onEvent: (event: StoreEvent) => void): Promise<DatabaseThread> {
  const waiting: { readonly port: MessagePort; readonly patterns: readonly string[] | undefined }[] = [];
  let closing = false;
  let diedAtMs = 0;
  let running: RunningThread | undefined;
  let starting: Promise<void> | undefined;

  const start = async (): Promise<void> => {
    running = await startThread(data, onEvent, () => {
      running = undefined;
      diedAtMs = performance.now();
      if (!closing) starting = replace();
    });
    for (const { port, patterns } of waiting.splice(0)) running?.serve(port, patterns);
  };
  const replace = async (): Promise<void> => {
    for (let restMs = 20; !closing; restMs = Math.min(restMs * 2, 2_000)) {
      try {
        return await start();
      } catch (error) {
        const { code, message } = error as StoreError;
        onEvent({ type: "fault", code, message: `the database thread could not be replaced: ${message}`, cause: undefined });
      }
      await sleep(restMs, undefined, { ref: false });
    }
  };
  await start();

  const serve = (port: MessagePort, patterns?: readonly string[]): void => {
    if (closing) port.close();
    else if (running === undefined) waiting.push({ port, patterns });
    else running.serve(port, patterns);
  };
  return {
    connect(patterns) {
      if (closing) throw new StoreError("closed", "the store is closed");
      const { port1, port2 } = new MessageChannel();
      serve(port2, patterns);
      return port1;
    },
    serve,
    liveness() {
      if (running !== undefined) return running.liveness();
      const agoMs = Math.round(performance.now() - diedAtMs);
      return { state: closing || agoMs > data.limits.replaceMs ? "dead" : "replacing", beatAgoMs: agoMs };
    },
    async backUp(target, watch) {
      if (closing || running === undefined) throw new StoreError("closed", closing ? "the store is closed" : "the database thread is being replaced");
      await running.backUp(target, watch);
    },
    async close() {
      closing = true;
      // One that is just being started is ended like one that runs.
      await starting?.catch(() => undefined);
      for (const { port } of waiting.splice(0)) port.close();
      await running?.close();
      running = undefined;
    },
  };
}

interface RunningThread {
  serve(port: MessagePort, patterns: readonly string[] | undefined): void;
  liveness(): Liveness;
  backUp: DatabaseThread["backUp"];
  close(): Promise<void>;
}

async function startThread(data: DatabaseThreadData, onEvent: (event: StoreEvent) => void, onDeath: () => void): Promise<RunningThread> {
  const heart = newHeart();
  const worker = new Worker(workerUrl("database"), { workerData: { ...data, heart } satisfies DatabaseThreadData, name: "debug-server-db" });
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
  worker.on("error", (error) => {
    ready.reject(new StoreError("internal", "the database thread failed to start", { cause: error }));
    onEvent({ type: "thread_died", message: String((error as Error).stack ?? error) });
  });
  worker.on("exit", (code) => {
    backups.lose();
    ready.reject(new StoreError("internal", `the database thread ended with code ${code}`));
    if (closing || !opened) return;
    onEvent({ type: "thread_died", message: `the database thread ended with code ${code}` });
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
