// What a run will work on. Everything that can be wrong is found here, before anything is made.

import { existsSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { parsePlace } from "../place.ts";

import { CliError } from "../terminal/exit.ts";
import { GitError, git } from "./git.ts";

export interface DemoOptions {
  readonly repo: string;
  readonly runners: number;
  readonly commits: number;
  readonly command: readonly string[] | undefined;
  readonly debug: boolean;
  readonly url: string;
  /** The folder that relative paths start from. */
  readonly cwd: string;
}

export interface Commit {
  readonly sha: string;
  readonly subject: string;
}

export interface Plan {
  /** Where git keeps the repository; the same for all its worktrees. */
  readonly gitDir: string;
  readonly name: string;
  readonly branch: string | undefined;
  readonly commits: readonly Commit[];
  /** Next to the database file: worktrees of all repositories are below it. */
  readonly worktreesRoot: string;
  /** Next to it: the files of sessions. */
  readonly filesRoot: string;
}

/** Fails usage, or failure when there is no git. */
export async function makePlan({ repo, commits, url, cwd: from }: DemoOptions, signal: AbortSignal): Promise<Plan> {
  const worktreesRoot = worktreesRootOf(url, from);
  const cwd = resolve(from, repo);
  if (!existsSync(cwd)) throw new CliError("usage", `${cwd}: there is no such folder`);
  if (!statSync(cwd).isDirectory()) throw new CliError("usage", `${cwd} is not a folder`);
  const gitDir = await findRepository(cwd, signal);
  const ask = (...args: string[]) => git(["--git-dir", gitDir, ...args], { cwd: gitDir, signal });
  const head = await git(["rev-parse", "--verify", "--quiet", "HEAD^{commit}"], { cwd, signal }).catch(rethrowMissing);
  if (head === undefined) throw new CliError("usage", `${cwd} has no commits: commit something first`);
  const log = await ask("log", `--max-count=${commits}`, "--format=%H%x00%s", head.trim());
  const branch = await git(["symbolic-ref", "--quiet", "--short", "HEAD"], { cwd, signal }).catch(rethrowMissing);
  const home = basename(gitDir) === ".git" ? dirname(gitDir) : gitDir.replace(/\.git$/, "");
  return {
    gitDir,
    name: basename(home) || "repository",
    branch: branch?.trim(),
    commits: readLog(log),
    worktreesRoot,
    filesRoot: join(dirname(worktreesRoot), "files"),
  };
}

/** Worktrees outlive a run, so the database that knows them must do so too. */
function worktreesRootOf(url: string, cwd: string): string {
  const place = parsePlace(url);
  // Several hosts may share a server; where worktrees are is each host's own matter.
  if (place.engine === "postgres") return resolve(cwd, ".artifacts", "worktrees");
  const { path } = place;
  if (path === ":memory:")
    throw new CliError(
      "usage",
      "url: the demo keeps its worktrees from run to run, so it needs a file, such as sqlite:demo.db",
    );
  const folder = dirname(resolve(path));
  return join(basename(folder) === "data" ? dirname(folder) : folder, "worktrees");
}

async function findRepository(cwd: string, signal: AbortSignal): Promise<string> {
  try {
    return resolve(cwd, (await git(["rev-parse", "--git-common-dir"], { cwd, signal })).trim());
  } catch (error) {
    if (!(error instanceof GitError) || signal.aborted) throw error;
    if (error.notInstalled) throw new CliError("failure", `${error.message}: install git and run it again`);
    if (error.message.includes("not a git repository"))
      throw new CliError("usage", `${cwd} is not in a git repository: name one with --repo`);
    throw new CliError("usage", `${cwd}: ${error.message}`);
  }
}

/** git says "there is none" by failing. */
function rethrowMissing(error: unknown): undefined {
  if (!(error instanceof GitError) || error.notInstalled) throw error;
  return undefined;
}

function readLog(log: string): Commit[] {
  const lines = log.split("\n").filter((line) => line !== "");
  return lines.map((line) => {
    const [sha = "", subject = ""] = line.split("\u0000");
    return { sha, subject: subject.slice(0, 200).toWellFormed() };
  });
}
