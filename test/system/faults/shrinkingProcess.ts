// Serves a file and makes it shrink, until it is killed. Prints a line for each time that the file has given space back.
import { openStore } from "../../../src/index.ts";

const [, , url] = process.argv as unknown as [string, string, string];
const store = await openStore({ url, limits: { upkeepEveryMs: 1, upkeepPercent: 1, freeBytes: 1, reapEveryMs: 0 } });
for (let shownBytes = 0; ; ) {
  const { vacuumed_bytes: bytes } = (await store.maintenance.stats()).database;
  if (Number(bytes) === shownBytes) continue;
  shownBytes = Number(bytes);
  console.log(`shrinking ${shownBytes}`);
}
