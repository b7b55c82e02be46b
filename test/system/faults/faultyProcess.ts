// Writes in waves while its system calls fail, and prints the answer to every call.
import { writeSync } from "node:fs";
import { newId, openStore, type StoreError } from "../../../src/index.ts";

const [, , url, repositoryId] = process.argv as [string, string, string, string];
const store = await openStore({ url, limits: { reapEveryMs: 0 } });
const commands = [{ argv: ["true"] }, { argv: ["true"] }];

async function write(): Promise<void> {
  const id = newId();
  const answer = await store.sessions.create({ id, repositoryId, commitSha: "a".repeat(40), commands }).then(
    () => "stored",
    ({ code, outcome }: StoreError) => `${code} ${outcome}`,
  );
  writeSync(1, `${id} ${answer}\n`);
}

for (let wave = 0; wave < 30; wave++) await Promise.all(Array.from({ length: 8 }, write));
// The failures have left the store in working order.
const { items } = await store.repositories.list();
const { ready, checks } = await store.maintenance.health();
await store.close();
writeSync(1, `end ${items.length} ${ready ? "ready" : checks.lastWrite.failed}\n`);
