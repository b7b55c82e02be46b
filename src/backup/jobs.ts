// Work on backups in a thread of its own: it blocks for as long as it takes to read a database, which neither an event loop nor the database thread can bear.
import { Worker } from "node:worker_threads";
import { fromWireFailure, StoreError, type WireFailure } from "../errors.ts";
import type { Progress } from "../files/privateFile.ts";
import { workerUrl } from "../package.ts";
import type { Backup } from "../schema/manifest.ts";
import type { Restored } from "../sqlite/restore.ts";

/** What the thread can do, with what it is given and what it answers. */
export interface Jobs {
  readonly create: {
    readonly given: { readonly path: string; readonly reason: string; readonly target: string };
    readonly answer: Backup;
  };
  readonly finish: {
    readonly given: {
      readonly partial: string;
      readonly target: string;
      readonly source: string;
      readonly reason: string;
    };
    readonly answer: Backup;
  };
  readonly verify: { readonly given: Backup; readonly answer: null };
  readonly restore: {
    readonly given: { readonly backup: string; readonly path: string; readonly keep: boolean };
    readonly answer: Restored;
  };
}

export interface BackupThreadData<Name extends keyof Jobs = keyof Jobs> {
  readonly name: Name;
  readonly given: Jobs[Name]["given"];
  /** Not 0 when it is to end. */
  readonly stop: SharedArrayBuffer;
}

export type BackupReport =
  | { readonly type: "progress"; readonly progress: Progress }
  | { readonly type: "done"; readonly answer: unknown }
  | { readonly type: "failed"; readonly failure: WireFailure };

export interface JobOptions {
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Heard between two steps; what cannot be interrupted is waited for, and then undone. */
  readonly signal?: AbortSignal | undefined;
}

export function runBackupJob<Name extends keyof Jobs>(
  name: Name,
  given: Jobs[Name]["given"],
  options: JobOptions = {},
): Promise<Jobs[Name]["answer"]> {
  const { onProgress, signal } = options;
  const stop = new SharedArrayBuffer(4);
  const { promise, resolve, reject } = Promise.withResolvers<Jobs[Name]["answer"]>();
  const worker = new Worker(workerUrl("backup"), {
    workerData: { name, given, stop } satisfies BackupThreadData<Name>,
    name: "debug-server-db backup",
  });
  const onAbort = (): void => void Atomics.store(new Int32Array(stop), 0, 1);
  if (signal?.aborted) onAbort();
  signal?.addEventListener("abort", onAbort);
  worker.on("message", (report: BackupReport) => {
    if (report.type === "progress") onProgress?.(report.progress);
    else if (report.type === "done") resolve(report.answer as Jobs[Name]["answer"]);
    else reject(fromWireFailure(report.failure, `backup.${name}`));
  });
  worker.on("error", (error) => reject(new StoreError("internal", "the thread for backups failed", { cause: error })));
  worker.on("exit", (code) => reject(new StoreError("internal", `the thread for backups ended with code ${code}`)));
  return promise.finally(() => signal?.removeEventListener("abort", onAbort));
}
