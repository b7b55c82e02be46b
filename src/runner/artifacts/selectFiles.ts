// Selects the files of a worktree that globs name, and none outside of it.
import type { Dirent } from "node:fs";
// A Node that lacks glob could not load this package if it were imported by its name, and say that it is too old.
import * as promises from "node:fs/promises";
import { lstat, realpath } from "node:fs/promises";
import { dirname, join, relative, sep } from "node:path";
import { StoreError } from "../../index.ts";

export interface SelectOptions {
  readonly folder: string;
  readonly globs: readonly string[];
  readonly filesMax: number;
  readonly bytesMax: number;
  readonly signal: AbortSignal;
}

export interface SelectedFile {
  /** The path below the folder, with `/` between its parts. */
  readonly name: string;
  readonly path: string;
  readonly version: FileVersion;
}

/** A file that was named and is not collected. */
export interface RefusedFile {
  readonly name: string;
  readonly reason: string;
}

/** The number of paths that globs may lead to, files or not. */
const pathsMax = 100_000;

/**
 * Returns the files that the globs name, in the order of their names. Only regular files of the folder itself are
 * selected: none that a symbolic link leads to, and nothing of git. Wildcards pass over symbolic links and match no
 * leading dot; a link that is named, or a special file, is returned as refused.
 *
 * Fails    StoreError (invalid_input) when a glob leads out of the folder, or when there are more or larger files than
 *          allowed; nothing is selected then
 */
export async function selectFiles(options: SelectOptions): Promise<{ files: SelectedFile[]; refused: RefusedFile[] }> {
  const { globs, filesMax, bytesMax, signal } = options;
  for (const one of globs) requireInside(one);
  const folder = await realpath(options.folder);
  const files: SelectedFile[] = [];
  const refused: RefusedFile[] = [];
  let bytes = 0n;
  for (const name of await namesOf(folder, globs, signal)) {
    const path = join(folder, name);
    const found = await lstat(path, { bigint: true }).catch(() => undefined);
    if (found === undefined || found.isDirectory()) continue;
    if ((await realpath(dirname(path))) !== dirname(path))
      refused.push({ name, reason: "a symbolic link leads to its folder" });
    else if (!found.isFile())
      refused.push({ name, reason: found.isSymbolicLink() ? "it is a symbolic link" : "it is not a regular file" });
    else {
      files.push({ name, path, version: versionOf(found) });
      bytes += found.size;
    }
    if (files.length > filesMax)
      refuse("too_many", `the globs name more than ${filesMax} files: narrow them, or raise filesMax`, { filesMax });
  }
  if (bytes > bytesMax) {
    const message = `the globs name ${bytes} bytes, and ${bytesMax} are allowed: narrow them, or raise bytesMax`;
    refuse("too_large", message, { bytes: Number(bytes), bytesMax });
  }
  return { files, refused };
}

function requireInside(one: string): void {
  const parts = one.split("/");
  const isInside = one !== "" && one.length <= 1_000 && !one.includes("\0") && !/^[/!]/.test(one);
  if (isInside && !parts.includes("..") && parts[0] !== ".git") return;
  const message = `the glob ${JSON.stringify(one.slice(0, 200))} must be a relative path below the worktree, without .. and !`;
  refuse("glob", message, { glob: one.slice(0, 200) });
}

async function namesOf(folder: string, globs: readonly string[], signal: AbortSignal): Promise<string[]> {
  const names = new Set<string>();
  let paths = 0;
  // A link that is named as such may lead to the whole disk, so that a search there has to end.
  const count = (): void => {
    signal.throwIfAborted();
    if (++paths > pathsMax)
      refuse("too_many", `the globs lead to more than ${pathsMax} paths: narrow them`, { pathsMax });
  };
  const exclude = (entry: Dirent): boolean => {
    count();
    return entry.name === ".git" || entry.isSymbolicLink();
  };
  for (const one of globs)
    for await (const found of promises.glob(one, { cwd: folder, withFileTypes: true, exclude })) {
      count();
      const name = relative(folder, join(found.parentPath, found.name)).replaceAll(sep, "/");
      const parts = name.split("/");
      if (name !== "" && !parts.includes("..") && !parts.includes(".git")) names.add(name);
    }
  return [...names].sort();
}

/** The facts that change with the content of a file: a program may set its time back, but not that of the last change. */
export type FileVersion = readonly bigint[];

interface FileFacts {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

function versionOf({ dev, ino, size, mtimeNs, ctimeNs }: FileFacts): FileVersion {
  return [dev, ino, size, mtimeNs, ctimeNs];
}

/** Checks whether the file at a path is the one that was selected, unchanged. */
export async function isUnchanged({ path, version }: SelectedFile): Promise<boolean> {
  const found = await lstat(path, { bigint: true }).catch(() => undefined);
  return found !== undefined && versionOf(found).every((fact, index) => fact === version[index]);
}

function refuse(reason: string, message: string, details: object): never {
  throw new StoreError("invalid_input", message, { details: { reason, ...details } });
}
