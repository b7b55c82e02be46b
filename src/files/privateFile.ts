// Files that must be private and durable: readable by their owner only, and synced before anything relies on them.

import { createHash } from "node:crypto";
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { constants as systemConstants } from "node:os";
import { StoreError } from "../errors.ts";
import { describeMissingRights, giveTo, mustGiveTo, type Owner, type Rights, refusalOf } from "./ownership.ts";
import { createWriterTag } from "./processes.ts";

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

const { errno: systemErrors } = systemConstants;
const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;

/**
 * Creates an empty file, mode 0600, and gives it to the owner if that is possible. Fails when the path exists; a link
 * there is not followed.
 */
export function createPrivate(path: string, owner?: Owner): void {
  const fd = openNew(path);
  if (owner !== undefined) giveTo(fd, owner);
  closeSync(fd);
}

function openNew(path: string): number {
  try {
    return openExclusively(path);
  } catch (error) {
    throw fileError(error as NodeJS.ErrnoException, path);
  }
}

function openExclusively(path: string): number {
  return openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
}

/** Opens a new file for writing, with the given owner and mode. */
function openWithRights(path: string, rights: Rights): number {
  const fd = openNew(path);
  try {
    mustGiveTo(fd, rights, path);
    fchmodSync(fd, rights.mode);
    return fd;
  } catch (error) {
    closeSync(fd);
    rmSync(path, { force: true });
    throw error;
  }
}

/** Returns true when the disk, a quota or a limit of file sizes is the reason. */
export function isOutOfSpace({ code, errno }: NodeJS.ErrnoException): boolean {
  // Node has a number for a quota that is used up, and no name.
  return code === "ENOSPC" || code === "EFBIG" || errno === -systemErrors.EDQUOT;
}

/**
 * Builds the error for a file that could not be created or written: storage_full when space is the reason, read_only
 * when its file system is, io_error when the disk failed, otherwise incompatible.
 */
export function fileError(error: NodeJS.ErrnoException, path: string): StoreError {
  if (isOutOfSpace(error)) return new StoreError("storage_full", `${path}: no space left`, { cause: error });
  const reasons: Record<string, string> = {
    EACCES: describeMissingRights(path) ?? "permission denied",
    EPERM: "permission denied",
    EROFS: "the file system is read-only",
    ENOTDIR: "a part of the path is not a folder",
    ELOOP: "the path goes through a link",
    ENOENT: "a part of the path does not exist",
  };
  const code = error.code === "EROFS" ? "read_only" : error.code === "EIO" ? "io_error" : "incompatible";
  return new StoreError(code, `${path} cannot be created: ${reasons[error.code ?? ""] ?? error.message}`, {
    cause: error,
  });
}

/** Builds the error for a file that could not be read. */
export function readError(error: NodeJS.ErrnoException, path: string): StoreError {
  const rights = error.code === "EACCES" ? describeMissingRights(path, constants.R_OK) : undefined;
  const message =
    rights === undefined ? `${path} cannot be read: ${error.message}` : refusalOf(path, "cannot be read", rights);
  const code = error.code === "EIO" ? "io_error" : "incompatible";
  return new StoreError(code, message, { cause: error, details: { reason: "unreadable" } });
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
 * Copies a file to a path that does not exist, with the given owner and mode, and syncs it. Returns the digest of the
 * bytes that were written.
 */
export function copyFile(source: string, target: string, rights: Rights, watch: Watch = {}): Digest {
  const to = openWithRights(target, rights);
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
  const fd = reading(path, () => openSync(path, O_RDONLY | O_NOFOLLOW));
  const totalBytes = fstatSync(fd).size;
  const readPiece = () => reading(path, () => readSync(fd, buffer));
  let bytes = 0;
  try {
    for (let length = readPiece(); length > 0; length = readPiece()) {
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

function reading<Result>(path: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    throw readError(error as NodeJS.ErrnoException, path);
  }
}

/**
 * Writes a text to a new file with the given owner and mode, and syncs it. The file appears with its whole text, even
 * when the process is killed meanwhile. Fails as `placeNew`.
 */
export function writeSynced(path: string, text: string, rights: Rights): void {
  const partial = `${path}.${createWriterTag()}.partial`;
  const fd = openWithRights(partial, rights);
  try {
    try {
      writeFileSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    placeNew(partial, path);
  } finally {
    rmSync(partial, { force: true });
  }
}

/** The errors of link(2) on file systems without hard links: https://man7.org/linux/man-pages/man2/link.2.html */
const noLinks = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"]);

/** Gives a file its final name. Unlike a rename, fails with conflict when somebody has made a file of this name. */
export function placeNew(partial: string, path: string): void {
  try {
    try {
      linkSync(partial, path);
    } catch (error) {
      if (!noLinks.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
      // An empty file takes the name first, so that the rename replaces nothing of somebody else.
      closeSync(openExclusively(path));
      renameSync(partial, path);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") throw nameTaken(path);
    throw error;
  }
  rmSync(partial, { force: true });
}

/** Builds the error for a new file whose name is taken. */
export function nameTaken(path: string): StoreError {
  return new StoreError("conflict", `${path} exists: name a new file`, { details: { reason: "exists" } });
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
