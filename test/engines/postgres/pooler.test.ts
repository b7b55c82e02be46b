// A connection pooler between store and server: PgBouncer, which the system installs, in each of its modes.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { openStore } from "../../../src/index.ts";
import { ask, dropDatabase, newDatabase } from "../../support/postgres.ts";
import { freePort } from "../../support/postgresServer.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "../../system/faults/until.ts";

function isInstalled(): boolean {
  try {
    execFileSync("pgbouncer", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** Starts PgBouncer in front of the server of a database. Returns the URL of the database through it. */
async function startPooler(t: TestContext, url: string, mode: string): Promise<string> {
  const server = new URL(url);
  const folder = temporaryFolder();
  chmodSync(folder, 0o755);
  const config = join(folder, "pgbouncer.ini");
  const port = await freePort();
  writeFileSync(
    config,
    `[databases]
* = host=${server.hostname} port=${server.port} user=${server.username} password=${server.password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = ${mode}
`,
  );
  // It refuses to run as root.
  const as = process.getuid?.() === 0 ? ["--user", "nobody"] : [];
  const pooler = spawn("pgbouncer", ["--quiet", ...as, config], { stdio: "ignore" });
  t.after(() => void pooler.kill("SIGKILL"));
  server.port = String(port);
  await until(() =>
    ask(server.href, "SELECT 1").then(
      () => true,
      () => false,
    ),
  );
  return server.href;
}

const limits = { reapEveryMs: 0, connections: 2 };

for (const mode of ["transaction", "statement", "session"])
  test(`a pooler in ${mode} mode ${mode === "session" ? "works" : "is refused with one sentence"}`, async (t) => {
    if (!isInstalled()) return t.skip("there is no pgbouncer");
    const url = await newDatabase();
    t.after(() => dropDatabase(url));
    const pooled = await startPooler(t, url, mode);
    if (mode === "session") {
      const store = await openStore({ url: pooled, limits });
      await store.repositories.upsert({ name: "a" });
      assert.equal((await store.repositories.list()).items.length, 1);
      await store.close();
      return;
    }
    await assert.rejects(openStore({ url: pooled, limits }), {
      code: "incompatible",
      message: /a connection pooler that does not keep sessions .*pool_mode to session/,
    });
    // The connections of the pooler keep nothing of it.
    const held = `
      SELECT 1 FROM pg_locks
      WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`;
    assert.deepEqual(await ask(url, held), []);
  });
