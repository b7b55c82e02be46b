// A server that holds the lease of a worktree, is stopped for longer than the lease, and then renews it.
import { createInterface } from "node:readline";
import { openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";

const [, , url, limits] = process.argv as [string, string, string, string];
const store = await openStore({ url, limits: JSON.parse(limits) });
const { worktree, fence } = await fixtures(store).lease({ ttlMs: 1_000 });
const held = { worktreeId: worktree.id, fence };
console.log(JSON.stringify(held));
for await (const line of createInterface({ input: process.stdin })) {
  if (line === "close") break;
  await store.maintenance.reap();
  console.log(
    await store.worktrees.renew(held).then(
      () => "renewed",
      ({ code }) => code,
    ),
  );
}
await store.close();
process.exit();
