// Places in which artifacts are stored: the interface, and a folder of this machine.
import { createHash, randomUUID } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { mkdir, open, realpath, rename, rm } from "node:fs/promises";
import { dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export interface PutOptions {
  /** The id of the artifact, which is announced. */
  readonly artifactId?: string;
  /** The time for which the artifact will be kept; unlimited when it is missing. */
  readonly ttlMs?: number;
  readonly contentType?: string;
  readonly sizeBytes: number;
  /** The SHA-256 of the file in hexadecimal. A sink that can should check what it stores against it. */
  readonly sha256: string;
  readonly signal: AbortSignal;
}

/** A place for files, such as a folder or a bucket. */
export interface ArtifactSink {
  /**
   * Stores a file durably, and resolves with the uri for its artifact, without credentials. A key is a relative path
   * that no other artifact has; storing it again replaces it.
   */
  put(key: string, path: string, options: PutOptions): Promise<{ readonly uri: string }>;
  /** Removes a file that was stored for nothing. Resolves also when there is none. */
  delete?(uri: string): Promise<void>;
}

/**
 * Stores artifacts below a folder of this machine, readable by its user alone. A file has its name only when it is there
 * as a whole and on disk. Its file: uri is one that `collectFiles({ folders: [folder] })` removes.
 */
export function localSink(folder: string): ArtifactSink {
  const root = resolve(folder);
  return {
    async put(key, path, options) {
      const target = join(root, key);
      requireBelow(root, target);
      const made = await mkdir(dirname(target), { recursive: true, mode: 0o700 });
      const beside = `${target}.${randomUUID()}.part`;
      try {
        await copy(path, beside, options);
        await rename(beside, target);
      } catch (error) {
        await rm(beside, { force: true });
        throw error;
      }
      await syncFolders(dirname(target), made === undefined ? dirname(target) : dirname(made));
      return {
        uri: pathToFileURL(join(await realpath(dirname(target)), target.slice(dirname(target).length + 1))).href,
      };
    },
    async delete(uri) {
      const path = fileURLToPath(uri);
      requireBelow(await realpath(root), path);
      await rm(path, { force: true });
    },
  };
}

function requireBelow(root: string, path: string): void {
  const way = relative(root, path);
  if (way === "" || way === ".." || way.startsWith(`..${sep}`) || isAbsolute(way))
    throw new Error(`${path} is not below ${root}`);
}

/** Copies a file, and fails unless exactly the announced content was copied. */
async function copy(from: string, to: string, { sizeBytes, sha256, signal }: PutOptions): Promise<void> {
  const hash = createHash("sha256");
  const file = await open(to, "wx", 0o600);
  try {
    const source = await open(from, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    // One byte more than announced shows that the file has grown, and a file that grows for ever is left at that.
    const content = createReadStream("", { fd: source, end: sizeBytes, highWaterMark: 256 * 1024 });
    for await (const chunk of content as AsyncIterable<Buffer>) {
      signal.throwIfAborted();
      hash.update(chunk);
      await file.appendFile(chunk);
    }
    if (hash.digest("hex") !== sha256) throw new Error("it was changed while it was copied");
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes the new names durable, from the innermost folder to the one that was there before. */
async function syncFolders(innermost: string, outermost: string): Promise<void> {
  for (let path = innermost; ; path = dirname(path)) {
    const folder = await open(path, constants.O_RDONLY);
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
    if (path === outermost || path === dirname(path)) return;
  }
}
