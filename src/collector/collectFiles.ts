// A collector: removes files that the store no longer needs, from local folders, from a log archive, or by a function of
// the caller.
import { hostname } from "node:os";
import { namedArchive } from "../archive/chooseArchive.ts";
import { ask } from "../archive/deadline.ts";
import type { LogArchive } from "../archive/logArchive.ts";
import { StoreError } from "../errors.ts";
import { keyOfUri } from "../model/archiveKeys.ts";
import type { DiscardedFile } from "../model/files.ts";
import { type FileKind, fileKinds } from "../model/vocabulary.ts";
import { present } from "../present.ts";
import { sleep } from "../realTime.ts";
import type { Store } from "../storeTypes.ts";
import { removeLocalFile } from "./localFiles.ts";

export interface CollectOptions {
  /**
   * The folders in which files are removed, those of their subfolders included. A file elsewhere is left alone, and
   * given back with that reason.
   */
  readonly folders?: readonly string[];
  /**
   * Removes a file that is no local one, such as an object in a bucket. Resolves when the file is gone, also when it did
   * not exist.
   */
  readonly remove?: (file: DiscardedFile) => Promise<void>;
  /**
   * The log archive from which the objects of logs are removed. A server that has the archive removes them by itself, so
   * this is for a store whose servers do not have it.
   */
  readonly logArchive?: { readonly folder: string } | LogArchive;
  /** The kinds of files. By default all, but logs only if `logArchive` is given. */
  readonly kinds?: FileKind | FileKind[];
  /**
   * The place whose files are removed: those of environments there. By default the one without a name, in which the files
   * of all other kinds are.
   */
  readonly place?: string;
  /** The name of this collector, for people. By default the host and the process. */
  readonly owner?: string;
  /** Ends when no file is due, instead of waiting for the next ones. */
  readonly once?: boolean;
  /** Ends the collector after the files that it is removing. */
  readonly signal?: AbortSignal;
  /** Called for each file, with the reason when it could not be removed. */
  readonly onFile?: (file: DiscardedFile, error: Error | undefined) => void;
}

/** The number of files that a collector removed, and of those that it could not remove. */
export interface Collected {
  readonly removed: number;
  readonly failed: number;
}

/**
 * Removes files that the store no longer needs, and acknowledges each page of them. Several collectors may run at once,
 * in any process; the files of one that dies go to the others. Runs until `signal` aborts, or, with `once`, until no file
 * is due. A file that does not exist counts as removed.
 *
 * Fails    as files.claim, except that it goes on after failures that may pass
 */
export async function collectFiles(store: Pick<Store, "files">, options: CollectOptions = {}): Promise<Collected> {
  const { folders = [], remove, place = "", once = false, signal, onFile } = options;
  const archive = options.logArchive === undefined ? undefined : namedArchive(options.logArchive);
  const {
    kinds = archive === undefined ? ["artifact", "patch", "environment"] : [...fileKinds],
    owner = `collector ${process.pid} on ${hostname()}`.slice(0, 200),
  } = options;
  const total = { removed: 0, failed: 0 };
  const isOver = (): boolean => signal?.aborted === true;
  while (!isOver()) {
    try {
      const input = { owner, kinds, place, ttlMs, waitMs: once ? 0 : waitMs };
      const { files } = await store.files.claim(input, present({ signal }));
      if (files.length === 0 && once) break;
      const page = { removed: [] as Claimed[], failed: [] as Claimed[] };
      for (const file of files) {
        const error = await removeFile(file, folders, archive, remove);
        const claimed = { id: file.id, fence: file.fence };
        if (error === undefined) page.removed.push(claimed);
        else page.failed.push({ ...claimed, error: error.message });
        onFile?.(file, error);
      }
      if (page.removed.length > 0) await store.files.acknowledge({ files: page.removed });
      if (page.failed.length > 0) await store.files.fail({ files: page.failed });
      total.removed += page.removed.length;
      total.failed += page.failed.length;
    } catch (error) {
      if (isOver() && error instanceof StoreError && error.code === "aborted") break;
      if (once || !(error instanceof StoreError) || !error.retryable) throw error;
      // The files of this page are handed out again when their lease has ended.
      await sleep(retryMs, present({ signal }));
    }
  }
  return total;
}

interface Claimed {
  readonly id: string;
  readonly fence: number;
  readonly error?: string;
}

/** The time for which one claim waits for files, and the pause after a failure that may pass. */
const [waitMs, retryMs] = [60_000, 1_000];

/** The time in which a log archive has to answer. */
const archiveDeleteMs = 60_000;

/** The time in which the files of one claim are removed; after it, another collector may remove them too. */
const ttlMs = 300_000;

/** Removes one file, and returns the reason when that is not possible. */
async function removeFile(
  file: DiscardedFile,
  folders: readonly string[],
  archive: LogArchive | undefined,
  remove: CollectOptions["remove"],
): Promise<Error | undefined> {
  try {
    if (file.kind === "log" && archive !== undefined)
      await ask(() => archive.delete(keyOfUri(file.uri)), archiveDeleteMs);
    else if (!(await removeLocalFile(file.uri, folders, { tree: file.kind === "environment" }))) {
      if (remove === undefined) return new Error("it is no local file, and this collector removes only these");
      await remove(file);
    }
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
