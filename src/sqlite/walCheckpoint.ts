// Moves the content of a large WAL into the database, in a thread of its own. SQLite cannot do that in slices, but it
// disturbs nobody from another connection: readers and the writer go on meanwhile (D-106).
import type Database from "better-sqlite3";
import type { Progress, Watch } from "../files/privateFile.ts";
import { connect, type WalContent, walContent } from "./connection.ts";

export interface WalCheckpoint {
  readonly path: string;
  /** The content that may stay in the WAL in the end. */
  readonly leaveBytes: number;
}

/** Runs `checkpointWal` in another thread. */
export type RunCheckpoint = (
  input: WalCheckpoint,
  options: { onProgress(progress: Progress): void; signal: AbortSignal },
) => Promise<unknown>;

/**
 * Copies what the WAL holds into the database, as far as its readers allow. Tries again, until they allow nearly all of
 * it, and reports each time how much is copied.
 */
export function checkpointWal({ path, leaveBytes }: WalCheckpoint, watch: Watch): null {
  const db = connect(path, 0);
  try {
    for (;;) {
      const { totalBytes, pendingBytes } = copyWhatMoves(db);
      watch.onProgress?.({ phase: "copying", doneBytes: totalBytes - pendingBytes, totalBytes });
      if (pendingBytes <= leaveBytes) return null;
      watch.check?.();
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
    }
  } finally {
    db.close();
  }
}

/** The pause after which the readers of the WAL may have moved on. */
const pauseMs = 250;

/**
 * The number of passes in a row. Each copies what was written during the one before. SQLite syncs the database when
 * nothing was, so that no commit has to do it.
 */
const passesMax = 20;

function copyWhatMoves(db: Database.Database): WalContent {
  let content = walContent(db);
  for (let passes = 0; passes < passesMax && content.pendingBytes > 0; passes++) {
    const { pendingBytes } = content;
    db.pragma("wal_checkpoint(PASSIVE)");
    content = walContent(db);
    if (content.pendingBytes >= pendingBytes) break;
  }
  return content;
}
