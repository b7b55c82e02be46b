// Computes the hash and size of a file, for the record of an artifact. The file is read as a stream on the caller's
// thread and is never sent to the store.
import { createHash } from "node:crypto";
import { constants, type FileHandle, open } from "node:fs/promises";
import { StoreError } from "../errors.ts";

export interface FileHash {
  /** SHA-256 in hexadecimal. */
  readonly sha256: string;
  /** The number of bytes that were hashed. */
  readonly sizeBytes: number;
}

/**
 * Hashes a file for `artifacts.record` and `artifacts.commit`.
 *
 * Fails    invalid_input when the file does not exist, cannot be read, or is not a regular file | the reason of the
 *          signal when it aborts
 */
export async function hashFile(path: string, { signal }: { readonly signal?: AbortSignal } = {}): Promise<FileHash> {
  signal?.throwIfAborted();
  // Without O_NONBLOCK, opening a pipe without a writer would never return.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: NodeJS.ErrnoException) =>
    refuse(path, error),
  );
  try {
    if (!(await file.stat()).isFile()) refuse(path, new Error("it is not a regular file"));
    const hash = createHash("sha256");
    let sizeBytes = 0;
    for await (const chunk of chunksOf(path, file)) {
      signal?.throwIfAborted();
      hash.update(chunk);
      sizeBytes += chunk.byteLength;
    }
    return { sha256: hash.digest("hex"), sizeBytes };
  } finally {
    await file.close();
  }
}

async function* chunksOf(path: string, file: FileHandle): AsyncGenerator<Buffer, void, undefined> {
  try {
    // The stream does not get the signal, because it would fail again after the caller has stopped reading.
    yield* file.createReadStream({ autoClose: false, highWaterMark: 256 * 1024 }) as AsyncIterable<Buffer>;
  } catch (error) {
    refuse(path, error as NodeJS.ErrnoException);
  }
}

function refuse(path: string, error: NodeJS.ErrnoException): never {
  const reasons: Record<string, string> = {
    ENOENT: "there is no such file",
    EACCES: "permission denied",
    EISDIR: "it is a folder",
  };
  throw new StoreError("invalid_input", `${path}: ${reasons[error.code ?? ""] ?? error.message}`, { cause: error });
}
