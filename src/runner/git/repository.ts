// Repositories from which worktrees are made: one on this machine, or a bare mirror of one elsewhere.
import { createHash, randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, rename } from "node:fs/promises";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { sleep } from "../../realTime.ts";
import { GitError, type GitRun, git, gitVersion, maskUrls, requireGoingOn, separateCredentials } from "./git.ts";
import { removeTree } from "./removeTree.ts";

/** A repository that worktrees can be made from. */
export interface GitRepository {
  /** The folder of the repository that all its worktrees share. */
  readonly gitDir: string;
  /** True for a mirror of a repository elsewhere. */
  readonly isMirror: boolean;
  /** The path or URL it was opened with, without credentials. */
  readonly source: string;
  /** Makes sure that the repository has the commit. A mirror fetches it. Fails with a GitError. */
  requireCommit(commitSha: string, signal: AbortSignal): Promise<void>;
}

/** A mirror is shared, so the lease of one worktree does not decide about a fetch into it. */
export interface RepositoryOptions extends Omit<GitRun, "holdings"> {
  /** The folder for the mirrors of repositories elsewhere. */
  readonly mirrorsFolder: string;
  /** The kind of ids that the repository elsewhere has; a mirror has the same. */
  readonly objectFormat?: "sha1" | "sha256";
}

/**
 * Opens a repository by its path, or by an https, http, ssh or file URL. One that is named by a URL is mirrored below
 * `mirrorsFolder`, in a folder that several processes may share. Nothing is fetched before a commit is needed.
 *
 * Fails    GitError when the path is in no repository, the URL is of another kind, or git is missing or too old
 */
export async function openRepository(source: string, options: RepositoryOptions): Promise<GitRepository> {
  await gitVersion();
  if (isLocalPath(source)) return await openLocal(source, options);
  return await openMirror(source, options);
}

/** Checks whether git would take the text for a path, and not for a URL or host:path. */
function isLocalPath(source: string): boolean {
  return !source.includes("://") && !/^[^/]+:/.test(source);
}

async function openLocal(path: string, { signal, guard }: GitRun): Promise<GitRepository> {
  const cwd = resolve(path);
  if (!existsSync(cwd)) throw new GitError(`${cwd} is not on this machine (${hostname()})`, false, true);
  const question = ["rev-parse", "--path-format=absolute", "--git-common-dir"];
  const gitDir = (await git(question, { cwd, signal, guard })).replace(/\n$/, "");
  return {
    gitDir,
    isMirror: false,
    source: path,
    async requireCommit(commitSha, until) {
      if (await hasCommit(gitDir, commitSha, { signal: until, guard })) return;
      throw new GitError(`commit ${commitSha} is not in ${gitDir}: fetch it there first`);
    },
  };
}

/** The place of what a mirror has: it has no branches of its own, and nothing here is ever collected. */
const refs = "refs/debug-server-db";

async function openMirror(source: string, options: RepositoryOptions): Promise<GitRepository> {
  const { mirrorsFolder, objectFormat = "sha1", signal, guard } = options;
  requireKnownKind(source);
  const { url, env } = separateCredentials(source);
  const hash = createHash("sha256").update(`${objectFormat} ${url}`).digest("hex").slice(0, 16);
  const name = /([\w.-]*?)(?:\.git)?\/*$/.exec(url)?.[1]?.replace(/^\.+/, "").slice(-60) ?? "";
  const gitDir = join(resolve(mirrorsFolder), `${name}-${hash}.git`);
  if (!existsSync(gitDir)) await createMirror(gitDir, objectFormat, { signal, guard });
  return {
    gitDir,
    isMirror: true,
    source: maskUrls(source),
    requireCommit: (commitSha, until) =>
      inTurn(gitDir, until, () => fetchCommit({ gitDir, url, env, commitSha, signal: until, guard })),
  };
}

function requireKnownKind(source: string): void {
  const kind = /^([^/:]*):\/\//.exec(source)?.[1];
  // host:path is ssh. A name with a hyphen in front would be an option, and `ext::` starts any program.
  const isKnown = kind === undefined ? /^[^-/:][^/:]*:[^:]/.test(source) : /^(?:https?|ssh|file)$/.test(kind);
  if (!isKnown) throw new GitError(`${source} is no repository that can be mirrored: give an https, ssh or file URL`);
}

/** Creates the mirror beside its place, and moves it there: of several processes that do so, one is first. */
async function createMirror(gitDir: string, objectFormat: string, run: GitRun): Promise<void> {
  const folder = resolve(gitDir, "..");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const beside = `${gitDir}.${randomUUID()}`;
  // An empty template has no hooks.
  await git(["init", "--quiet", "--bare", "--template=", `--object-format=${objectFormat}`, beside], {
    cwd: folder,
    ...run,
  });
  try {
    await rename(beside, gitDir);
  } catch (error) {
    await removeTree(beside);
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
  }
}

const turns = new Map<string, Promise<unknown>>();

/** Lets one fetch into a mirror follow the other: the later one often finds that nothing is missing any more. */
async function inTurn(gitDir: string, signal: AbortSignal, fetch: () => Promise<void>): Promise<void> {
  const before = turns.get(gitDir) ?? Promise.resolve();
  const turn = before.then(() => (signal.aborted ? undefined : fetch()));
  const settled = turn.catch(() => undefined);
  turns.set(gitDir, settled);
  await turn;
  if (turns.get(gitDir) === settled) turns.delete(gitDir);
  requireGoingOn(signal);
}

interface Wanted extends GitRun {
  readonly gitDir: string;
  readonly url: string;
  readonly env: NodeJS.ProcessEnv;
  readonly commitSha: string;
}

/** The number of times that a fetch is tried while another process changes the same refs. */
const attemptsMax = 5;

/** Fetches a commit with its history, unless the mirror has it. */
async function fetchCommit(wanted: Wanted): Promise<void> {
  const { gitDir, commitSha, signal } = wanted;
  const kept = `${refs}/commits/${commitSha}`;
  for (let attempt = 1; ; attempt++) {
    if (await hasCommit(gitDir, kept, wanted)) return;
    try {
      if (await hasCommit(gitDir, commitSha, wanted))
        await git([...atMirror(gitDir), "update-ref", kept, commitSha], here(wanted));
      else await fetchInto(wanted, [`+${commitSha}:${kept}`]);
    } catch (error) {
      if (!(error instanceof GitError) || signal.aborted) throw error;
      if (isNotAdvertised(error)) await fetchEverything(wanted, error);
      else if (!/lock|reference already exists/i.test(error.message) || attempt >= attemptsMax) throw error;
      else await sleep(50 * attempt, { signal });
    }
  }
}

/** Checks whether the server has refused to give a commit by its id; it may give it with a branch. */
function isNotAdvertised({ message }: GitError): boolean {
  return /not our ref|unadvertised object|find remote ref|no such remote ref/i.test(message);
}

async function fetchEverything(wanted: Wanted, refusal: GitError): Promise<void> {
  await fetchInto(wanted, [`+refs/heads/*:${refs}/heads/*`, `+refs/tags/*:${refs}/tags/*`]);
  if (await hasCommit(wanted.gitDir, wanted.commitSha, wanted)) return;
  throw new GitError(
    `commit ${wanted.commitSha} is in no branch or tag of ${wanted.url}, push it there first (${refusal.message})`,
  );
}

async function fetchInto(wanted: Wanted, what: readonly string[]): Promise<void> {
  const options = ["--quiet", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head", "--no-recurse-submodules"];
  await git([...atMirror(wanted.gitDir), "fetch", ...options, "--refmap=", "--", wanted.url, ...what], here(wanted));
}

const atMirror = (gitDir: string): readonly string[] => ["--git-dir", gitDir];
const here = ({ gitDir, signal, guard, env }: Wanted) => ({
  cwd: gitDir,
  signal,
  guard,
  env: { ...env, GIT_ALLOW_PROTOCOL: "file:https:http:ssh" },
});

async function hasCommit(gitDir: string, name: string, { signal, guard }: GitRun): Promise<boolean> {
  try {
    await git([...atMirror(gitDir), "cat-file", "-e", `${name}^{commit}`], { cwd: gitDir, signal, guard });
    return true;
  } catch (error) {
    if (!(error instanceof GitError) || error.notInstalled || signal.aborted) throw error;
    if (/dubious ownership|not a git repository|no folder/.test(error.message)) throw error;
    return false;
  }
}
