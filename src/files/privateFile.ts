// Files that are to stay: synced before they are trusted, hashed in pieces, for their owner alone.

import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, fsyncSync, openSync, readSync, writeFileSync, writeSync } from "node:fs";
import { StoreError } from "../errors.ts";

/** Told between two pieces of work. `check` throws when somebody wants it to end. */
export interface Watch {
  onProgress?(progress: Progress): void;
  check?(): void;
}

export interface Progress {
  readonly phase: "copying" | "checking";
  readonly doneBytes: number;
  readonly totalBytes: number;
}

const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;

/** Made by us, so that nobody else can read it and no link is followed. */
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

export function fileError(error: NodeJS.ErrnoException, path: string): StoreError {
  if (error.code === "ENOSPC" || error.code === "EDQUOT" || error.code === "EFBIG")
    return new StoreError("storage_full", `${path}: no space left`, { cause: error });
  const reasons: Record<string, string> = {
    EACCES: "permission denied",
    EPERM: "permission denied",
    EROFS: "the file system is read-only",
    ENOTDIR: "a part of the path is not a folder",
    ELOOP: "the path goes through a link",
    ENOENT: "a part of the path cannot be made",
  };
  return new StoreError("incompatible", `${path} cannot be made: ${reasons[error.code ?? ""] ?? error.message}`, {
    cause: error,
  });
}

export interface Digest {
  readonly bytes: number;
  readonly sha256: string;
}

export function digestFile(path: string, watch: Watch = {}): Digest {
  return readInPieces(path, () => undefined, "checking", watch);
}

/** Copies to a path where nothing is, 0600, synced. What it gives is of the bytes that were written. */
export function copyPrivate(source: string, target: string, watch: Watch = {}): Digest {
  const to = openPrivate(target);
  try {
    const found = readInPieces(
      source,
      (piece) => {
        for (let at = 0; at < piece.byteLength; ) at += writeSync(to, piece, at);
      },
      "copying",
      watch,
    );
    fsyncSync(to);
    return found;
  } catch (error) {
    throw (error as NodeJS.ErrnoException).syscall === undefined
      ? error
      : fileError(error as NodeJS.ErrnoException, target);
  } finally {
    closeSync(to);
  }
}

/** In pieces, because a database may be larger than the memory. */
function readInPieces(path: string, take: (piece: Uint8Array) => void, phase: Progress["phase"], watch: Watch): Digest {
  const hash = createHash("sha256");
  const piece = Buffer.allocUnsafe(1_048_576);
  const fd = openSync(path, O_RDONLY | O_NOFOLLOW);
  const totalBytes = fstatSync(fd).size;
  let bytes = 0;
  try {
    for (let length = readSync(fd, piece); length > 0; length = readSync(fd, piece)) {
      watch.check?.();
      const part = piece.subarray(0, length);
      hash.update(part);
      take(part);
      bytes += length;
      watch.onProgress?.({ phase, doneBytes: bytes, totalBytes: Math.max(bytes, totalBytes) });
    }
  } finally {
    closeSync(fd);
  }
  return { bytes, sha256: hash.digest("hex") };
}

export function writeSynced(path: string, text: string): void {
  const fd = openSync(path, "wx", 0o600);
  try {
    writeFileSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Of a folder: the names in it are on the disk. */
export function syncPath(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
