// A schema is not migrated while a server process uses it: the command waits, then names the server.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { hostname } from "node:os";
import { createInterface } from "node:readline";
import { suite, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { openStore } from "../../../src/index.ts";
import { readMigrations } from "../../../src/schema/migrationFiles.ts";
import { type Place, places } from "../../engines/migrate/places.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { run, startProcess } from "../cli/commandLine.ts";

const script = fileURLToPath(new URL("../faults/servingProcess.ts", import.meta.url));
const folder = temporaryFolder();
const [before, head] = readMigrations("sqlite")
  .slice(-2)
  .map(({ revision }) => revision) as [string, string];

/** Starts a server process, and resolves when it is open. */
async function serve(t: TestContext, url: string) {
  const child = spawn(process.execPath, [script, url], { stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => void child.kill("SIGKILL"));
  const exited = once(child, "exit");
  await once(createInterface(child.stdout), "line");
  return {
    pid: child.pid as number,
    async end() {
      child.stdin.end();
      await exited;
    },
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

async function newPlace(t: TestContext, open: () => Promise<Place>): Promise<Place> {
  const place = await open();
  t.after(() => place.remove());
  const store = await openStore({ url: place.url });
  await store.repositories.upsert({ name: "kept" });
  await store.close();
  return place;
}

const migrate = (url: string, ...args: readonly string[]) =>
  run(folder, ["migrate", ...args, "--no-backup", "--url", url]);

for (const [name, open] of Object.entries(places)) {
  suite(name, () => {
    test("upgrade and downgrade are refused with 4 while a server runs, and it is named and works on", async (t) => {
      const { url, query } = await newPlace(t, open);
      const server = await serve(t, url);
      const store = await openStore({ url });
      t.after(() => store.close());
      const refused = await migrate(url, "downgrade", "-1", "--allow-data-loss", "--lock-timeout-ms", "50");
      assert.equal(refused.code, 4, refused.stderr || refused.stdout);
      for (const part of [`${server.pid} `, hostname(), "end the servers and runners that use it"])
        assert.ok(refused.stderr.includes(part), refused.stderr);
      assert.equal((await store.repositories.upsert({ name: "kept" })).name, "kept");
      await store.close();
      await server.end();
      assert.equal((await migrate(url, "downgrade", "-1", "--allow-data-loss")).code, 0);
      assert.deepEqual(
        (await query("SELECT max(revision) AS revision FROM schema_migrations")).map(({ revision }) => revision),
        [before],
      );
      assert.equal((await migrate(url, "upgrade")).code, 0);
      const again = await serve(t, url);
      await again.end();
    });

    test("an upgrade with nothing to do succeeds beside a server", async (t) => {
      const { url } = await newPlace(t, open);
      const server = await serve(t, url);
      const { code, stderr } = await migrate(url, "upgrade", "--lock-timeout-ms", "50");
      assert.equal(code, 0, stderr);
      await server.end();
    });

    test("a waiting downgrade begins when the last server has ended, killed or not", async (t) => {
      const { url, query } = await newPlace(t, open);
      const first = await serve(t, url);
      const second = await serve(t, url);
      const args = ["migrate", "downgrade", "-1", "--allow-data-loss", "--no-backup", "--url", url];
      const waiting = startProcess(folder, [...args, "--lock-timeout-ms", "60000"]);
      await waiting.said("waiting for another process");
      await first.kill();
      assert.equal((await query("SELECT max(revision) AS revision FROM schema_migrations"))[0]?.revision, head);
      await second.end();
      assert.equal((await waiting.ended).code, 0);
      assert.equal((await query("SELECT max(revision) AS revision FROM schema_migrations"))[0]?.revision, before);
    });

    test("of three processes that upgrade at once, one does, and the others find nothing to do beside a server", async (t) => {
      const { url } = await newPlace(t, open);
      assert.equal((await migrate(url, "downgrade", "-1", "--allow-data-loss")).code, 0);
      const upgrading = Array.from({ length: 3 }, () =>
        startProcess(folder, ["migrate", "upgrade", "--json", "--url", url]),
      );
      // As a service starts: each of several hosts upgrades, then serves.
      const serving = upgrading.map(async ({ ended }) => {
        const { code, stdout, stderr } = await ended;
        assert.equal(code, 0, stderr);
        await (await serve(t, url)).end();
        return JSON.parse(stdout).steps.length as number;
      });
      assert.deepEqual((await Promise.all(serving)).sort(), [0, 0, 1]);
    });
  });
}
