// Another process on the file: runs the session's command, and waits for a line on its standard input before each chunk of its log.
import { createInterface } from "node:readline";
import { openStore } from "../../../src/index.ts";

const [, , url, sessionId] = process.argv as [string, string, string, string];
const store = await openStore({ url });
const runner = await store.runners.register({ name: "elsewhere" });
const claim = await store.commands.claim({ runnerId: runner.id, sessionId, waitMs: 30_000 });
if (claim === undefined) throw new Error("nothing to claim");
const held = { commandId: claim.command.id, fence: claim.fence };
let offset = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const data = new TextEncoder().encode(`${line}\n`);
  ({ ackOffset: offset } = await store.logs.append({ ...held, offset, data }));
}
await store.commands.finish({ ...held, outcome: "succeeded", logOffset: offset });
await store.close();
