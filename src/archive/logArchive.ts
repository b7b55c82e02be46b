// The interface of a log archive, which callers implement for their object store, and the archive in a local folder.
import { open, readdir, rename, rm, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { StoreError } from "../errors.ts";
import { giveTo, makeFolder, ownerAbove } from "../files/ownership.ts";
import { fileError } from "../files/privateFile.ts";
import { createWriterTag, isAbandoned, writerTagForm } from "../files/processes.ts";

/**
 * An object store for logs that leave the database. A key has at most 200 of the characters `a-z 0-9 . - /`, and is never
 * used for two objects. A promise that is rejected means that the archive cannot be used now; the store tries again.
 */
export interface LogArchive {
  /** Stores an object. Resolves when it is durable. A part of it is never seen under the key. */
  put(key: string, bytes: Uint8Array): Promise<void>;
  /** Resolves to the bytes from `start` up to, and without, `end`; to undefined when there is no such object. */
  get(key: string, range: { readonly start: number; readonly end: number }): Promise<Uint8Array | undefined>;
  /** Deletes an object. Resolves too when there is none. */
  delete(key: string): Promise<void>;
}

const partialName = new RegExp(`^(${writerTagForm})$`);

/**
 * Returns an archive in a folder of this machine, which is created unless `create` is false. Folders have mode 0700 and
 * files 0600, and belong to the owner of the folder. An object is synced before it gets its name. When the folder is gone
 * later, for example not mounted, requests fail: that is not an archive without objects.
 */
export function localArchive(folder: string, { create = true }: { readonly create?: boolean } = {}): LogArchive {
  const root = resolve(folder);
  if (create) createFolder(root);
  const partials = join(root, "partial");
  let swept: Promise<void> | undefined;
  return {
    async put(key, bytes) {
      const path = pathOf(root, key);
      const parent = resolve(path, "..");
      await requireFolder(root);
      makeFolder(parent);
      makeFolder(partials);
      swept ??= sweep(partials);
      await swept;
      const partial = join(partials, createWriterTag());
      try {
        await writePrivate(partial, bytes);
        await rename(partial, path);
      } finally {
        await rm(partial, { force: true });
      }
      // The name is durable only after its folder is synced, and so is the name of a new folder.
      for (const changed of [parent, root]) await syncFolder(changed);
    },
    async get(key, { start, end }) {
      const file = await openToRead(root, pathOf(root, key));
      if (file === undefined) return undefined;
      try {
        const bytes = new Uint8Array(end - start);
        let length = 0;
        while (length < bytes.byteLength) {
          const { bytesRead } = await file.read(bytes, length, bytes.byteLength - length, start + length);
          if (bytesRead === 0) break;
          length += bytesRead;
        }
        return bytes.subarray(0, length);
      } finally {
        await file.close();
      }
    },
    async delete(key) {
      const path = pathOf(root, key);
      await requireFolder(root);
      await rm(path, { force: true });
    },
  };
}

/** Returns the path of an object. A key that leads elsewhere is refused: it may come from a damaged database. */
function pathOf(root: string, key: string): string {
  if (!/^[\da-z-]+(?:[./][\da-z-]+)*$/.test(key))
    throw new StoreError("corrupt", `${key.slice(0, 200)} is no key of an archived log`);
  return join(root, key);
}

async function writePrivate(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    giveTo(file.fd, ownerAbove(path));
    await file.writeFile(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function openToRead(root: string, path: string) {
  try {
    return await open(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    await requireFolder(root);
    return undefined;
  }
}

function createFolder(root: string): void {
  try {
    makeFolder(root);
  } catch (error) {
    throw fileError(error as NodeJS.ErrnoException, root);
  }
}

async function requireFolder(root: string): Promise<void> {
  await stat(root);
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** Deletes what writers that were killed have left. */
async function sweep(partials: string): Promise<void> {
  for (const name of await readdir(partials)) {
    const path = join(partials, name);
    if (partialName.test(name) && isAbandoned(path, name)) await rm(path, { force: true });
  }
}
