// A process that consumes the change feed, and prints each change before it acknowledges its page. Argument: the URL.
import { openStore } from "../../../src/index.ts";

const [, , url] = process.argv as [string, string, string];
const store = await openStore({ url });
process.stdout.write("ready\n");
for (let held: { fence?: number | null; handled?: number } = {}; ; ) {
  const input = { consumer: "printer", entity: "event", limit: 3, ttlMs: 1_500, waitMs: 600_000, ...held };
  const { changes, fence, nextSeq } = await store.changes.consume(input);
  for (const { seq } of changes) process.stdout.write(`${seq} ${fence}\n`);
  held = { fence, handled: nextSeq };
}
