// Runs git and says in one sentence what it did not like.
import { runProgram } from "./program.ts";

export interface GitOptions {
  readonly cwd: string;
  readonly signal: AbortSignal;
  /** Look for the repository in `cwd` itself and in no folder above. */
  readonly ceiling?: string;
}

export class GitError extends Error {
  override readonly name = "GitError";
  /** There is no git on this machine. */
  readonly notInstalled: boolean;

  constructor(reason: string, notInstalled = false) {
    super(reason);
    this.notInstalled = notInstalled;
  }
}

/** What git writes to stdout. Fails with a GitError. */
export async function git(args: readonly string[], { cwd, signal, ceiling }: GitOptions): Promise<string> {
  const pieces: Record<"stdout" | "stderr", Uint8Array[]> = { stdout: [], stderr: [] };
  const output = (stream: "stdout" | "stderr", data: Uint8Array) => pieces[stream].push(data);
  const env = { ...treeEnvironment(ceiling), LC_ALL: "C", GIT_TERMINAL_PROMPT: "0" };
  // The hooks of a repository are made for a person's own checkout.
  const ending = await runProgram(["git", "-c", "core.hooksPath=/dev/null", ...args], { cwd, env, signal, output });
  if ("exitCode" in ending && ending.exitCode === 0) return Buffer.concat(pieces.stdout).toString();
  if ("reason" in ending) {
    const notInstalled = ending.errno === "ENOENT" && ending.reason.startsWith("git:");
    throw new GitError(notInstalled ? "git is not installed, or not in PATH" : ending.reason, notInstalled);
  }
  const how = "signal" in ending ? `ended by ${ending.signal}` : `exit code ${ending.exitCode}`;
  throw new GitError(`git ${args[0]}: ${complaint(Buffer.concat(pieces.stderr).toString()) ?? how}`);
}

/** Set while a hook runs, and by some people; they would lead git to another repository than the one in its folder. */
const placeVariables = [
  "GIT_DIR",
  "GIT_WORK_TREE",
  "GIT_INDEX_FILE",
  "GIT_COMMON_DIR",
  "GIT_OBJECT_DIRECTORY",
  "GIT_PREFIX",
  "GIT_NAMESPACE",
];

/** Our own, for a program in a tree. Below `ceiling`, a folder whose .git is gone is no repository, rather than a part of the one around it. */
export function treeEnvironment(ceiling?: string): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !placeVariables.includes(name));
  return { ...Object.fromEntries(own), ...(ceiling === undefined ? {} : { GIT_CEILING_DIRECTORIES: ceiling }) };
}

function complaint(stderr: string): string | undefined {
  const lines = stderr.split("\n").filter((line) => line.trim() !== "");
  const line = lines.find((one) => /^(?:fatal|error): /.test(one)) ?? lines.at(-1);
  return line?.replace(/^(?:fatal|error): /, "").slice(0, 500);
}
