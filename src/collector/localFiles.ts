// Removes local files, and never one outside of the named folders, whatever symbolic links lead there.
import { constants } from "node:fs";
import { type FileHandle, lstat, open, realpath, rm, unlink } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * Removes the file at a file: URL or an absolute path, and syncs its folder, so that it is gone when this resolves.
 * Returns false for any other uri. Fails when the file is not in one of the folders, or is a folder itself, unless `tree`
 * says that it may be one, which then goes with all that is in it; links in it are removed and not followed. Of a path that
 * does not exist, the part that does has to be in one of the folders: else it may lie on a disk that is not mounted here.
 */
export async function removeLocalFile(
  uri: string,
  folders: readonly string[],
  { tree = false }: { readonly tree?: boolean } = {},
): Promise<boolean> {
  const path = uri.startsWith("file:") ? fileURLToPath(uri) : uri;
  if (!isAbsolute(path)) return false;
  let folder: FileHandle;
  try {
    folder = await open(dirname(path), constants.O_RDONLY | (constants.O_DIRECTORY ?? 0));
  } catch (error) {
    if (!isMissing(error)) throw error;
    // Without its folder the file does not exist.
    return await checkLocalFile(uri, folders);
  }
  try {
    // On Linux, the file is removed in the very folder that was checked, even if its path is changed meanwhile.
    const held = process.platform === "linux" ? `/proc/self/fd/${folder.fd}` : dirname(path);
    await requireWithin(await realpath(held), basename(path), folders);
    const named = join(held, basename(path));
    await (tree ? rm(named, { recursive: true }) : unlink(named));
    await folder.sync();
  } catch (error) {
    if (!isMissing(error)) throw error;
  } finally {
    await folder.close();
  }
  return true;
}

/**
 * Checks whether `removeLocalFile` would remove the file at this uri, and removes nothing. Returns false for a uri of
 * another kind, and fails as it does.
 */
export async function checkLocalFile(uri: string, folders: readonly string[]): Promise<boolean> {
  const path = uri.startsWith("file:") ? fileURLToPath(uri) : uri;
  if (!isAbsolute(path)) return false;
  await requireWithin(await realpath(await existingPart(dirname(path))), basename(path), folders);
  return true;
}

/** Returns the longest part of a path that exists. A symbolic link that leads nowhere exists. */
async function existingPart(path: string): Promise<string> {
  try {
    await lstat(path);
    return path;
  } catch (error) {
    if (!isMissing(error) || path === dirname(path)) throw error;
    return await existingPart(dirname(path));
  }
}

/** Fails when a folder, given by its real path, is not one of the named ones and in none of them. */
async function requireWithin(real: string, name: string, folders: readonly string[]): Promise<void> {
  const allowed = await Promise.all(folders.map((one) => realpath(one).catch(() => undefined)));
  if (!allowed.some((one) => one !== undefined && isWithin(real, one)))
    throw new Error(`${join(real, name)} is in none of the folders of this collector`);
}

function isWithin(path: string, folder: string): boolean {
  const way = relative(folder, path);
  return way === "" || (way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way));
}

function isMissing(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}
