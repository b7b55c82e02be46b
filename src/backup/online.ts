// A backup of a store that is being served: copied by whoever holds the database, in steps between its groups, then proven whole in a thread of its own.
import { StoreError } from "../errors.ts";
import type { Progress } from "../files/privateFile.ts";
import type { Backup } from "../schema/manifest.ts";
import { runBackupJob } from "./jobs.ts";

export interface BackupOptions {
  /** A file that is not there yet; in the folder `backups` beside the database unless given. Its manifest gets the same name and `.json`. */
  readonly path?: string;
  /** Goes into the manifest. */
  readonly reason?: string;
  readonly onProgress?: (progress: Progress) => void;
  readonly signal?: AbortSignal;
}

export type CopyTo = (
  partial: string,
  watch: { onProgress(doneBytes: number, totalBytes: number): void; signal: AbortSignal | undefined },
) => Promise<void>;

/** `source`: the database's path, or ":memory:". */
export async function backUpOnline(source: string, options: BackupOptions, copyTo: CopyTo): Promise<Backup> {
  const { path, reason = "store.backup", onProgress, signal } = options;
  if (source === ":memory:" && path === undefined)
    throw new StoreError("invalid_input", "path: a database in memory has no folder beside it, so name a file");
  // Loaded when it is asked for: only a SQLite file can be copied.
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
