// Creates a git repository for a test of the command line, and runs commands: in this process, in a process of their
// own where signals, pipes, users or exit codes matter, and on a terminal.
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { chownSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { runCommandLine } from "../../../src/cli/program.ts";
import { openVisitor } from "../../../src/store.ts";
import type { OwnedStore } from "../../../src/storeTypes.ts";
import { assertSound } from "../../support/sound.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

export const bin = fileURLToPath(new URL("../../../bin/debug-server-db.mjs", import.meta.url));

const children = new Set<{ readonly cwd: string; readonly child: ChildProcess }>();

export interface WorkingFolder {
  /** A git repository with commits, unless none were asked for; also the folder in which commands are run. */
  readonly folder: string;
  readonly url: string;
}

export function workingFolder(
  t: TestContext,
  { commits = 3, init = true }: { readonly commits?: number; readonly init?: boolean } = {},
): WorkingFolder {
  const folder = temporaryFolder();
  t.after(() => {
    // A test that has failed may leave processes running.
    for (const { cwd, child } of children) if (cwd.startsWith(folder)) child.kill("SIGKILL");
  });
  if (init) git(folder, "init", "--quiet");
  for (let number = 1; init && number <= commits; number++) {
    writeFileSync(join(folder, `file-${number}.txt`), `line ${number}\n`);
    git(folder, "add", ".");
    git(folder, "commit", "--quiet", "--message", `Commit ${number}`);
  }
  return { folder, url: `sqlite:${join(folder, ".artifacts/data/metadata.db")}` };
}

export function git(cwd: string, ...args: readonly string[]): string {
  return execFileSync("git", ["-c", "user.name=test", "-c", "user.email=test@example.com", ...args], {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
}

export function entriesOf(folder: string): string[] {
  return readdirSync(folder).sort();
}

export function makeFolder(...parts: readonly string[]): string {
  const path = join(...parts);
  mkdirSync(path, { recursive: true });
  return path;
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Running {
  readonly pid: number;
  readonly ended: Promise<Ended>;
  /** Resolves to what stderr holds when it holds the text; rejects when the process ends before. */
  said(text: string | RegExp): Promise<string>;
  /** Does the same for stdout. */
  printed(text: string | RegExp): Promise<string>;
  kill(signal: NodeJS.Signals): void;
}

export interface RunOptions {
  readonly env?: NodeJS.ProcessEnv;
}

export interface ProcessOptions extends RunOptions {
  /** Another user, for a process that root starts. */
  readonly uid?: number;
}

/** Runs a command in this process, which takes a fraction of the time of a process of its own. */
export async function run(cwd: string, args: readonly string[], { env = {} }: RunOptions = {}): Promise<Ended> {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const texts = [text(stdout), text(stderr)] as const;
  // A server is interrupted as soon as it listens; other commands end by themselves.
  const interrupt = new AbortController();
  stdout.on("data", (piece: Buffer) => {
    if (piece.includes("listening on ")) interrupt.abort("SIGTERM");
  });
  const listenForInterrupt = () => ({ signal: interrupt.signal, [Symbol.dispose]: () => undefined });
  const surroundings = { cwd, env: { ...inheritedVariables(), ...env }, stdout, stderr, listenForInterrupt };
  const code = await runCommandLine(args, surroundings);
  stdout.end();
  stderr.end();
  return { code, stdout: await texts[0], stderr: await texts[1] };
}

export function runProcess(cwd: string, args: readonly string[], options: ProcessOptions = {}): Promise<Ended> {
  return startProcess(cwd, args, options).ended;
}

/** Returns the variables of this process without those that change what a command does or prints. */
export function inheritedVariables(): NodeJS.ProcessEnv {
  const { DEBUG_SERVER_DB_URL: _, NO_COLOR: __, FORCE_COLOR: ___, ...inherited } = process.env;
  return inherited;
}

export function startProcess(cwd: string, args: readonly string[], { env = {}, uid }: ProcessOptions = {}): Running {
  const child = spawn(process.execPath, [bin, ...args], {
    cwd,
    env: { ...inheritedVariables(), ...(uid === undefined ? {} : { NODE_COMPILE_CACHE: cacheOf(uid) }), ...env },
    stdio: ["ignore", "pipe", "pipe"],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  const entry = { cwd, child };
  children.add(entry);
  child.once("exit", () => children.delete(entry));
  const printed = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const)
    child[name].setEncoding("utf8").on("data", (piece: string) => (printed[name] += piece));
  const ended = new Promise<Ended>((resolve) => child.once("close", (code) => resolve({ code, ...printed })));
  const holds = (name: "stdout" | "stderr", wanted: string | RegExp): Promise<string> =>
    new Promise((resolve, reject) => {
      const look = () => {
        if (typeof wanted === "string" ? printed[name].includes(wanted) : wanted.test(printed[name]))
          resolve(printed[name]);
      };
      child[name].on("data", look);
      void ended.then(() => reject(new Error(`it ended, and its ${name} had no ${wanted}, but: ${printed[name]}`)));
      look();
    });
  return {
    pid: child.pid as number,
    ended,
    said: (wanted) => holds("stderr", wanted),
    printed: (wanted) => holds("stdout", wanted),
    kill: (signal) => void child.kill(signal),
  };
}

const caches = new Map<number, string>();

/** Returns the folder in which the processes of another user keep what Node has compiled: each user needs its own. */
function cacheOf(uid: number): string {
  const known = caches.get(uid);
  if (known !== undefined) return known;
  const folder = temporaryFolder();
  chownSync(folder, uid, uid);
  caches.set(uid, folder);
  return folder;
}

/**
 * Returns whether there is a `script` that gives a process a terminal:
 * https://man7.org/linux/man-pages/man1/script.1.html
 */
export function hasScript(): boolean {
  return process.platform === "linux" && spawnSync("script", ["--version"], { stdio: "ignore" }).status === 0;
}

/** Returns what a terminal of 100 columns receives, stdout and stderr together. */
export async function runOnTerminal(
  cwd: string,
  args: readonly string[],
): Promise<{ readonly code: number | null; readonly output: string }> {
  const quoted = [process.execPath, bin, ...args].map((part) => `'${part}'`).join(" ");
  const child = spawn("script", ["--quiet", "--return", "--command", `stty cols 100; ${quoted}`, "/dev/null"], {
    cwd,
    env: { ...inheritedVariables(), TERM: "xterm-256color" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const entry = { cwd, child };
  children.add(entry);
  child.once("exit", () => children.delete(entry));
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (piece: string) => (output += piece));
  return await new Promise((resolve) => child.once("close", (code) => resolve({ code, output })));
}

/** Opens the database of a run, to inspect what the run has left there. */
export async function withStore<Result>(url: string, look: (store: OwnedStore) => Promise<Result>): Promise<Result> {
  const store = await openVisitor({ url, migrate: "never" });
  try {
    const result = await look(store);
    await assertSound(store);
    return result;
  } finally {
    await store.close();
  }
}

/** Returns whether a process is alive. A zombie is not, such as an orphan in a container without an init process. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch (error) {
    // Without /proc, the signal alone decides.
    return (error as NodeJS.ErrnoException).code === "ENOENT" && process.platform !== "linux";
  }
}
