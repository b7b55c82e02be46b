// Runs git, and reports its failures in one sentence.
import { present } from "../../present.ts";
import { sleep } from "../../realTime.ts";
import type { ProcessGuard } from "../process/guard.ts";
import { runCommand } from "../process/runCommand.ts";
import type { ProgramLease } from "../process/stopping.ts";
import { gitEnvironment, type WorktreeParts } from "./environment.ts";

/** The conditions under which git may run, and files may be changed. */
export interface GitRun {
  /** Ends git, and what is done around it. */
  readonly signal: AbortSignal;
  /** Kills git when this thread or its process ends. Without it, git outlives a runner that was killed. */
  readonly guard?: ProcessGuard | undefined;
  /** The leases of what is changed. When one is lost, git is killed, and nothing is changed any more. */
  readonly holdings?: readonly ProgramLease[] | undefined;
}

export interface GitOptions extends GitRun {
  readonly cwd: string;
  /** Look for the repository in `cwd` alone, and not in the folders above it. */
  readonly ceiling?: string;
  /** Use this worktree, and look for none. */
  readonly worktree?: WorktreeParts;
  /** Further variables. */
  readonly env?: NodeJS.ProcessEnv;
  /** The encoding of the result. latin1 keeps each byte of a file name as it is. */
  readonly encoding?: "utf8" | "latin1";
}

/** A failure of git, or of a repository, worktree or patch. No credentials of a URL are in its message. */
export class GitError extends Error {
  override readonly name: string = "GitError";
  /** True when there is no git on this machine. */
  readonly notInstalled: boolean;
  /** True when the repository is a path that this machine does not have, or the worktree is none of this runner. */
  readonly notHere: boolean;

  constructor(reason: string, notInstalled = false, notHere = false) {
    super(maskUrls(reason));
    this.notInstalled = notInstalled;
    this.notHere = notHere;
  }
}

/** Fails with a GitError when the signal has fired. */
export function requireGoingOn(signal: AbortSignal): void {
  if (signal.aborted) throw new GitError("stopped");
}

/**
 * Fails with a GitError when a lease is lost. A process that stood still asks this before each change, because its timers
 * have not told it yet.
 */
export function requireHeld({ holdings = [] }: GitRun): void {
  if (holdings.some((holding) => holding.isLost || holding.remainingMs() === 0))
    throw new GitError("stopped: the lease of the worktree is lost");
}

/**
 * Settings that override those of the repository, which a command in one of its worktrees can write. They keep git from
 * starting programs that somebody named there, from collecting objects that a worktree needs, from asking, and from
 * trusting what a command says of its files. Filters (`filter.*`), credential helpers and `core.sshCommand` remain as
 * they are configured, because files in Git LFS and private servers need them.
 */
const settings = {
  // The hooks of a repository are written for a person's own checkout.
  "core.hooksPath": "/dev/null",
  "core.fsmonitor": "false",
  "core.untrackedCache": "false",
  "core.ignoreStat": "false",
  "core.trustctime": "true",
  "core.checkStat": "default",
  "core.fileMode": "true",
  "core.sparseCheckout": "false",
  "core.pager": "cat",
  "gc.auto": "0",
  "maintenance.auto": "false",
  "submodule.recurse": "false",
  "fetch.recurseSubmodules": "false",
  // A server that has stopped sending is given up after a minute.
  "http.lowSpeedLimit": "1",
  "http.lowSpeedTime": "60",
};
const overrides = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);

/**
 * Returns what git writes to stdout. It runs in a process group of its own, without hooks, prompts and other
 * repositories than the one of its folder. Fails with a GitError.
 */
export async function git(args: readonly string[], options: GitOptions): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await runGit(args, options);
    } catch (error) {
      const isPassing = error instanceof GitError && readsHalfMade.test(error.message);
      if (!isPassing || attempt >= attemptsMax || options.signal.aborted) throw error;
      await sleep(10 * attempt, { signal: options.signal });
    }
  }
}

/**
 * The failures of a git that lists the worktrees, or fetches, while another one writes the files of a new worktree. It can
 * be repeated, because it has changed nothing.
 */
const readsHalfMade = /failed to read .*\/worktrees\/.*\/commondir|bad object worktrees\/.*\/HEAD/;
const attemptsMax = 20;

async function runGit(args: readonly string[], options: GitOptions): Promise<string> {
  const { cwd, signal, guard, holdings, ceiling, worktree, encoding = "utf8" } = options;
  const pieces: Record<"stdout" | "stderr", Uint8Array[]> = { stdout: [], stderr: [] };
  const output = (stream: "stdout" | "stderr", data: Uint8Array) => pieces[stream].push(data);
  const env = { ...gitEnvironment(ceiling, worktree), ...options.env };
  const ending = await runCommand(["git", ...overrides, ...args], {
    cwd,
    env,
    signal,
    output,
    ...present({ guard, holdings }),
  });
  if (ending.exitCode === 0) return Buffer.concat(pieces.stdout).toString(encoding);
  if (ending.reason !== undefined) {
    const notInstalled = ending.errno === "ENOENT" && ending.reason.startsWith("git:");
    throw new GitError(notInstalled ? "git is not installed, or not in PATH" : ending.reason, notInstalled);
  }
  const how = ending.signal === null ? `exit code ${ending.exitCode}` : `ended by ${ending.signal}`;
  const name = args.find((one, index) => !one.startsWith("-") && args[index - 1] !== "--git-dir");
  throw new GitError(`git ${name}: ${errorLine(Buffer.concat(pieces.stderr).toString()) ?? how}`);
}

/** Returns the line of stderr that names the error. */
function errorLine(stderr: string): string | undefined {
  const lines = stderr.split("\n").filter((line) => line.trim() !== "");
  const line = lines.find((candidate) => /^(?:fatal|error): /.test(candidate)) ?? lines.at(-1);
  return line?.replace(/^(?:fatal|error): /, "").slice(0, 500);
}

/** The oldest git that has all that the runner uses: `rev-parse --path-format` and `GIT_CONFIG_COUNT` came with it. */
export const oldestGit = "2.31";

let version: Promise<string> | undefined;

/**
 * Returns the version of git, such as `2.39.5`. Git is asked once. Fails with a GitError when it is not installed, or
 * older than 2.31.
 */
export function gitVersion(): Promise<string> {
  version ??= readVersion();
  // It may be installed meanwhile.
  version.catch(() => (version = undefined));
  return version;
}

async function readVersion(): Promise<string> {
  const { signal } = new AbortController();
  return requireVersion(await git(["version"], { cwd: "/", signal }));
}

/** Returns the number in the answer of `git version`. Fails with a GitError when it is too old. */
export function requireVersion(answer: string): string {
  const found = /\d+\.\d+(?:\.\d+)*/.exec(answer)?.[0];
  if (found === undefined) throw new GitError(`git says no version but "${answer.trim().slice(0, 100)}"`);
  if (found.localeCompare(oldestGit, "en", { numeric: true }) < 0)
    throw new GitError(`git ${found} is too old: install git ${oldestGit} or newer`);
  return found;
}

/** Replaces the credentials in the URLs of a text: passwords, the user names of http, and queries. */
export function maskUrls(text: string): string {
  return text.replace(/\b[a-z][a-z0-9+.-]*:\/\/[^\s'"]+/gi, (found) => {
    if (!/[@?#]/.test(found)) return found;
    const url = URL.parse(found);
    if (url === null) return found.replace(/:\/\/.*$/, "://***");
    const hasUser = url.username !== "" && !/^https?:$/.test(url.protocol);
    const user = hasUser ? `${url.username}@` : url.username + url.password === "" ? "" : "***@";
    return `${url.protocol}//${user}${url.host}${url.pathname}${url.search === "" ? "" : "?***"}`;
  });
}

export interface CommandCredentials {
  /** The URL without credentials. */
  readonly url: string;
  /** The variables with which git has them. */
  readonly env: NodeJS.ProcessEnv;
}

/**
 * Separates the credentials from an http URL, because arguments are visible to all users of a machine. Git gets them
 * from a credential helper for this server, which takes them from the environment.
 */
export function separateCredentials(source: string): CommandCredentials {
  const url = URL.parse(source);
  if (url === null || !/^https?:$/.test(url.protocol) || url.username + url.password === "")
    return { url: source, env: {} };
  const [username, password] = [decodeURIComponent(url.username), decodeURIComponent(url.password)];
  [url.username, url.password] = ["", ""];
  const first = Number(process.env.GIT_CONFIG_COUNT ?? 0);
  const key = `credential.${url.origin}.helper`;
  const helper = `!printf 'username=%s\\npassword=%s\\n' "$DEBUG_SERVER_DB_USER" "$DEBUG_SERVER_DB_PASSWORD" #`;
  return {
    url: url.href,
    env: present({
      DEBUG_SERVER_DB_USER: username,
      DEBUG_SERVER_DB_PASSWORD: password,
      GIT_CONFIG_COUNT: String(first + 2),
      // An empty value removes the helpers that are configured: they might store these credentials.
      [`GIT_CONFIG_KEY_${first}`]: key,
      [`GIT_CONFIG_VALUE_${first}`]: "",
      [`GIT_CONFIG_KEY_${first + 1}`]: key,
      [`GIT_CONFIG_VALUE_${first + 1}`]: helper,
    }),
  };
}
