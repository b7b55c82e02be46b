// The sessions of a run: created with their commands, and cancelled when the process that wanted them has died.
import { hostname } from "node:os";
import { StoreError } from "../errors.ts";
import type { Repository } from "../model/repositories.ts";
import { isOpen, type Session } from "../model/sessions.ts";
import type { Store } from "../storeTypes.ts";
import type { Commit } from "./plan.ts";
import type { Work } from "./progress.ts";

const requestedBy = "debug-server-db demo";

/** Stored with a session. */
export interface Purpose {
  readonly subject: string;
  readonly host: string;
  readonly pid: number;
}

/** A session and its commands are one call, so that a session which ends by itself does not end before they are there. */
export async function createSessions(
  store: Store,
  repository: Repository,
  commits: readonly Commit[],
  command: readonly string[] | undefined,
): Promise<Work[]> {
  const programs = [
    ["git", "show", "--stat"],
    [process.execPath, "--version"],
    ...(command === undefined ? [] : [[...command]]),
  ];
  return await Promise.all(
    commits.map(({ sha, subject }) =>
      store.sessions.create({
        repositoryId: repository.id,
        commitSha: sha,
        autoComplete: true,
        requestedBy,
        metadata: { subject, host: hostname(), pid: process.pid } satisfies Purpose,
        commands: programs.map((argv) => ({ argv })),
      }),
    ),
  );
}

/** Its command comes when it has a tree, so that no other runner claims it. */
export async function createDebugged(store: Store, repository: Repository, { sha, subject }: Commit): Promise<Session> {
  const metadata = { subject: `debug: ${subject}`, host: hostname(), pid: process.pid } satisfies Purpose;
  const { session } = await store.sessions.create({
    repositoryId: repository.id,
    commitSha: sha,
    requestedBy,
    metadata,
  });
  return session;
}

/** Stops what these sessions still have to do; those that have ended stay as they are. */
export async function cancelSessions(store: Store, sessionIds: readonly string[], reason: string): Promise<void> {
  await Promise.all(sessionIds.map((sessionId) => store.sessions.cancel({ sessionId, reason }).catch(ignoreEnded)));
}

/** A run that was killed leaves its sessions open, and the runners of the next one would go on with them. */
export async function cancelAbandoned(store: Store): Promise<number> {
  const abandoned: string[] = [];
  for (const state of ["pending", "running"] as const) {
    for await (const session of store.sessions.all({ requestedBy, state, limit: 500 }))
      if (isAbandoned(session)) abandoned.push(session.id);
  }
  await cancelSessions(store, abandoned, "its run has ended");
  return abandoned.length;
}

function isAbandoned({ state, metadata }: Session): boolean {
  const { host, pid } = (metadata ?? {}) as Partial<Purpose>;
  return isOpen(state) && host === hostname() && pid !== undefined && !isAlive(pid);
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function ignoreEnded(error: unknown): void {
  if (!(error instanceof StoreError && error.code === "invalid_transition")) throw error;
}
