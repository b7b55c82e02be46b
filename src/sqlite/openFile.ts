// Notices when the file of an open database loses its name. SQLite goes on writing to a file that was deleted, moved or
// replaced, and whoever opens the path afterwards does not find what was written (D-094).

import { type Stats, statSync } from "node:fs";
import { StoreError } from "../errors.ts";
import type { FileEvent } from "../events.ts";

/** The way in which a file is lost, as `details.reason` of `file_lost`. */
export type FileLoss = Extract<FileEvent, { type: "file_lost" }>["reason"];

/** The files that belong to one open database, as suffixes of its path. */
const suffixes = ["", "-wal", "-shm"] as const;

const remedies: Record<FileLoss, string> = {
  gone: "the database file was deleted or moved while the store had it open: end this server, put the file and its -wal file back or restore a backup, then start the server again",
  replaced:
    "another file was put in the place of the database file while the store had it open: end this server, check which of the two files is the right one, then start the server again",
  wal: "the -wal or -shm file was deleted or replaced while the store had the database open: end all servers of this database, so that they store what they still hold, then start one again",
};

/** The file of an open database. Once it is lost, it stays lost for its connection. */
export class OpenFile {
  readonly #path: string;
  /** The files that the connection has open. */
  readonly identities: FileIdentities;
  readonly #onLost: (reason: FileLoss) => void;
  #error: StoreError | undefined;
  /** The size of the -wal file when it was last looked at. */
  walBytes = 0;

  /** Must be created when the connection has the file and its WAL open. `onLost` is called once. */
  constructor(path: string, onLost: (reason: FileLoss) => void) {
    this.#path = path;
    this.identities = fileIdentities(path);
    this.#onLost = onLost;
  }

  /** Looks whether the file is in its place. Returns the error for writes if it is not. */
  check(): StoreError | undefined {
    if (this.#error !== undefined) return this.#error;
    for (const [index, suffix] of suffixes.entries()) {
      const opened = this.identities[index];
      if (opened === undefined) continue;
      const existing = tryStat(`${this.#path}${suffix}`);
      if (existing === "unknown") continue;
      if (suffix === "-wal") this.walBytes = existing?.size ?? 0;
      const found = existing && identityOf(existing);
      if (found !== opened) return this.#lose(suffix !== "" ? "wal" : found === undefined ? "gone" : "replaced");
    }
    return undefined;
  }

  #lose(reason: FileLoss): StoreError {
    this.#error = new StoreError("file_lost", remedies[reason], { details: { reason } });
    this.#onLost(reason);
    return this.#error;
  }
}

/**
 * Returns the device and inode of the file at a path, or undefined when there is none. They change when a restore
 * replaces the file.
 */
export function fileIdentity(path: string): string | undefined {
  const existing = statSync(path, { throwIfNoEntry: false });
  return existing && identityOf(existing);
}

/** The identities of the files of one database: of itself, its WAL and its shared memory. */
export type FileIdentities = readonly (string | undefined)[];

export function fileIdentities(path: string): FileIdentities {
  return suffixes.map((suffix) => fileIdentity(`${path}${suffix}`));
}

function identityOf({ dev, ino }: Stats): string {
  return `${dev} ${ino}`;
}

/** Returns `unknown` when the path cannot be read: that the file is gone is only said of a file that is gone. */
function tryStat(path: string): Stats | undefined | "unknown" {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch {
    return "unknown";
  }
}
