// demo --clean: removes what runs of the demo have made: sessions with their logs, worktrees, and the store if it holds
// nothing else.
import { existsSync } from "node:fs";
import { readdir, rm, rmdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { openStore, type Repository, type Session, type Store } from "../index.ts";
import { parsePlace } from "../place.ts";
import { evictWorktrees } from "../runner/index.ts";
import { CliError } from "../terminal/exit.ts";
import { type DemoPlace, foldersOf } from "./plan.ts";
import { cancelAbandoned, sessionsOfDemo } from "./sessions.ts";

export interface CleanOptions extends DemoPlace {
  readonly signal: AbortSignal;
  notify(text: string): void;
}

/** Removes what the demo made. Fails while another demo uses the store. */
export async function cleanDemo({ url, cwd, signal, notify }: CleanOptions): Promise<void> {
  const place = parsePlace(url);
  const { worktreesFolder, runnerFolder } = foldersOf({ url, cwd });
  const file = place.engine === "sqlite" ? resolve(cwd, place.path) : undefined;
  if (file !== undefined && !existsSync(file)) return notify("there is nothing to remove");
  const store = await openStore({ url, migrate: "never" });
  let holdsMore = true;
  try {
    await cancelAbandoned(store);
    const sessions = await sessionsOfDemo(store);
    if (sessions.some(({ endedAt }) => endedAt === null))
      throw new CliError("failure", "a demo is running in this store: let it end, or interrupt it");
    const repositories = await repositoriesOf(store, sessions);
    for (const repository of repositories) await removeWorktrees(store, repository, runnerFolder, signal, notify);
    for (const { id: sessionId } of sessions) await store.sessions.delete({ sessionId });
    notify(`removed ${sessions.length} sessions with their commands and logs`);
    holdsMore = await hasOther(store, repositories);
  } finally {
    await store.close();
  }
  await rm(runnerFolder, { recursive: true, force: true });
  if (file === undefined || holdsMore) return notify("the store itself stays, because it holds more");
  for (const suffix of ["", "-wal", "-shm"]) await rm(`${file}${suffix}`, { force: true });
  notify(`removed ${file}`);
  for (const folder of [worktreesFolder, dirname(file), dirname(dirname(file))]) await removeIfEmpty(folder);
}

async function repositoriesOf(store: Store, sessions: readonly Session[]): Promise<readonly Repository[]> {
  const ids = new Set(sessions.map(({ repositoryId }) => repositoryId));
  return await Promise.all([...ids].map((repositoryId) => store.repositories.get({ repositoryId })));
}

/** Removes the worktrees of a repository, free ones and quarantined ones. */
async function removeWorktrees(
  store: Store,
  repository: Repository,
  folder: string,
  signal: AbortSignal,
  notify: (text: string) => void,
): Promise<void> {
  let count = 0;
  for (const quarantined of [false, true]) {
    const owner = "debug-server-db demo --clean";
    const { removed, problems } = await evictWorktrees(store, { repository, folder, owner, quarantined, signal });
    count += removed;
    for (const problem of problems) notify(problem);
  }
  notify(`removed ${count} worktrees of ${repository.name}`);
  if (repository.worktreeRoot !== null) await removeIfEmpty(repository.worktreeRoot);
}

/** Checks whether a store holds anything besides the repositories of the demo and their removed worktrees. */
async function hasOther(store: Store, repositories: readonly Repository[]): Promise<boolean> {
  const own = new Set(repositories.map(({ id }) => id));
  const lists = await Promise.all([
    store.sessions.list({ limit: 1 }),
    store.accounts.list({ limit: 1 }),
    store.tokens.list({ limit: 1 }),
    store.artifacts.list({ limit: 1 }),
    store.worktrees.list({ state: ["idle", "dirty", "leased", "creating", "evicting", "quarantined"], limit: 1 }),
  ]);
  if (lists.some(({ items }) => items.length > 0)) return true;
  for await (const { id } of store.repositories.all({ includeArchived: true })) if (!own.has(id)) return true;
  return false;
}

async function removeIfEmpty(folder: string): Promise<void> {
  // The file that keeps the folder out of git is no content.
  const names = await readdir(folder).catch(() => []);
  if (names.length === 1 && names[0] === ".gitignore") await rm(join(folder, ".gitignore"), { force: true });
  await rmdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOTEMPTY" && error.code !== "ENOENT" && error.code !== "EEXIST") throw error;
  });
}
