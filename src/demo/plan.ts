// Plans what a run will work on, and finds every mistake in its options before anything is created.
import { existsSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { expandHome, parsePlace } from "../place.ts";
import { GitError, git } from "../runner/git/git.ts";
import { CliError } from "../terminal/exit.ts";

/** The store of a demo, and where relative paths start from. */
export interface DemoPlace {
  readonly url: string;
  readonly cwd: string;
}

export interface DemoOptions extends DemoPlace {
  readonly repo: string;
  readonly runners: number;
  readonly commits: number;
  readonly command: readonly string[] | undefined;
  readonly debug: boolean;
  /** The options with which another command finds the same store. */
  readonly place: readonly string[];
}

export interface Commit {
  readonly sha: string;
  readonly subject: string;
}

/** The folders of the demo, beside the database file. */
export interface Folders {
  /** The folder for the worktrees of all repositories. */
  readonly worktreesFolder: string;
  /** The folder for the other files of the runner. */
  readonly runnerFolder: string;
}

export interface Plan extends Folders {
  /** The folder in which git keeps the repository, the same for all its worktrees. */
  readonly gitDir: string;
  readonly name: string;
  readonly branch: string | undefined;
  readonly commits: readonly Commit[];
}

/** Fails with a usage error, or with a failure when git is not installed. */
export async function makePlan(options: DemoOptions, signal: AbortSignal): Promise<Plan> {
  const folders = foldersOf(options);
  const folder = resolve(options.cwd, expandHome(options.repo));
  if (!existsSync(folder)) throw new CliError("usage", `${folder}: there is no such folder`);
  if (!statSync(folder).isDirectory()) throw new CliError("usage", `${folder} is not a folder`);
  const gitDir = await findRepository(folder, signal);
  const inFolder = { cwd: folder, signal };
  const head = await git(["rev-parse", "--verify", "--quiet", "HEAD^{commit}"], inFolder).catch(undefinedIfMissing);
  if (head === undefined) throw new CliError("usage", `${folder} has no commits: commit something first`);
  const log = await git(
    ["--git-dir", gitDir, "log", `--max-count=${options.commits}`, "--format=%H%x00%s", head.trim()],
    { cwd: gitDir, signal },
  );
  const branch = await git(["symbolic-ref", "--quiet", "--short", "HEAD"], inFolder).catch(undefinedIfMissing);
  const home = basename(gitDir) === ".git" ? dirname(gitDir) : gitDir.replace(/\.git$/, "");
  return {
    gitDir,
    name: basename(home) || "repository",
    branch: branch?.trim(),
    commits: parseLog(log),
    ...folders,
  };
}

/** Returns the folders of the demo. Worktrees outlive a run, so the database that describes them must do so too. */
export function foldersOf({ url, cwd }: DemoPlace): Folders {
  const place = parsePlace(url);
  // Several hosts may share a PostgreSQL server, and each keeps its worktrees in its own folder.
  if (place.engine === "postgres") return foldersIn(resolve(cwd, ".artifacts"));
  if (place.path === ":memory:")
    throw new CliError(
      "usage",
      "url: the demo keeps its worktrees from run to run, so it needs a file, such as sqlite:demo.db",
    );
  const folder = dirname(resolve(place.path));
  return foldersIn(basename(folder) === "data" ? dirname(folder) : folder);
}

function foldersIn(folder: string): Folders {
  return { worktreesFolder: join(folder, "worktrees"), runnerFolder: join(folder, "runner") };
}

async function findRepository(folder: string, signal: AbortSignal): Promise<string> {
  try {
    return resolve(folder, (await git(["rev-parse", "--git-common-dir"], { cwd: folder, signal })).trim());
  } catch (error) {
    if (!(error instanceof GitError) || signal.aborted) throw error;
    if (error.notInstalled) throw new CliError("failure", `${error.message}: install git and run it again`);
    if (error.message.includes("not a git repository"))
      throw new CliError("usage", `${folder} is not in a git repository: name one with --repo`);
    throw new CliError("usage", `${folder}: ${error.message}`);
  }
}

/** git fails when there is no HEAD, or no branch. */
function undefinedIfMissing(error: unknown): undefined {
  if (!(error instanceof GitError) || error.notInstalled) throw error;
  return undefined;
}

function parseLog(log: string): Commit[] {
  const lines = log.split("\n").filter((line) => line !== "");
  return lines.map((line) => {
    const [sha = "", subject = ""] = line.split("\u0000");
    return { sha, subject: subject.slice(0, 200).toWellFormed() };
  });
}
