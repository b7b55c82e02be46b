// Programs that are no file: from the command line and from standard input, as documentation and shells use them. Their
// threads are files, and start all the same.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { suite, test } from "node:test";
import { pathToFileURL } from "node:url";
import { temporaryFolder } from "../support/temporaryFolder.ts";

const source = (path: string) => JSON.stringify(pathToFileURL(join(import.meta.dirname, "../..", path)).href);

/** Uses every kind of thread: that of the database, that of a backup and those of a pool. */
function program(): string {
  const folder = JSON.stringify(temporaryFolder());
  return `
    const use = async () => {
      const { createRunnerPool, openStore } = await import(${source("src/index.ts")});
      await using store = await openStore({ url: "sqlite:" + ${folder} + "/store.db" });
      await store.repositories.upsert({ name: "a" });
      await store.backup();
      const pool = createRunnerPool(store, { filename: ${source("test/support/runnerTask.ts")}, threads: 1 });
      const page = await pool.run({ type: "call", call: ["repositories.list", {}, {}], aborted: false });
      await pool.close();
      console.log("rows:", page.items.length);
    };`;
}

async function run(flags: readonly string[], { stdin = "", env = {} } = {}): Promise<{ out: string; code: unknown }> {
  const child = spawn(process.execPath, flags, { env: { ...process.env, ...env } });
  child.stdin.end(stdin);
  const ended = new Promise((resolve) => child.once("close", resolve));
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { out: stdout + stderr, code: await ended };
}

/** A loader, which the threads need as much as the program: it may be what reads their TypeScript. */
const preload = ["--import", "data:text/javascript,import { writeSync } from 'node:fs'; writeSync(1, 'loaded\\n');"];

suite("a program from the command line or standard input opens a store", { concurrency: 2 }, () => {
  const asModule = `${program()} await use();`;
  const asScript = `${program()} use();`;
  for (const [title, flags, options] of [
    ["--input-type=module --eval", [...preload, "--input-type=module", "--eval", asModule], {}],
    ["--input-type commonjs -e", [...preload, "--input-type", "commonjs", "-e", asScript], {}],
    ["--eval without a type", [...preload, "--eval", asModule], {}],
    ["-p", [...preload, "-p", asScript], {}],
    ["standard input", [...preload, "--input-type=module"], { stdin: asModule }],
    ["standard input, named", [...preload, "--input-type=module", "-"], { stdin: asModule }],
    [
      "a flag of the whole process beside it",
      [...preload, "--max-old-space-size=500", "--input-type=module", "-e", asModule],
      {},
    ],
    ["NODE_OPTIONS", [...preload, "-e", asModule], { env: { NODE_OPTIONS: "--input-type=module --no-warnings" } }],
  ] as const)
    test(title, async () => {
      const { out, code } = await run(flags, options);
      assert.match(out, /^rows: 1$/m);
      assert.equal(out.split("loaded\n").length - 1, 4, `the program and its three threads: ${out}`);
      assert.equal(code, 0, out);
    });
});
