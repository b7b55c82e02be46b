// Runs git, and reports its failures in one sentence.
import { runProgram } from "../process/runCommand.ts";

export interface GitOptions {
  readonly cwd: string;
  readonly signal: AbortSignal;
  /** Look for the repository in `cwd` alone, and not in the folders above it. */
  readonly ceiling?: string;
}

export class GitError extends Error {
  override readonly name = "GitError";
  /** True when there is no git on this machine. */
  readonly notInstalled: boolean;

  constructor(reason: string, notInstalled = false) {
    super(reason);
    this.notInstalled = notInstalled;
  }
}

/** Returns what git writes to stdout. Fails with a GitError. */
export async function git(args: readonly string[], { cwd, signal, ceiling }: GitOptions): Promise<string> {
  const pieces: Record<"stdout" | "stderr", Uint8Array[]> = { stdout: [], stderr: [] };
  const output = (stream: "stdout" | "stderr", data: Uint8Array) => pieces[stream].push(data);
  const env = { ...worktreeEnvironment(ceiling), LC_ALL: "C", GIT_TERMINAL_PROMPT: "0" };
  // The hooks of a repository are written for a person's own checkout.
  const ending = await runProgram(["git", "-c", "core.hooksPath=/dev/null", ...args], { cwd, env, signal, output });
  if ("exitCode" in ending && ending.exitCode === 0) return Buffer.concat(pieces.stdout).toString();
  if ("reason" in ending) {
    const notInstalled = ending.errno === "ENOENT" && ending.reason.startsWith("git:");
    throw new GitError(notInstalled ? "git is not installed, or not in PATH" : ending.reason, notInstalled);
  }
  const how = "signal" in ending ? `ended by ${ending.signal}` : `exit code ${ending.exitCode}`;
  throw new GitError(`git ${args[0]}: ${errorLine(Buffer.concat(pieces.stderr).toString()) ?? how}`);
}

/**
 * Variables that make git use another repository than that of its folder. They are set while a hook runs, and by some
 * users.
 */
const repositoryVariables = [
  "GIT_DIR",
  "GIT_WORK_TREE",
  "GIT_INDEX_FILE",
  "GIT_COMMON_DIR",
  "GIT_OBJECT_DIRECTORY",
  "GIT_PREFIX",
  "GIT_NAMESPACE",
];

/**
 * Returns the environment for a program in a worktree. With `ceiling`, a folder below it that lost its .git is no
 * repository, instead of a part of the repository around it.
 */
export function worktreeEnvironment(ceiling?: string): NodeJS.ProcessEnv {
  const variables = Object.entries(process.env).filter(([name]) => !repositoryVariables.includes(name));
  return { ...Object.fromEntries(variables), ...(ceiling === undefined ? {} : { GIT_CEILING_DIRECTORIES: ceiling }) };
}

/** Returns the line of stderr that names the error. */
function errorLine(stderr: string): string | undefined {
  const lines = stderr.split("\n").filter((line) => line.trim() !== "");
  const line = lines.find((candidate) => /^(?:fatal|error): /.test(candidate)) ?? lines.at(-1);
  return line?.replace(/^(?:fatal|error): /, "").slice(0, 500);
}
