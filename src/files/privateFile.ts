// Files that must be private and durable: readable by their owner only, and synced before anything relies on them.

import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { StoreError } from "../errors.ts";

/** The callbacks of long work, called between two pieces of it. */
export interface Watch {
  onProgress?(progress: Progress): void;
  /** Throws when the work should stop. */
  check?(): void;
}

export interface Progress {
  readonly phase: "copying" | "checking";
  readonly doneBytes: number;
  readonly totalBytes: number;
}

const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;

/** Creates an empty file, mode 0600. Fails when the path exists, even as a link. */
export function createPrivate(path: string): void {
  closeSync(openPrivate(path));
}

function openPrivate(path: string): number {
  try {
    return openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  } catch (error) {
    throw fileError(error as NodeJS.ErrnoException, path);
  }
}

/**
 * Builds the error for a file that could not be created or written: storage_full when space is the reason, otherwise
 * incompatible.
 */
export function fileError(error: NodeJS.ErrnoException, path: string): StoreError {
  if (error.code === "ENOSPC" || error.code === "EDQUOT" || error.code === "EFBIG")
    return new StoreError("storage_full", `${path}: no space left`, { cause: error });
  const reasons: Record<string, string> = {
    EACCES: "permission denied",
    EPERM: "permission denied",
    EROFS: "the file system is read-only",
    ENOTDIR: "a part of the path is not a folder",
    ELOOP: "the path goes through a link",
    ENOENT: "a part of the path does not exist",
  };
  return new StoreError("incompatible", `${path} cannot be created: ${reasons[error.code ?? ""] ?? error.message}`, {
    cause: error,
  });
}

export interface Digest {
  readonly bytes: number;
  /** SHA-256 in hexadecimal. */
  readonly sha256: string;
}

/** Returns the size and the hash of a file. */
export function digestFile(path: string, watch: Watch = {}): Digest {
  return readInPieces(path, () => undefined, "checking", watch);
}

/**
 * Copies a file to a path that does not exist, mode 0600, and syncs it. Returns the digest of the bytes that were
 * written.
 */
export function copyPrivate(source: string, target: string, watch: Watch = {}): Digest {
  const to = openPrivate(target);
  try {
    const digest = readInPieces(
      source,
      (piece) => {
        // One call may write only a part of the piece.
        for (let at = 0; at < piece.byteLength; ) at += writeSync(to, piece, at);
      },
      "copying",
      watch,
    );
    fsyncSync(to);
    return digest;
  } catch (error) {
    throw (error as NodeJS.ErrnoException).syscall === undefined
      ? error
      : fileError(error as NodeJS.ErrnoException, target);
  } finally {
    closeSync(to);
  }
}

/** Reads a file in pieces, because a database may be larger than memory. */
function readInPieces(
  path: string,
  onPiece: (piece: Uint8Array) => void,
  phase: Progress["phase"],
  watch: Watch,
): Digest {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(1_048_576);
  const fd = openSync(path, O_RDONLY | O_NOFOLLOW);
  const totalBytes = fstatSync(fd).size;
  let bytes = 0;
  try {
    for (let length = readSync(fd, buffer); length > 0; length = readSync(fd, buffer)) {
      watch.check?.();
      const piece = buffer.subarray(0, length);
      hash.update(piece);
      onPiece(piece);
      bytes += length;
      watch.onProgress?.({ phase, doneBytes: bytes, totalBytes: Math.max(bytes, totalBytes) });
    }
  } finally {
    closeSync(fd);
  }
  return { bytes, sha256: hash.digest("hex") };
}

/**
 * Writes a text to a new file, mode 0600, and syncs it. The file appears with its whole text, even when the process is
 * killed meanwhile.
 */
export function writeSynced(path: string, text: string): void {
  const partial = `${path}.partial`;
  // The partial file of a process that was killed.
  rmSync(partial, { force: true });
  const fd = openSync(partial, "wx", 0o600);
  try {
    writeFileSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(partial, path);
}

/** Syncs a file or a folder. A renamed or new file is durable only after its folder is synced. */
export function syncPath(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
