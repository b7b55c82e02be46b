// The main function of the backup thread: runs one job and ends.
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { StoreError, toWireFailure } from "../errors.ts";
import type { Watch } from "../files/privateFile.ts";
import type { Backup, MadeBackup } from "../schema/manifest.ts";
import { backUpSqlite, finishBackup } from "../sqlite/backup.ts";
import { pruneBeside, pruneOnDemand } from "../sqlite/pruneBackups.ts";
import { restoreSqlite } from "../sqlite/restore.ts";
import { verifyBackup } from "../sqlite/verify.ts";
import { checkpointWal } from "../sqlite/walCheckpoint.ts";
import type { BackupReport, BackupThreadData, Jobs } from "./jobs.ts";

const work: { readonly [Name in keyof Jobs]: (input: Jobs[Name]["input"], watch: Watch) => Jobs[Name]["answer"] } = {
  create: ({ path, reason, target }, watch) => pruneAfter(backUpSqlite(path, reason, { target, watch })),
  finish: (input, watch) => pruneAfter(finishBackup({ ...input, watch })),
  prune: pruneOnDemand,
  verify(input, watch) {
    verifyBackup(input, watch);
    return null;
  },
  restore: (input, watch) => restoreSqlite({ ...input, watch }),
  checkpoint: checkpointWal,
};

function pruneAfter(made: Backup): MadeBackup {
  return { ...made, pruned: pruneBeside(made) };
}

/** Runs the job in `workerData`, and reports its progress and its end to the thread that started this one. */
export function runBackupThread(): void {
  const owner = parentPort as MessagePort;
  const { name, input, stop } = workerData as BackupThreadData;
  const report = (message: BackupReport): void => owner.postMessage(message);
  const watch: Watch = {
    onProgress: (progress) => report({ type: "progress", progress }),
    check() {
      if (Atomics.load(new Int32Array(stop), 0) !== 0)
        throw new StoreError("aborted", "interrupted; nothing was changed", { outcome: "rolled_back" });
    },
  };
  try {
    report({ type: "done", answer: (work[name] as (input: unknown, watch: Watch) => unknown)(input, watch) });
  } catch (error) {
    report({
      type: "failed",
      failure: toWireFailure(
        error instanceof StoreError ? error : new StoreError("internal", String((error as Error).stack ?? error)),
      ),
    });
  }
}
