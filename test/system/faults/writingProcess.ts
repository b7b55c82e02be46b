// Writes as fast as it can, and prints the id of each acknowledged session, until it is killed.
import { newId, openStore } from "../../../src/index.ts";

const [, , url, repositoryId] = process.argv as [string, string, string, string];
const store = await openStore({ url });
await Promise.all(
  Array.from({ length: 16 }, async () => {
    for (;;) {
      const id = newId();
      await store.sessions.create({
        id,
        repositoryId,
        commitSha: "a".repeat(40),
        commands: [{ argv: ["true"] }, { argv: ["true"] }],
      });
      // Node writes to a pipe synchronously, and waits for its reader when the pipe is full.
      process.stdout.write(`${id}\n`);
    }
  }),
);
