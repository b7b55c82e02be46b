// Tells which process left a temporary file behind, and whether that process is still running.

import { createHash, randomBytes } from "node:crypto";
import { readFileSync, readlinkSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { realTime } from "../realTime.ts";

/** Returns true when a process of this host is running. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // EPERM: it is running, as another user.
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/**
 * Returns a new text for the name of a temporary file: no other process gets the same one, and `isAbandoned` tells from
 * it whether the writer is still running.
 */
export function createWriterTag(): string {
  return `${pidSpace()}-${process.pid}-${randomBytes(4).toString("hex")}`;
}

/** The form of a text that `createWriterTag` returns, as the source of a regular expression. */
export const writerTagForm = "[\\da-f]{8}-\\d+-[\\da-f]{8}";

/** The age beyond which a temporary file is abandoned if its writer cannot be checked. */
const abandonedMs = 3_600_000;

/**
 * Returns true when the writer of a temporary file is gone. A process of another container or host cannot be checked,
 * so its file must be old.
 */
export function isAbandoned(path: string, tag: string): boolean {
  const [space, pid] = tag.split("-");
  if (space === pidSpace()) return !isAlive(Number(pid));
  const writtenAtMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
  return writtenAtMs !== undefined && realTime.now() - writtenAtMs > abandonedMs;
}

let ownPidSpace: string | undefined;

/** Identifies the processes that this one can check: those of its pid namespace, under this boot of its kernel. */
function pidSpace(): string {
  ownPidSpace ??= createHash("sha256").update(describePidSpace()).digest("hex").slice(0, 8);
  return ownPidSpace;
}

function describePidSpace(): string {
  try {
    return `${readFileSync("/proc/sys/kernel/random/boot_id", "utf8")} ${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    // Not Linux.
    return hostname();
  }
}
