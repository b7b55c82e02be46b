// A second process on the file: it creates a repository, or enqueues a command.
import { openStore } from "../../../src/index.ts";
import { present } from "../../../src/present.ts";

const [, , url, mode, repositoryId] = process.argv;
const store = await openStore(present({ url }));
if (mode === "enqueue") {
  await store.sessions.create({
    repositoryId: repositoryId as string,
    commitSha: "a".repeat(40),
    commands: [{ argv: ["from another process"] }],
  });
} else await store.repositories.upsert({ name: `by ${process.pid}` });
await store.close();
console.log("ok");
