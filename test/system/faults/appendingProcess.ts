// A second process on the file: it runs the session's command, and appends each line of its standard input to the log.
import { createInterface } from "node:readline";
import { openStore } from "../../../src/index.ts";

const [, , url, sessionId] = process.argv as [string, string, string, string];
const store = await openStore({ url });
const runner = await store.runners.register({ name: "elsewhere" });
const claim = await store.commands.claim({ runnerId: runner.id, sessionId, waitMs: 30_000 });
if (claim === undefined) throw new Error("nothing to claim");
const lease = { commandId: claim.command.id, fence: claim.fence };
let offset = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const data = new TextEncoder().encode(`${line}\n`);
  ({ ackOffset: offset } = await store.logs.append({ ...lease, offset, data }));
}
await store.commands.finish({ ...lease, outcome: "succeeded", logOffset: offset });
await store.close();
