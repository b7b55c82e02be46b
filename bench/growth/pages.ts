// Counts the pages of a file that a call reads with empty caches. The number does not depend on what else the machine does,
// so it shows whether the cost of a call grows with the rows.
import { existsSync, readFileSync } from "node:fs";
import type { OwnedStore } from "../../src/index.ts";
import { openVisitor } from "../../src/store.ts";

const countFile = "/proc/thread-self/io";

/** True where the system counts the reads of a thread, as Linux does. */
export const canCountPages = existsSync(countFile);

/** Returns the number of reads of this thread so far, of which SQLite makes one for each page. */
function readsSoFar(): number {
  return canCountPages ? Number(/^syscr: (\d+)$/m.exec(readFileSync(countFile, "utf8"))?.[1]) : 0;
}

/**
 * Returns the number of pages that a call reads on a connection that was just opened, in this thread; for each of its units
 * when the call resolves to their number.
 */
export async function pagesOf(path: string, call: (store: OwnedStore) => Promise<unknown>): Promise<number> {
  const store = await openVisitor({ url: `sqlite:${path}`, migrate: "never" });
  try {
    // A look at the count makes reads itself.
    const looks = [readsSoFar(), readsSoFar()] as const;
    const before = readsSoFar();
    const units = await call(store);
    const pages = readsSoFar() - before - (looks[1] - looks[0]);
    return typeof units === "number" ? pages / units : pages;
  } finally {
    await store.close();
  }
}
