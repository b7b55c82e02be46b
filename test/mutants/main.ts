// Shows that the tests notice faults: applies one mutation at a time to a copy of the sources and runs the tests that
// must fail.
//
//   npm run test:mutants                    all mutations
//   npm run test:mutants -- WORD [WORD...]  those whose file or rule contains one of the words
import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { sharePostgres } from "../support/sharedPostgres.ts";
import { type Mutation, mutated, mutations } from "./mutations.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** The time after which a run of tests counts as hanging, which also means that the tests notice the fault. */
const giveUpMs = 180_000;

interface TestRun {
  readonly passed: number;
  readonly failed: number;
  readonly hung: boolean;
  readonly output: string;
}

type Verdict = { readonly killed: boolean; readonly text: string };

/** Copies everything that the tests read. Each worker has its own copy, so that mutations do not meet. */
function copySources(): string {
  const copy = mkdtempSync(join(tmpdir(), "mutants-"));
  for (const name of [
    "bin",
    "docs",
    "migrations",
    "src",
    "test",
    "workers",
    "README.md",
    "package.json",
    "tsconfig.json",
  ])
    cpSync(join(root, name), join(copy, name), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  return copy;
}

function runNode(
  args: readonly string[],
  cwd: string,
): Promise<{ output: string; code: number | null; hung: boolean }> {
  const child = spawn(process.execPath, args, { cwd, env: environment, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (part) => (output += part));
  let hung = false;
  const timer = setTimeout(() => {
    hung = true;
    child.kill("SIGKILL");
  }, giveUpMs);
  return new Promise((resolve) =>
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ output, code, hung });
    }),
  );
}

// Without this, a test runner that runs inside another one reports to it.
const environment: NodeJS.ProcessEnv = { ...process.env, NODE_TEST_CONTEXT: undefined };

async function runTests({ tests, only }: Mutation, copy: string): Promise<TestRun> {
  const filter = only === undefined ? [] : [`--test-name-pattern=${only}`];
  const { output, hung } = await runNode(
    ["--test", "--test-reporter=tap", "--test-timeout=60000", "--test-force-exit", ...filter, ...tests],
    copy,
  );
  const count = (word: string) => Number(new RegExp(`^# ${word} (\\d+)$`, "m").exec(output)?.[1] ?? 0);
  return { passed: count("pass"), failed: count("fail") + count("cancelled"), hung, output };
}

/** Fails unless the tests of a mutation pass on the sources as they are. */
async function requireSoundTests(mutation: Mutation, copy: string): Promise<void> {
  const { passed, failed, hung, output } = await runTests(mutation, copy);
  if (passed > 0 && failed === 0 && !hung) return;
  console.error(output);
  throw new Error(
    `${labelOf(mutation)}: the tests do not pass without the mutation (${passed} passed, ${failed} failed)`,
  );
}

async function judge(mutation: Mutation, copy: string): Promise<Verdict> {
  const path = join(copy, mutation.file);
  const original = readFileSync(path, "utf8");
  writeFileSync(path, mutated(original, mutation));
  try {
    // A mutation that only breaks the import of its file would be killed by every test.
    const load = await runNode(
      ["--input-type=module", "-e", `await import(${JSON.stringify(pathToFileURL(path).href)})`],
      copy,
    );
    if (load.code !== 0) throw new Error(`${labelOf(mutation)}: the mutated file does not load\n${load.output}`);
    const { failed, hung } = await runTests(mutation, copy);
    if (hung) return { killed: true, text: "killed: the tests hang" };
    if (failed > 0) return { killed: true, text: `killed: ${failed} failed` };
    return { killed: false, text: "ALIVE" };
  } finally {
    writeFileSync(path, original);
  }
}

function labelOf({ file, rule }: Mutation): string {
  return `${file}: ${rule}`;
}

/** Calls `work` for each item, with as many at a time as there are copies. */
async function shareOut<Item>(
  items: readonly Item[],
  copies: readonly string[],
  work: (item: Item, copy: string) => Promise<void>,
): Promise<void> {
  const left = items.values();
  await Promise.all(
    copies.map(async (copy) => {
      for (const item of left) await work(item, copy);
    }),
  );
}

async function main(words: readonly string[]): Promise<void> {
  const chosen = mutations.filter(
    (mutation) => words.length === 0 || words.some((word) => labelOf(mutation).includes(word)),
  );
  if (chosen.length === 0) throw new Error(`no mutation matches ${words.join(" ")}`);
  const postgres = await sharePostgres();
  Object.assign(environment, postgres.env);
  const copies = Array.from({ length: availableParallelism() }, copySources);
  try {
    const commands = new Map(chosen.map((mutation) => [JSON.stringify([mutation.tests, mutation.only]), mutation]));
    console.log(`${chosen.length} mutations; first their ${commands.size} test commands on the sources as they are`);
    await shareOut([...commands.values()], copies, requireSoundTests);
    const alive: Mutation[] = [];
    await shareOut(chosen, copies, async (mutation, copy) => {
      const startedAtMs = performance.now();
      const { killed, text } = await judge(mutation, copy);
      if (!killed) alive.push(mutation);
      console.log(
        `${text.padEnd(24)} ${((performance.now() - startedAtMs) / 1_000).toFixed(1).padStart(5)} s  ${labelOf(mutation)}`,
      );
    });
    console.log(`\n${chosen.length - alive.length} of ${chosen.length} mutants killed`);
    for (const mutation of alive)
      console.log(`alive: ${labelOf(mutation)}\n  should fail: ${mutation.tests.join(" ")}`);
    if (alive.length > 0) process.exitCode = 1;
  } finally {
    for (const copy of copies) rmSync(copy, { recursive: true, force: true });
    await postgres.close();
  }
}

await main(process.argv.slice(2));
