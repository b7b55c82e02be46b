// Writes as fast as it is acknowledged, and prints what was acknowledged, until it is killed.
import { writeSync } from "node:fs";
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
      writeSync(1, `${id}\n`);
    }
  }),
);
