// The first use of a token is on record soon, and stays there when the process is killed.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openStore } from "../../../src/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "./until.ts";

test("the first use of a token outlives a process that is killed", async (t) => {
  const path = join(temporaryFolder(), "store.db");
  const script = fileURLToPath(new URL("./tokenProcess.ts", import.meta.url));
  const child = spawn(process.execPath, [script, path], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  const [printed] = (await once(child.stdout, "data")) as [Buffer];
  const tokenId = printed.toString().trim();
  const store = await openStore({ url: `sqlite:${path}` });
  t.after(() => store.close());
  const lastUsedAt = async () => {
    for await (const token of store.tokens.all()) if (token.id === tokenId) return token.lastUsedAt;
    return undefined;
  };
  await until(async () => (await lastUsedAt()) instanceof Date);
  child.kill("SIGKILL");
  await once(child, "exit");
  assert.ok((await lastUsedAt()) instanceof Date);
});
