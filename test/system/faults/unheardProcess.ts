// Opens a store, deletes its file, and writes. With a second argument the store has a listener, otherwise it has none.
import { rmSync } from "node:fs";
import { openStore } from "../../../src/index.ts";

const [, , path = "", listens] = process.argv;
const store = await openStore({
  url: `sqlite:${path}`,
  ...(listens === undefined ? {} : { [listens]: listens === "logger" ? silent() : () => undefined }),
});
await store.repositories.upsert({ name: "before" });
for (const suffix of ["", "-wal", "-shm"]) rmSync(`${path}${suffix}`);
for (let attempt = 0; attempt < 5; attempt++)
  await store.repositories.upsert({ name: "after" }).catch(({ code }: { code: string }) => console.log(code));
await store.close();

function silent(): object {
  return { info: () => undefined, warn: () => undefined, error: () => undefined };
}
