// Keeps a WAL that has grown large from holding up a commit. It grows while somebody reads an old state of the database,
// and the commit that finds it free would copy all of it (D-106).
import type Database from "better-sqlite3";
import type { Progress } from "../files/privateFile.ts";
import { walContent } from "./connection.ts";
import type { RunCheckpoint } from "./walCheckpoint.ts";

interface WalWatchOptions {
  readonly path: string;
  /** The size beyond which a WAL is large. */
  readonly limitBytes: number;
  readonly checkpoint: RunCheckpoint;
  /** Called once for each time that a reader keeps the WAL from shrinking. */
  onPinned(walBytes: number): void;
}

/** The number of pages in the WAL after which a commit of SQLite copies them, and the size of most pages. */
const [autoCheckpointPages, pageBytes] = [1_000, 4_096];

export class WalWatch {
  readonly #db: Database.Database;
  readonly #options: WalWatchOptions;
  readonly #aborter = new AbortController();
  #running: Promise<void> | undefined;
  #failed = false;
  #pendingBytes = 0;

  constructor(db: Database.Database, options: WalWatchOptions) {
    this.#db = db;
    this.#options = options;
  }

  /** The content of a large WAL that is not in the database yet; 0 when no other thread empties the WAL. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Looks at the size of the WAL, before each transaction that writes. */
  look(walBytes: number): void {
    const { limitBytes } = this.#options;
    if (walBytes <= limitBytes || this.#running !== undefined || this.#failed) return;
    try {
      if (walContent(this.#db).pendingBytes > limitBytes / 2) this.#running = this.#checkpoint();
      // SQLite cuts the file when it begins it again. To cut all at once would take long too.
      else this.#db.pragma(`journal_size_limit = ${Math.max(limitBytes, walBytes - limitBytes)}`);
    } catch {
      // The file is busy, or cannot be read: the write that follows reports what lasts.
    }
  }

  /** Ends a checkpoint that runs. Undefined when there is none. */
  stop(): Promise<void> | undefined {
    this.#aborter.abort();
    return this.#running;
  }

  async #checkpoint(): Promise<void> {
    const { path, limitBytes, checkpoint, onPinned } = this.#options;
    this.#db.pragma("wal_autocheckpoint = 0");
    this.#db.pragma("journal_size_limit = -1");
    let isPinned = false;
    const onProgress = ({ doneBytes, totalBytes }: Progress): void => {
      this.#pendingBytes = totalBytes - doneBytes;
      if (isPinned || this.#pendingBytes <= limitBytes / 2) return;
      isPinned = true;
      onPinned(totalBytes);
    };
    const input = { path, leaveBytes: Math.min(autoCheckpointPages * pageBytes, limitBytes / 4) };
    try {
      await checkpoint(input, { onProgress, signal: this.#aborter.signal });
    } catch {
      // Without the other thread, commits copy the WAL, however long it takes.
      this.#failed = true;
    }
    this.#running = undefined;
    this.#pendingBytes = 0;
    if (this.#db.open) this.#db.pragma(`wal_autocheckpoint = ${autoCheckpointPages}`);
  }
}
