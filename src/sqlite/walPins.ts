// Finds out who keeps the WAL of a database from being emptied. SQLite does not tell, but Linux lists the locks of its
// readers with their processes (D-112).

import { readdirSync, readFileSync, readlinkSync, type Stats, statSync } from "node:fs";
import type { WalReader } from "../events.ts";

/** The locks of readers in the -shm file, one for each old state: https://www.sqlite.org/walformat.html#wal_locks */
const [firstLock, lastLock] = [123, 127];

interface HeldLock extends WalReader {
  readonly key: string;
}

/** The readers of a WAL that nobody can empty. A reader that is seen twice in a row is one of those who keep it. */
export class WalPins {
  readonly #path: string;
  #held: readonly HeldLock[] = [];
  #readers: readonly WalReader[] | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** The readers that were found; none when they are not known. Undefined when nobody keeps the WAL. */
  get readers(): readonly WalReader[] | undefined {
    return this.#readers;
  }

  /** Looks who reads, while nobody can empty the WAL. The connections of this thread must not be reading meanwhile. */
  look(): void {
    const before = new Set(this.#held.map(({ key }) => key));
    this.#held = heldLocks(this.#path);
    this.#readers = distinct(this.#held.filter(({ key }) => before.has(key)));
  }

  clear(): void {
    this.#held = [];
    this.#readers = undefined;
  }
}

/** Names readers in one line. */
export function describeReaders(readers: readonly WalReader[] | undefined): string {
  if (readers === undefined) return "";
  if (readers.length === 0) return "unknown";
  return readers.map(({ kind, pid, command }) => `${kind} ${pid}${command === null ? "" : ` (${command})`}`).join(", ");
}

function distinct(locks: readonly HeldLock[]): readonly WalReader[] {
  const readers = new Map(locks.map(({ kind, pid, command }) => [pid, { kind, pid, command }]));
  return [...readers.values()];
}

/**
 * Lists the locks that readers hold. Empty where the system does not list locks. The -shm file must not be opened for
 * it: to close it would release the locks of this process (https://www.sqlite.org/howtocorrupt.html).
 */
function heldLocks(path: string): readonly HeldLock[] {
  const shm = `${path}-shm`;
  try {
    const file = statSync(shm);
    return readFileSync("/proc/locks", "utf8")
      .split("\n")
      .flatMap((line) => {
        const [, type, , access, pid, place = "", start, end] = line.trim().split(/\s+/);
        const isReader = type === "POSIX" && access === "READ" && Number(pid) > 0;
        if (!isReader || Number(start) < firstLock || Number(end) > lastLock) return [];
        const reader = readerOf(Number(pid), place, file);
        return reader === undefined ? [] : [{ ...reader, key: `${pid} ${start}` }];
      });
  } catch {
    return [];
  }
}

/** Returns undefined when the lock is on another file: file systems have inodes of the same number. */
function readerOf(pid: number, place: string, file: Stats): WalReader | undefined {
  const [major, minor, inode] = place.split(":");
  if (Number(inode) !== file.ino) return undefined;
  const command = commandOf(pid);
  if (pid === process.pid) return { kind: "self", pid, command };
  const files = openFiles(pid);
  if (files === undefined) {
    // The files of another user's process are hidden. The device differs on some file systems, so it is no proof.
    const sameDevice = `${major}:${minor}` === deviceOf(file.dev);
    return sameDevice ? { kind: "process", pid, command } : undefined;
  }
  if (!files.some(({ dev, ino }) => dev === file.dev && ino === file.ino)) return undefined;
  return {
    kind: files.some(({ target }) => /\.partial(?:-journal)?$/.test(target)) ? "backup" : "process",
    pid,
    command,
  };
}

interface OpenedFile {
  readonly dev: number;
  readonly ino: number;
  readonly target: string;
}

function openFiles(pid: number): readonly OpenedFile[] | undefined {
  const folder = `/proc/${pid}/fd`;
  try {
    return readdirSync(folder).flatMap((fd) => {
      const found = statSync(`${folder}/${fd}`, { throwIfNoEntry: false });
      return found === undefined ? [] : [{ dev: found.dev, ino: found.ino, target: readlinkSync(`${folder}/${fd}`) }];
    });
  } catch {
    return undefined;
  }
}

/** Returns the name of a process without its arguments, which may hold secrets. */
function commandOf(pid: number): string | null {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return null;
  }
}

/** Returns a device as Linux lists it: https://man7.org/linux/man-pages/man3/makedev.3.html */
function deviceOf(dev: number): string {
  const high = Math.floor(dev / 2 ** 32);
  const major = ((dev >>> 8) & 0xfff) | (high & ~0xfff);
  const minor = (dev & 0xff) | ((dev >>> 12) & 0xfff00);
  return [major, minor].map((part) => part.toString(16).padStart(2, "0")).join(":");
}
