// The paths of directories, in the one form in which they are stored and compared (D-087). A runner may have another
// system than the store, so the form of a path decides by which rules it is read: POSIX or Windows.
import { posix, win32 } from "node:path";
import { filledText } from "./fields.ts";

/**
 * `C:\a`, `C:/a` and `\\server\share\a`; not a server without a share, which is no directory, and not the forms `\\?\`
 * and `\\.\`, which mean the same directories once more.
 */
const windowsRoot = /^(?:[a-z]:[\\/]|\\\\[^\\/?.][^\\/]*[\\/]+[^\\/])/i;

/**
 * Returns the normal form of an absolute path: without `.`, `..`, doubled separators and a separator at the end, and on
 * Windows with backslashes and the letter of the drive in upper case. Returns undefined for any other path.
 *
 * Source   https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap04.html#tag_04_16
 */
export function normalizeDirectory(path: string): string | undefined {
  if (path.startsWith("/")) return withoutEnd(posix.normalize(path), "/", "/");
  if (!windowsRoot.test(path)) return undefined;
  const normal = win32.normalize(path);
  const { root } = win32.parse(normal);
  return withoutEnd(normal, "\\", root).replace(/^[a-z]:/, (drive) => drive.toUpperCase());
}

/** Removes the separator at the end of a path, except from a root. */
function withoutEnd(path: string, separator: string, root: string): string {
  return path.length > root.length && path.endsWith(separator) ? path.slice(0, -separator.length) : path;
}

/** Returns the path of a directory within another one. */
export function directoryIn(root: string, name: string): string {
  const separator = windowsRoot.test(root) ? "\\" : "/";
  return `${withoutEnd(root, separator, "")}${separator}${name}`;
}

/** The path of a directory. It is absolute, because a relative one means another directory in each process. */
export const Directory = filledText(4_096)
  .refine((path) => normalizeDirectory(path) !== undefined, {
    error: "must be an absolute path, such as /srv/worktrees/a or C:\\worktrees\\a",
  })
  .overwrite((path) => normalizeDirectory(path) ?? path);
