// The URLs of libpq: several servers, of which one is away and one a standby, and a folder of sockets.
import assert from "node:assert/strict";
import { chmodSync } from "node:fs";
import { test } from "node:test";
import { openStore } from "../../../src/index.ts";
import { ask, newDatabase, ownServer } from "../../support/postgres.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

const limits = { reapEveryMs: 0, connections: 1 };

test("of several servers, the first that writes is used; a folder of sockets is a host", async (t) => {
  const folder = temporaryFolder();
  chmodSync(folder, 0o777);
  const server = await ownServer("-c", `unix_socket_directories=${folder}`);
  t.after(() => server.remove());
  const url = await newDatabase(server);
  const { port, pathname } = new URL(url);
  await (await openStore({ url, limits })).close();
  await server.stop();
  const standby = await server.startStandby();
  t.after(() => standby.stop());
  await server.start();
  const standbyPort = new URL(standby.url).port;
  for (const servers of [`127.0.0.1:1,127.0.0.1:${standbyPort},127.0.0.1:${port}`, `127.0.0.1:${port},127.0.0.1:1`]) {
    const store = await openStore({ url: `postgres://postgres:postgres@${servers}${pathname}`, limits });
    await store.repositories.upsert({ name: servers });
    await store.close();
  }
  const socketUrl = `postgres://postgres:postgres@${pathname}?host=${folder}&port=${port}`;
  const store = await openStore({ url: socketUrl, limits });
  assert.equal((await store.repositories.list()).items.length, 2);
  await store.close();
  await assert.rejects(
    openStore({
      url: `postgres://postgres:S3CRET@127.0.0.1:1,127.0.0.1:${standbyPort}${pathname}`,
      limits: { ...limits, busyGiveUpMs: 0 },
    }),
    ({ code, message }: { code: string; message: string }) => {
      assert.equal(code, "incompatible");
      assert.match(
        message,
        /^postgres:\/\/127\.0\.0\.1:1,127\.0\.0\.1:\d+\/test_\w+: the server refuses this user or password/,
      );
      return true;
    },
  );
  assert.equal((await ask(url, "SELECT 1 FROM repositories")).length, 2);
});
