// A server process: it prints the other servers that it learns of, and closes its store when its input ends.
import { openStore } from "../../../src/index.ts";

const [, , url] = process.argv as unknown as [string, string, string];
const store = await openStore({
  url,
  limits: { fileCheckEveryMs: 10 },
  onEvent(event) {
    if (event.type === "second_server") console.log(`second_server ${event.pid} ${event.host}`);
  },
});
console.log("open");
for await (const _ of process.stdin);
await store.close();
