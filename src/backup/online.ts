// Backs up a store that is being served. The database thread copies it, in steps between groups of calls; another
// thread checks the copy.
import { StoreError } from "../errors.ts";
import type { Progress } from "../files/privateFile.ts";
import type { MadeBackup } from "../schema/manifest.ts";
import { runBackupJob } from "./jobs.ts";

export interface BackupOptions {
  /**
   * The path of the backup, which must not exist. By default it is in the folder `backups` beside the database. The
   * manifest has the same path with `.json` at the end.
   */
  readonly path?: string;
  /** A text for the manifest. */
  readonly reason?: string;
  /** Called as the backup goes on. If it throws, the backup goes on without it, and the process gets a warning. */
  readonly onProgress?: (progress: Progress) => void;
  readonly signal?: AbortSignal;
}

/** Copies the database to an existing, empty file. */
export type CopyTo = (
  partial: string,
  watch: { onProgress(doneBytes: number, totalBytes: number): void; signal: AbortSignal | undefined },
) => Promise<void>;

/** Creates a backup. `source` is the path of the database, or ":memory:". */
export async function backUpOnline(source: string, options: BackupOptions, copyTo: CopyTo): Promise<MadeBackup> {
  const { path, reason = "store.backup", signal } = options;
  const onProgress = options.onProgress && guard(options.onProgress);
  if (source === ":memory:" && path === undefined)
    throw new StoreError("invalid_input", "path: a database in memory has no folder beside it, so name a file");
  // Loaded on demand, because only a SQLite file can be copied.
  const [{ removePartial, prepareTarget }, { createPrivate }] = await Promise.all([
    import("../sqlite/backup.ts"),
    import("../files/privateFile.ts"),
  ]);
  const { path: target, partial, owner } = prepareTarget(source, path);
  createPrivate(partial, owner);
  try {
    const copying = (doneBytes: number, totalBytes: number): void =>
      onProgress?.({ phase: "copying", doneBytes, totalBytes });
    await copyTo(partial, { onProgress: copying, signal });
    return await runBackupJob("finish", { partial, target, source, reason }, { onProgress, signal });
  } catch (error) {
    removePartial(partial);
    throw error;
  }
}

/** Calls a listener until it fails. A listener that throws must not make the backup fail, nor end the process. */
function guard(listener: (progress: Progress) => unknown): (progress: Progress) => void {
  let failed = false;
  const fail = (error: unknown): void => {
    if (!failed) process.emitWarning(error instanceof Error ? error : String(error));
    failed = true;
  };
  return (progress) => {
    if (failed) return;
    try {
      // An async listener returns a promise, although nobody asked for one.
      void Promise.resolve(listener(progress)).catch(fail);
    } catch (error) {
      fail(error);
    }
  };
}
