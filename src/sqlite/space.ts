// Tells a lack of space from other reasons why a file cannot be written. SQLite reports a full disk as such, but a quota
// (EDQUOT) and a limit of file sizes (EFBIG) as an I/O error, and does not pass on the reason of the system.

import { closeSync, openSync, rmSync, statSync, writeSync } from "node:fs";
import { isOutOfSpace } from "../files/privateFile.ts";
import { createWriterTag } from "../files/processes.ts";

/**
 * Returns true when a small file cannot be written beside a database for lack of space. It is written at the end of the
 * longest file of the database, with a hole before it, so a limit of file sizes applies to it too.
 */
export function lacksSpace(path: string): boolean {
  const probe = `${path}.${createWriterTag()}.partial`;
  const endBytes = Math.max(...["", "-wal"].map((suffix) => sizeOf(`${path}${suffix}`)));
  try {
    const fd = openSync(probe, "wx", 0o600);
    try {
      return writeSync(fd, new Uint8Array(probeBytes), 0, probeBytes, endBytes) < probeBytes;
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    return isOutOfSpace(error as NodeJS.ErrnoException);
  } finally {
    rmSync(probe, { force: true });
  }
}

/** The size of some pages, which is what one write of SQLite takes at most. */
const probeBytes = 65_536;

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
