// Runs the tests: all of them, the fast ones with --fast, or those in the files and folders that are named. The unit
// tests share one process. The other files run side by side, because most of their time is spent waiting.
import { existsSync, globSync, statSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { pipeline } from "node:stream/promises";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { parseArgs } from "node:util";
import { bundleWorkers } from "./support/bundleWorkers.ts";
import { sharePostgres } from "./support/sharedPostgres.ts";

const usage = `Usage: npm test                    runs all tests
       npm test -- [FILE|FOLDER...] [--test-name-pattern PATTERN] [--test-skip-pattern PATTERN]
                                   [--test-concurrency NUMBER] [--test-timeout MILLISECONDS]
       npm run test:fast           runs the unit tests, and the conformance suite in memory`;

const root = resolve(import.meta.dirname, "..");

/** The tiers by folder, the one with the longest files first, so that no long file is left to the end. */
const tiers = ["conformance", "system", "engines", "unit"];
const unitFolder = join(root, "test/unit");
const unitTests = join(unitFolder, "all.ts");

function parse() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        fast: { type: "boolean", default: false },
        "test-name-pattern": { type: "string", multiple: true },
        "test-skip-pattern": { type: "string", multiple: true },
        "test-concurrency": { type: "string", default: "3" },
        "test-timeout": { type: "string", default: "600000" },
      },
    });
  } catch (error) {
    return refuse((error as Error).message);
  }
}

function refuse(message: string): never {
  console.error(`test: ${message}\n${usage}`);
  process.exit(2);
}

function filesIn(path: string): readonly string[] {
  const place = resolve(path);
  if (!existsSync(place)) return refuse(`${path}: there is no such file or folder`);
  if (!statSync(place).isDirectory()) return [place];
  if (place === unitFolder) return [unitTests];
  const files = globSync("**/*.test.ts", { cwd: place }).toSorted();
  if (files.length === 0) return refuse(`${path}: the folder holds no *.test.ts`);
  return files.map((file) => join(place, file));
}

const { values, positionals } = parse();
const places = values.fast
  ? [unitFolder, join(root, "test/conformance/memory.test.ts")]
  : tiers.map((tier) => join(root, "test", tier));
const files = (positionals.length > 0 ? positionals : places).flatMap(filesIn);

const postgres = await sharePostgres();
const interruption = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    process.exitCode = 130;
    interruption.abort();
  });
}

const stream = run({
  files,
  concurrency: Number(values["test-concurrency"]),
  timeout: Number(values["test-timeout"]),
  testNamePatterns: values["test-name-pattern"],
  testSkipPatterns: values["test-skip-pattern"],
  signal: interruption.signal,
  env: {
    // Node then strips and compiles each source once, not in every process and thread: that halves their start.
    NODE_COMPILE_CACHE: join(root, "node_modules/.cache/tests"),
    ...process.env,
    ...postgres.env,
    ...(await bundleWorkers(process.env)),
  },
});

const durations: { readonly file: string; readonly tests: number; readonly ms: number }[] = [];
stream.on("test:summary", ({ file, counts, duration_ms: ms, success }) => {
  if (file !== undefined) durations.push({ file: relative(root, file), tests: counts.tests, ms });
  else if (!success) process.exitCode ??= 1;
});

/** A file whose test failed may have left a thread or a connection open, and then its process does not end. */
const running = new Set<string>();
const silenceMsMax = 300_000;
const giveUp = setTimeout(() => {
  console.error(`test: nothing has happened for ${inSeconds(silenceMsMax)}; still running: ${[...running].join(", ")}`);
  interruption.abort();
}, silenceMsMax);
stream.on("test:dequeue", ({ name, file }) => {
  if (isFile(name, file)) running.add(relative(root, name));
});
stream.on("test:complete", ({ name, file }) => {
  giveUp.refresh();
  if (isFile(name, file)) running.delete(relative(root, name));
});

await pipeline(stream, new spec(), process.stdout, { end: false }).finally(postgres.close);
clearTimeout(giveUp);
printDurations();
if (values.fast) console.log("These were the fast tests. `npm test` runs all of them.");

/** The files of a tier run beside those of others, so its time is the sum over its files, and not that of a clock. */
function printDurations(): void {
  for (const tier of tiers) {
    const own = durations.filter(({ file }) => file.startsWith(`test/${tier}/`));
    if (own.length === 0) continue;
    const [tests, ms] = [sumOf(own.map((each) => each.tests)), sumOf(own.map((each) => each.ms))];
    console.log(`${tier}: ${tests} tests in ${own.length} files, ${inSeconds(ms)}`);
  }
  const slowest = durations.toSorted((one, other) => other.ms - one.ms).slice(0, 5);
  if (slowest.length > 1)
    console.log(`slowest: ${slowest.map(({ file, ms }) => `${file} ${inSeconds(ms)}`).join(", ")}`);
}

/** The runner reports a file like a test whose name is its path. */
function isFile(name: string, file: string | undefined): boolean {
  return file !== undefined && resolve(name) === file;
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0);
}

function inSeconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
