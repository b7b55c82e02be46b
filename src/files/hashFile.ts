// What the store wants to know of a file: its hash and size. Read as a stream, on the caller's thread; the file never goes to the store.
import { createHash } from "node:crypto";
import { constants, type FileHandle, open } from "node:fs/promises";
import { StoreError } from "../errors.ts";

export interface FileHash {
  /** In hexadecimal. */
  readonly sha256: string;
  /** Of the bytes that were hashed. */
  readonly sizeBytes: number;
}

/**
 * SHA-256 and size of a file, for `artifacts.record` and `artifacts.commit`.
 *
 * Fails    invalid_input when it is not there, cannot be read, or is no regular file; what the signal aborts with
 */
export async function hashFile(path: string, { signal }: { readonly signal?: AbortSignal } = {}): Promise<FileHash> {
  signal?.throwIfAborted();
  // A pipe that nobody writes to would never open.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch((error: NodeJS.ErrnoException) =>
    refuse(path, error),
  );
  try {
    if (!(await file.stat()).isFile()) refuse(path, new Error("it is no regular file"));
    const hash = createHash("sha256");
    let sizeBytes = 0;
    for await (const chunk of piecesOf(path, file)) {
      signal?.throwIfAborted();
      hash.update(chunk);
      sizeBytes += chunk.byteLength;
    }
    return { sha256: hash.digest("hex"), sizeBytes };
  } finally {
    await file.close();
  }
}

async function* piecesOf(path: string, file: FileHandle): AsyncGenerator<Buffer, void, undefined> {
  try {
    // Not with the signal, of which the stream may fail once more when nobody listens any longer.
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
