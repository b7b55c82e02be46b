// Keeps the WAL of a database small. Commits empty it as it grows. When nobody writes, it is cut to nothing (D-112). When
// it has grown large, because somebody reads an old state of the database, another thread empties it (D-106).
import type Database from "better-sqlite3";
import type { WalReader } from "../events.ts";
import type { Progress } from "../files/privateFile.ts";
import type { Limits } from "../limits.ts";
import { realTime } from "../realTime.ts";
import { pragma, type WalContent, walContent } from "./connection.ts";
import type { RunCheckpoint } from "./walCheckpoint.ts";
import { WalPins } from "./walPins.ts";

interface WalWatchOptions {
  readonly path: string;
  readonly limits: Pick<Limits, "walBytes" | "walIdleMs">;
  /** Absent where there is no other thread. */
  readonly checkpoint: RunCheckpoint | undefined;
  /** Called once for each time that readers keep the WAL from shrinking. Empty when they are not known. */
  onPinned(walBytes: number, readers: readonly WalReader[]): void;
}

/** The number of pages in the WAL after which a commit of SQLite copies them, and the size of most pages. */
const [autoCheckpointPages, pageBytes] = [1_000, 4_096];

/** The content of the WAL after which a commit copies it. Under load the file grows to less than twice as much. */
export const checkpointBytes = autoCheckpointPages * pageBytes;

/** The longest pause after which an idle WAL that somebody reads is tried again. */
const idleMsMax = 60_000;

export class WalWatch {
  readonly #db: Database.Database;
  readonly #options: WalWatchOptions;
  readonly #pins: WalPins;
  readonly #aborter = new AbortController();
  #running: Promise<void> | undefined;
  #failed = false;
  #pendingBytes = 0;
  #last: WalContent = { totalBytes: 0, pendingBytes: 0 };
  #changedAtMs = 0;
  #checkpointedAtMs: number | undefined;
  /** The time to wait after the last change; it grows while readers keep the WAL. */
  #idleMs: number;
  #isKept = false;

  constructor(db: Database.Database, options: WalWatchOptions) {
    this.#db = db;
    this.#options = options;
    this.#pins = new WalPins(options.path);
    this.#idleMs = options.limits.walIdleMs;
  }

  /** The content of a large WAL that is not in the database yet; 0 when no other thread empties the WAL. */
  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  /** Those who keep the WAL from being emptied, none when they are not known; undefined when nobody does. */
  get readers(): readonly WalReader[] | undefined {
    return this.#pins.readers;
  }

  /** The time since a checkpoint was last seen; undefined before the first one. */
  get checkpointAgoMs(): number | undefined {
    return this.#checkpointedAtMs === undefined ? undefined : Math.round(realTime.elapsed() - this.#checkpointedAtMs);
  }

  /** Looks at the size of the WAL, before each transaction that writes. */
  look(walBytes: number): void {
    const { limits, checkpoint } = this.#options;
    if (walBytes <= limits.walBytes || checkpoint === undefined || this.#running !== undefined || this.#failed) return;
    try {
      if (walContent(this.#db).pendingBytes > limits.walBytes / 2) this.#track(this.#emptyLarge(checkpoint));
      // SQLite cuts the file when it begins it again. To cut all at once would take long too.
      else this.#db.pragma(`journal_size_limit = ${Math.max(limits.walBytes, walBytes - limits.walBytes)}`);
    } catch {
      // The file is busy, or cannot be read: the write that follows reports what lasts.
    }
  }

  /** Returns false when more is in the WAL than commits leave there, because nobody can empty it. */
  takesMore(): boolean {
    return this.#running === undefined && walContent(this.#db).pendingBytes <= 2 * checkpointBytes;
  }

  /** Copies the WAL when it holds half of what a commit would copy. */
  copySome(): void {
    if (walContent(this.#db).pendingBytes > checkpointBytes / 2) this.#db.pragma("wal_checkpoint(PASSIVE)");
  }

  /** Looks at the WAL at intervals, between transactions: cuts it when it is idle, and learns who keeps it. */
  attend(walBytes: number): void {
    // The thread that empties a large WAL looks by itself.
    if (this.#running !== undefined) return;
    const content = walBytes === 0 ? { totalBytes: 0, pendingBytes: 0 } : walContent(this.#db);
    this.#note(content);
    if (content.totalBytes > 0 || walBytes > 0) this.#cutWhenIdle(content);
    if (this.#isKept || content.pendingBytes > 2 * checkpointBytes) this.#pins.look();
    else this.#pins.clear();
  }

  /** Ends a checkpoint that runs. Undefined when there is none. */
  stop(): Promise<void> | undefined {
    this.#aborter.abort();
    return this.#running;
  }

  #track(work: Promise<void>): void {
    this.#running = work.then(() => {
      this.#running = undefined;
    });
  }

  #note(content: WalContent): void {
    const nowMs = realTime.elapsed();
    const copiedBytes = content.totalBytes - content.pendingBytes;
    const lastBytes = this.#last.totalBytes - this.#last.pendingBytes;
    // A WAL that is begun again was copied before.
    if (content.totalBytes < this.#last.totalBytes || copiedBytes > lastBytes) this.#checkpointedAtMs = nowMs;
    if (content.totalBytes !== this.#last.totalBytes) {
      this.#changedAtMs = nowMs;
      this.#idleMs = this.#options.limits.walIdleMs;
      this.#isKept = false;
    }
    this.#last = content;
  }

  #cutWhenIdle({ pendingBytes }: WalContent): void {
    if (realTime.elapsed() - this.#changedAtMs < this.#idleMs) return;
    const { checkpoint } = this.#options;
    // To copy much here would hold up the next call.
    if (pendingBytes > 2 * checkpointBytes && checkpoint !== undefined) this.#track(this.#copyOnce(checkpoint));
    else this.#isKept = !this.#cut();
    if (this.#isKept || this.#running !== undefined) {
      this.#changedAtMs = realTime.elapsed();
      this.#idleMs = Math.min(Math.max(1, this.#idleMs) * 2, idleMsMax);
    }
  }

  /** Copies what the WAL holds, and cuts the file. Returns false when readers or a writer keep it; it waits for nobody. */
  #cut(): boolean {
    const busyMs = pragma(this.#db, "busy_timeout") as number;
    this.#db.pragma("busy_timeout = 0");
    try {
      const [{ busy }] = this.#db.pragma("wal_checkpoint(TRUNCATE)") as [{ readonly busy: number }];
      if (busy === 0) this.#note({ totalBytes: 0, pendingBytes: 0 });
      return busy === 0;
    } finally {
      this.#db.pragma(`busy_timeout = ${busyMs}`);
    }
  }

  /** Copies as much as the readers allow now, in the other thread. */
  async #copyOnce(checkpoint: RunCheckpoint): Promise<void> {
    const input = { path: this.#options.path, leaveBytes: Number.MAX_SAFE_INTEGER };
    try {
      await checkpoint(input, { onProgress: () => undefined, signal: this.#aborter.signal });
    } catch {
      // The next look tries again.
    }
  }

  async #emptyLarge(checkpoint: RunCheckpoint): Promise<void> {
    const { path, limits, onPinned } = this.#options;
    const limitBytes = limits.walBytes;
    this.#db.pragma("wal_autocheckpoint = 0");
    this.#db.pragma("journal_size_limit = -1");
    let pinnedPasses = 0;
    const onProgress = ({ doneBytes, totalBytes }: Progress): void => {
      this.#pendingBytes = totalBytes - doneBytes;
      if (this.#pendingBytes <= limitBytes / 2) return;
      this.#pins.look();
      // Those who are seen in two passes are the ones who keep it.
      if (++pinnedPasses === 2) onPinned(totalBytes, this.#pins.readers ?? []);
    };
    const input = { path, leaveBytes: Math.min(checkpointBytes, limitBytes / 4) };
    try {
      await checkpoint(input, { onProgress, signal: this.#aborter.signal });
    } catch {
      // Without the other thread, commits copy the WAL, however long it takes.
      this.#failed = true;
    }
    this.#pendingBytes = 0;
    this.#pins.clear();
    if (this.#db.open) this.#db.pragma(`wal_autocheckpoint = ${autoCheckpointPages}`);
  }
}
