// Runs jobs on whole databases in threads of their own, because a job blocks its thread: backups, restores, and the
// checkpoint of a large WAL.
import { Worker } from "node:worker_threads";
import { fromWireFailure, StoreError, type WireFailure } from "../errors.ts";
import type { Progress } from "../files/privateFile.ts";
import { workerUrl } from "../package.ts";
import type { Backup, MadeBackup, PrunedBackups } from "../schema/manifest.ts";
import type { BackupTarget } from "../sqlite/backup.ts";
import type { BackupBounds, PruneOnDemand } from "../sqlite/pruneBackups.ts";
import type { RestoreResult } from "../sqlite/restore.ts";
import type { WalCheckpoint } from "../sqlite/walCheckpoint.ts";
import { threadOptions } from "../threadOptions.ts";

/** The jobs of the thread, each with its input and its answer. */
export interface Jobs {
  readonly create: {
    readonly input: { readonly path: string; readonly reason: string; readonly target: BackupTarget };
    readonly answer: MadeBackup;
  };
  readonly finish: {
    readonly input: {
      readonly partial: string;
      readonly target: string;
      readonly source: string;
      readonly reason: string;
    };
    readonly answer: MadeBackup;
  };
  readonly verify: { readonly input: Backup; readonly answer: null };
  readonly restore: {
    readonly input: {
      readonly backup: string;
      readonly path: string;
      readonly keep: boolean;
      readonly keepRevocations: boolean;
    };
    readonly answer: RestoreResult;
  };
  readonly prune: {
    readonly input: PruneOnDemand;
    readonly answer: PrunedBackups & { readonly bounds: BackupBounds };
  };
  readonly checkpoint: { readonly input: WalCheckpoint; readonly answer: null };
}

export interface BackupThreadData<Name extends keyof Jobs = keyof Jobs> {
  readonly name: Name;
  readonly input: Jobs[Name]["input"];
  /** Becomes 1 when the job should stop. */
  readonly stop: SharedArrayBuffer;
}

export type BackupReport =
  | { readonly type: "progress"; readonly progress: Progress }
  | { readonly type: "done"; readonly answer: unknown }
  | { readonly type: "failed"; readonly failure: WireFailure };

export interface JobOptions {
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  /** Aborts the job between two steps. A step that cannot be interrupted runs to its end and is then undone. */
  readonly signal?: AbortSignal | undefined;
}

/** Runs a job in a new thread. Fails with the error of the job, or with internal when the thread dies. */
export function runBackupJob<Name extends keyof Jobs>(
  name: Name,
  input: Jobs[Name]["input"],
  options: JobOptions = {},
): Promise<Jobs[Name]["answer"]> {
  const { onProgress, signal } = options;
  const stop = new SharedArrayBuffer(4);
  const { promise, resolve, reject } = Promise.withResolvers<Jobs[Name]["answer"]>();
  const worker = new Worker(workerUrl("backup"), {
    workerData: { name, input, stop } satisfies BackupThreadData<Name>,
    name: "debug-server-db backup",
    ...threadOptions(),
  });
  const onAbort = (): void => void Atomics.store(new Int32Array(stop), 0, 1);
  if (signal?.aborted) onAbort();
  signal?.addEventListener("abort", onAbort);
  worker.on("message", (report: BackupReport) => {
    if (report.type === "progress") onProgress?.(report.progress);
    else if (report.type === "done") resolve(report.answer as Jobs[Name]["answer"]);
    else reject(fromWireFailure(report.failure, `backup.${name}`));
  });
  worker.on("error", (error) => reject(new StoreError("internal", "the backup thread failed", { cause: error })));
  // Has no effect after a report, which has settled the promise.
  worker.on("exit", (code) => reject(new StoreError("internal", `the backup thread ended with code ${code}`)));
  return promise.finally(() => signal?.removeEventListener("abort", onAbort));
}
