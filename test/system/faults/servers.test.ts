// Several servers of one file: each learns of the others that live, in this process or in another one, and of none that
// was killed.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { hostname } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { openStore, type StoreEvent } from "../../../src/index.ts";
import { stopWithoutLock } from "../../support/stoppedProcess.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "./until.ts";

const script = fileURLToPath(new URL("./servingProcess.ts", import.meta.url));

const newPath = (): string => join(temporaryFolder(), "store.db");

async function serve(t: TestContext, path: string) {
  const others: StoreEvent[] = [];
  const store = await openStore({
    url: `sqlite:${path}`,
    limits: { fileCheckEveryMs: 10 },
    onEvent: (event) => void (event.type === "second_server" && others.push(event)),
  });
  t.after(() => store.close());
  return { store, others };
}

/** Starts a server process; `wrapper` is a command that runs it, such as one that makes namespaces. */
async function start(t: TestContext, path: string, wrapper: readonly string[] = []) {
  const [command, ...args] = [...wrapper, process.execPath, script, `sqlite:${path}`];
  const child = spawn(command as string, args, { stdio: ["pipe", "pipe", "inherit"] });
  const lines: string[] = [];
  createInterface(child.stdout).on("line", (line) => lines.push(line));
  const exited = once(child, "exit");
  t.after(() => void child.kill("SIGKILL"));
  await until(() => lines.includes("open"));
  return {
    lines,
    pid: child.pid as number,
    others: () => lines.filter((line) => line.startsWith("second_server")),
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
    async close() {
      child.stdin.end();
      await exited;
    },
  };
}

function serverRows(path: string): readonly unknown[] {
  const db = new Database(path, { readonly: true });
  try {
    return db.prepare("SELECT key FROM store_meta WHERE key LIKE 'server %'").all();
  } finally {
    db.close();
  }
}

test("two stores on one file in one process learn of each other, once", async (t) => {
  const path = newPath();
  const first = await serve(t, path);
  const second = await serve(t, path);
  const self = { type: "second_server", pid: process.pid, host: hostname() };
  await until(() => first.others.length > 0 && second.others.length > 0);
  const third = await serve(t, path);
  await until(() => first.others.length > 1 && second.others.length > 1 && third.others.length > 1);
  assert.deepEqual(
    [first.others, second.others, third.others],
    [
      [self, self],
      [self, self],
      [self, self],
    ],
  );
  for (const { store } of [first, second, third]) await store.close();
  assert.deepEqual(serverRows(path), []);
});

test("servers of two processes learn of each other, and a visitor is none", async (t) => {
  const path = newPath();
  const { store, others } = await serve(t, path);
  const visitor = await openStore({ url: `sqlite:${path}`, role: "visitor" });
  await visitor.repositories.upsert({ name: "visited" });
  const process2 = await start(t, path);
  await until(() => others.length > 0 && process2.others().length > 0);
  assert.deepEqual(others, [{ type: "second_server", pid: process2.pid, host: hostname() }]);
  assert.deepEqual(process2.others(), [`second_server ${process.pid} ${hostname()}`]);
  await visitor.close();
  await process2.close();
  await store.close();
  assert.deepEqual(serverRows(path), []);
});

test("a server that was killed is announced to nobody, and its row goes away", async (t) => {
  const path = newPath();
  for (let times = 0; times < 2; times++) await (await start(t, path)).kill();
  assert.ok(serverRows(path).length > 0);
  const { others } = await serve(t, path);
  await until(() => serverRows(path).length === 1);
  assert.deepEqual(others, []);
});

test("rows of servers that were killed at once after their start do not add up", async (t) => {
  const path = newPath();
  await (await serve(t, path)).store.close();
  const db = new Database(path);
  const insert = db.prepare("INSERT INTO store_meta (key, value) VALUES (?, '1 1 gone')");
  for (let row = 0; row < 200; row++) insert.run(`server ${String(row).padStart(3, "0")}`);
  db.close();
  const store = await openStore({ url: `sqlite:${path}`, limits: { fileCheckEveryMs: 0 } });
  t.after(() => store.close());
  assert.equal(serverRows(path).length, 17);
});

test("a server whose row was taken away because it did not answer is known again when it goes on", async (t) => {
  const path = newPath();
  const stopped = await start(t, path);
  await stopWithoutLock(stopped.pid, path);
  const { others } = await serve(t, path);
  await until(() => serverRows(path).length === 1);
  assert.deepEqual(others, []);
  process.kill(stopped.pid, "SIGCONT");
  await until(() => others.length > 0 && stopped.others().length > 0);
  assert.equal(others.length, 1);
});

const container = (name: string) => [
  "unshare",
  "--uts",
  "--pid",
  "--fork",
  "--kill-child",
  "sh",
  "-c",
  `hostname ${name} && exec "$@"`,
  "sh",
];
const [makes, ...how] = container("probe");
const namespaces = spawnSync(makes as string, [...how, "true"]);
const skip = namespaces.status === 0 ? false : "namespaces may not be created here";

test("of containers whose servers are all process 1, those that run together are announced, and killed ones are not", {
  skip,
}, async (t) => {
  const path = newPath();
  await (await start(t, path, container("one"))).kill();
  await until(() => serverRows(path).length === 1);
  const second = await start(t, path, container("two"));
  await until(() => serverRows(path).length === 1);
  assert.deepEqual(second.others(), []);
  const third = await start(t, path, container("three"));
  await until(() => second.others().length > 0 && third.others().length > 0);
  assert.deepEqual([second.others(), third.others()], [["second_server 1 three"], ["second_server 1 two"]]);
});
