// Backs up a store that is being served. The database thread copies it, in steps between groups of calls; another
// thread checks the copy.
import { StoreError } from "../errors.ts";
import type { Progress } from "../files/privateFile.ts";
import type { Backup } from "../schema/manifest.ts";
import { runBackupJob } from "./jobs.ts";

export interface BackupOptions {
  /**
   * The path of the backup, which must not exist. By default it is in the folder `backups` beside the database. The
   * manifest has the same path with `.json` at the end.
   */
  readonly path?: string;
  /** A text for the manifest. */
  readonly reason?: string;
  readonly onProgress?: (progress: Progress) => void;
  readonly signal?: AbortSignal;
}

/** Copies the database to an existing, empty file. */
export type CopyTo = (
  partial: string,
  watch: { onProgress(doneBytes: number, totalBytes: number): void; signal: AbortSignal | undefined },
) => Promise<void>;

/** Creates a backup. `source` is the path of the database, or ":memory:". */
export async function backUpOnline(source: string, options: BackupOptions, copyTo: CopyTo): Promise<Backup> {
  const { path, reason = "store.backup", onProgress, signal } = options;
  if (source === ":memory:" && path === undefined)
    throw new StoreError("invalid_input", "path: a database in memory has no folder beside it, so name a file");
  // Loaded on demand, because only a SQLite file can be copied.
  const [{ removePartial, partialPathOf, prepareTarget }, { createPrivate }] = await Promise.all([
    import("../sqlite/backup.ts"),
    import("../files/privateFile.ts"),
  ]);
  const target = prepareTarget(source, path);
  const partial = partialPathOf(target);
  createPrivate(partial);
  try {
    const copying = (doneBytes: number, totalBytes: number): void =>
      onProgress?.({ phase: "copying", doneBytes, totalBytes });
    await copyTo(partial, { onProgress: copying, signal });
    return await runBackupJob("finish", { partial, target, source, reason }, { onProgress, signal });
  } catch (error) {
    removePartial(target);
    throw error;
  }
}
