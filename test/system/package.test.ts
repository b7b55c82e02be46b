// Installs the packed tarball into an empty folder, without Python or a compiler, and uses it from JavaScript and from
// TypeScript: it opens a store, runs a pool and follows a log. Also checks what a Node that is too old prints.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import {
  accessSync,
  constants,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { temporaryFolder } from "../support/temporaryFolder.ts";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../../", import.meta.url));
const folder = temporaryFolder();
const consumer = join(folder, "consumer");

/** Returns all programs with this name on PATH, in order. */
function programsOnPath(name: string): string[] {
  const candidates = (process.env.PATH ?? "").split(delimiter).map((directory) => join(directory, name));
  return candidates.filter((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** The only folder on PATH: it holds node, sh and env, so that an installation cannot fall back on other programs. */
const tools = join(folder, "tools");
const npm = process.env.npm_execpath ?? realpathSync(programsOnPath("npm")[0] as string);
const bareEnvironment = { ...process.env, PATH: tools };

before(async () => {
  mkdirSync(tools);
  symlinkSync(process.execPath, join(tools, "node"));
  for (const name of ["sh", "env"]) symlinkSync(programsOnPath(name)[0] as string, join(tools, name));
  // Packing builds, so it works on a copy, in which node_modules is a link.
  const source = join(folder, "source");
  mkdirSync(source);
  for (const name of readdirSync(root)) {
    if (!["node_modules", "dist", "test", "bench"].includes(name) && !name.startsWith("."))
      cpSync(join(root, name), join(source, name), { recursive: true });
  }
  symlinkSync(join(root, "node_modules"), join(source, "node_modules"));
  await run(process.execPath, [npm, "pack", "--pack-destination", folder], { cwd: source });
  const tarball = readdirSync(folder).find((name) => name.endsWith(".tgz")) as string;
  mkdirSync(consumer);
  writeFileSync(
    join(consumer, "package.json"),
    JSON.stringify({ private: true, type: "module", allowScripts: { "better-sqlite3": false } }),
  );
  await run(process.execPath, [npm, "install", join(folder, tarball), "--no-audit", "--no-fund", "--prefer-offline"], {
    cwd: consumer,
    env: bareEnvironment,
  });
});

const opening = `import { createRunnerPool, openStore, StoreError } from "debug-server-db";
import { runnerOperations } from "debug-server-db/runner";
import { fixtures, openTestStore } from "debug-server-db/testing";
`;

/** The rest of the program, which is valid JavaScript and valid TypeScript in strict mode. */
const body = `
const store = await openStore({ url: "sqlite:data/store.db" });
const repository = await store.repositories.upsert({ name: "demo", worktreeRoot: "/srv/worktrees" });
const { session } = await store.sessions.create({ repositoryId: repository.id, commitSha: "a".repeat(40), commands: [{ argv: ["echo", "hello"] }] });
const pool = createRunnerPool(store, { filename: new URL(runnerModule, import.meta.url), threads: 1, operations: ["runners.*", "commands.*", "logs.*"] });
const running = pool.run({ sessionId: session.id });
const { items: [command] } = await store.commands.list({ sessionId: session.id });
if (command === undefined) throw new Error("no command");
let text = "";
for await (const chunk of store.logs.follow({ commandId: command.id })) text += Buffer.from(chunk.data).toString();
const { state } = await store.commands.wait({ commandId: command.id });
await running;
await pool.close();
await store.close();
const again = await openStore({ url: "sqlite:data/store.db", migrate: "never" });
const { chunks } = await again.logs.read({ commandId: command.id });
const { manifest } = await again.backup();
await again.close();
const memory = await openTestStore();
const { worktree } = await fixtures(memory).worktree();
const code = await memory.sessions.get({ sessionId: worktree.id }).catch((error) => (error instanceof StoreError ? error.code : "other"));
await memory.close();
console.log(JSON.stringify({ text, state, chunks: chunks.length, worktree: worktree.state, code, sessionsInBackup: manifest.rows.sessions }));
`;

const runnerBody = `
  const runner = await store.runners.register({ name: "packed" });
  const claim = await store.commands.claim({ runnerId: runner.id, sessionId: task.sessionId });
  if (claim === undefined) throw new Error("nothing to do");
  const lease = { commandId: claim.command.id, fence: claim.fence };
  await store.logs.append({ ...lease, offset: 0, data: new TextEncoder().encode("hello ") });
  await store.logs.append({ ...lease, offset: 6, data: new TextEncoder().encode("world") });
  await store.commands.finish({ ...lease, outcome: "succeeded", logOffset: 11 });
`;

const expected = {
  text: "hello world",
  state: "succeeded",
  chunks: 2,
  worktree: "idle",
  code: "not_found",
  sessionsInBackup: 1,
};

function write(name: string, content: string): void {
  writeFileSync(join(consumer, name), content);
}

async function runInConsumer(file: string): Promise<unknown> {
  rmSync(join(consumer, "data"), { recursive: true, force: true });
  const { stdout } = await run(process.execPath, [file], { cwd: consumer, env: bareEnvironment, timeout: 60_000 });
  return JSON.parse(stdout);
}

test("the tarball contains what it needs, and no sources", () => {
  const names = readdirSync(join(consumer, "node_modules/debug-server-db")).toSorted();
  for (const name of ["bin", "dist", "migrations", "LICENSE", "README.md", "package.json"])
    assert.ok(names.includes(name), name);
  for (const name of ["src", "test", "bench", "workers", "node_modules"]) assert.ok(!names.includes(name), name);
});

test("the links of the README point to files of the tarball", () => {
  const installed = join(consumer, "node_modules/debug-server-db");
  const links = [...readFileSync(join(installed, "README.md"), "utf8").matchAll(/\]\(([^)#:]+)[^):]*\)/g)];
  const missing = links.map(([, path]) => path as string).filter((path) => !existsSync(join(installed, path)));
  assert.ok(links.length > 10);
  assert.deepEqual(missing, []);
});

test("from JavaScript, the package opens a store, runs a pool, follows a log and reads it back", async () => {
  write("runner.js", `export default async (task, { store }) => {${runnerBody}};\n`);
  write("main.js", `${opening}const runnerModule = "./runner.js";${body}`);
  assert.deepEqual(await runInConsumer("main.js"), expected);
});

test("from TypeScript, the package compiles in strict mode, then runs by type stripping", async () => {
  write(
    "runner.ts",
    `import type { RunnerTask } from "debug-server-db";\nconst run: RunnerTask<{ sessionId: string }> = async (task, { store }) => {${runnerBody}};\nexport default run;\n`,
  );
  const wrong = `// @ts-expect-error the declared types are not any
void (() => store.repositories.upsert({ nam: "demo" }));\n`;
  write("main.ts", `${opening}const runnerModule: string = "./runner.ts";${body}${wrong}`);
  await compileInConsumer("main.ts", "runner.ts");
  assert.deepEqual(await runInConsumer("main.ts"), expected);
});

/** Compiles files of the consumer as strictly as TypeScript can. */
async function compileInConsumer(...files: readonly string[]): Promise<void> {
  const compilerOptions = {
    ...{
      strict: true,
      noEmit: true,
      skipLibCheck: false,
      target: "es2023",
      lib: ["es2024"],
      module: "nodenext",
      allowImportingTsExtensions: true,
    },
    ...{
      erasableSyntaxOnly: true,
      verbatimModuleSyntax: true,
      types: ["node"],
      typeRoots: [join(root, "node_modules/@types")],
    },
  };
  write("tsconfig.json", JSON.stringify({ compilerOptions, files }));
  await run(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", consumer]).catch(({ stdout }) =>
    assert.fail(stdout),
  );
}

test("the entry for OpenTelemetry runs and compiles", async () => {
  write(
    "traced.ts",
    `import { openStore } from "debug-server-db";
import { type InstrumentOptions, instrumentStores } from "debug-server-db/opentelemetry";
const options: InstrumentOptions = {};
const stop: () => void = instrumentStores(options);
const store = await openStore({ url: "sqlite:data/traced.db" });
const { name } = await store.repositories.upsert({ name: "traced" });
await store.close();
stop();
console.log(JSON.stringify(name));
`,
  );
  // An application has a copy of its own.
  cpSync(join(root, "node_modules/@opentelemetry/api"), join(consumer, "node_modules/@opentelemetry/api"), {
    recursive: true,
  });
  assert.equal(await runInConsumer("traced.ts"), "traced");
  await compileInConsumer("traced.ts");
});

test("the entry for Kysely says what to install, and then runs and compiles", async () => {
  write(
    "kysely.ts",
    `import { openStore, StoreError } from "debug-server-db";
import { openKysely, type ReadingKysely } from "debug-server-db/kysely";
const url = "sqlite:data/kysely.db";
const store = await openStore({ url });
await store.repositories.upsert({ name: "read" });
try {
  const db: ReadingKysely = await openKysely({ url });
  const rows: { name: string; version: number }[] = await db.selectFrom("repositories").select(["name", "version"]).execute();
  await db.destroy();
  console.log(JSON.stringify(rows));
} catch (error) {
  console.log(JSON.stringify(error instanceof StoreError ? [error.code, error.message] : "other"));
}
await store.close();
`,
  );
  assert.deepEqual(await runInConsumer("kysely.ts"), [
    "incompatible",
    "openKysely needs the package kysely: run npm install kysely",
  ]);
  // An application has a copy of its own.
  cpSync(join(root, "node_modules/kysely"), join(consumer, "node_modules/kysely"), { recursive: true });
  assert.deepEqual(await runInConsumer("kysely.ts"), [{ name: "read", version: 1 }]);
  await compileInConsumer("kysely.ts");
});

test("the installed command prints its version", async () => {
  const { stdout } = await run(process.execPath, [join(consumer, "node_modules/.bin/debug-server-db"), "--version"], {
    cwd: consumer,
    env: bareEnvironment,
  });
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
});

test("the installed command migrates a store", async () => {
  const migrate = async (...args: readonly string[]) =>
    JSON.parse(
      (
        await run(
          process.execPath,
          [join(consumer, "node_modules/.bin/debug-server-db"), "migrate", ...args, "--json"],
          { cwd: consumer, env: bareEnvironment },
        )
      ).stdout,
    );
  const { to } = await migrate("upgrade", "--url", "sqlite:data/migrated.db");
  assert.equal((await migrate("current", "--url", "sqlite:data/migrated.db")).revision, to);
  assert.deepEqual(await migrate("check", "--url", "sqlite:data/migrated.db"), []);
});

test("the command exits with code 2 and one sentence when Node is too old", async (t) => {
  const bundled = dirname(process.execPath);
  for (const node of programsOnPath("node")) {
    if (node.startsWith(root) || realpathSync(dirname(node)) === realpathSync(bundled)) continue;
    const { stdout } = await run(node, ["--version"]);
    if (Number.parseInt(stdout.slice(1), 10) >= 22) continue;
    const failure = await run(node, [join(root, "bin/debug-server-db.mjs"), "demo"]).catch((error) => error);
    assert.equal(failure.code, 2);
    assert.equal(failure.stdout, "");
    assert.match(
      failure.stderr,
      /^debug-server-db needs Node 22\.18 or newer, and this is Node [\d.]+: install a newer Node and run it again\.\n$/,
    );
    return;
  }
  t.skip("no Node older than 22 is on PATH");
});
