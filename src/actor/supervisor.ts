// The owner's side of the database thread: starts it, hands ports to it, ends it.
import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import type { BackUpWatch } from "../drivers/driver.ts";
import { fromWireFailure, StoreError, type WireFailure } from "../errors.ts";
import type { StoreEvent } from "../events.ts";
import { workerUrl } from "../package.ts";
import type { Control, DatabaseThreadData, Report } from "./database.ts";
import { beatAgoMs, type Liveness, newHeart } from "./heartbeat.ts";

export interface DatabaseThread {
  /** A new port to the thread. Fails closed when the thread ends, or has ended. */
  connect(patterns?: readonly string[]): MessagePort;
  /** Lets the thread serve this port, or closes it when the thread ends: its other end learns that nobody will answer. */
  serve(port: MessagePort, patterns?: readonly string[]): void;
  liveness(): Liveness;
  /** Lets the thread copy its database to a file that is there and empty. Fails as Driver.backUp, and closed when the thread ends. */
  backUp(target: string, watch: BackUpWatch): Promise<void>;
  /** Lets the thread finish what it has and end by itself; after closeMs it is ended. */
  close(): Promise<void>;
}

/** Resolves when the database is open. Fails as openSqlite does. */
export async function startDatabaseThread(data: DatabaseThreadData, onEvent: (event: StoreEvent) => void): Promise<DatabaseThread> {
  const heart = newHeart();
  const worker = new Worker(workerUrl("database"), { workerData: { ...data, heart } satisfies DatabaseThreadData, name: "debug-server-db" });
  const exited = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
  let closing = false;
  let ended = false;
  const ready = Promise.withResolvers<void>();
  const backups = new Map<number, { readonly watch: BackUpWatch; settle(failure: WireFailure | undefined): void }>();
  let backupId = 0;
  worker.on("message", (report: Report) => {
    if (report.type === "ready") ready.resolve();
    else if (report.type === "backupProgress") backups.get(report.id)?.watch.onProgress?.(report.doneBytes, report.totalBytes);
    else if (report.type === "backedUp") backups.get(report.id)?.settle(report.failure);
    else if (report.type === "failed") ready.reject(fromWireFailure(report.failure, "openStore"));
    else onEvent(report.event);
  });
  worker.on("error", (error) => {
    ready.reject(new StoreError("internal", "the database thread failed to start", { cause: error }));
    onEvent({ type: "thread_died", message: String((error as Error).stack ?? error) });
  });
  worker.on("exit", (code) => {
    ended = true;
    for (const { settle } of backups.values()) settle(["closed", "the store was closed during the backup", "rolled_back", {}]);
    ready.reject(new StoreError("internal", `the database thread ended with code ${code}`));
    if (!closing) onEvent({ type: "thread_died", message: `the database thread ended with code ${code}` });
  });
  try {
    await ready.promise;
  } catch (error) {
    closing = true;
    await exited;
    throw error;
  }
  // A process that has nothing else to do may end; what was acknowledged is on the disk.
  worker.unref();
  const control = (message: Control, transfer: MessagePort[] = []): void => worker.postMessage(message, transfer);

  return {
    connect(patterns) {
      if (closing || ended) throw new StoreError("closed", "the store is closed");
      const { port1, port2 } = new MessageChannel();
      control({ type: "connect", port: port2, patterns }, [port2]);
      return port1;
    },
    serve(port, patterns) {
      if (closing || ended) port.close();
      else control({ type: "connect", port, patterns }, [port]);
    },
    liveness() {
      const agoMs = beatAgoMs(heart);
      return { state: ended ? "dead" : agoMs > data.limits.stuckMs ? "stuck" : "beating", beatAgoMs: agoMs };
    },
    async backUp(target, watch) {
      if (closing || ended) throw new StoreError("closed", "the store is closed");
      const id = ++backupId;
      const over = Promise.withResolvers<WireFailure | undefined>();
      const onAbort = (): void => control({ type: "stopBackup", id });
      backups.set(id, { watch, settle: over.resolve });
      // The process stays until it is done.
      worker.ref();
      control({ type: "backUp", id, target });
      if (watch.signal?.aborted) onAbort();
      watch.signal?.addEventListener("abort", onAbort);
      const failure = await over.promise;
      watch.signal?.removeEventListener("abort", onAbort);
      backups.delete(id);
      if (backups.size === 0 && !closing) worker.unref();
      if (failure !== undefined) throw fromWireFailure(failure, "backup");
    },
    async close() {
      if (!closing) {
        closing = true;
        worker.ref();
        control({ type: "close" });
      }
      const late = setTimeout(() => void worker.terminate(), data.limits.closeMs);
      await exited;
      clearTimeout(late);
    },
  };
}
