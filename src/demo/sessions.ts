// The sessions of a run: creates them with their commands, and cancels those of runs that have died.
import { hostname } from "node:os";
import { type Repository, type Session, type SessionState, type Store, StoreError } from "../index.ts";
import type { Commit } from "./plan.ts";
import type { Work } from "./progress.ts";

const requestedBy = "debug-server-db demo";

/** The metadata of a session of the demo. */
export interface Purpose {
  readonly subject: string;
  readonly host: string;
  readonly pid: number;
}

/**
 * Creates a session for each commit. One call creates it with its commands, so that it cannot complete before they
 * exist.
 */
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

/** Creates the session to debug, with its command. */
export async function createDebugSession(
  store: Store,
  repository: Repository,
  { sha, subject }: Commit,
  argv: readonly string[],
): Promise<Session> {
  const metadata = { subject: `debug: ${subject}`, host: hostname(), pid: process.pid } satisfies Purpose;
  const { session } = await store.sessions.create({
    repositoryId: repository.id,
    commitSha: sha,
    autoComplete: true,
    requestedBy,
    metadata,
    commands: [{ argv: [...argv] }],
  });
  return session;
}

/** Cancels the sessions; those that have ended stay as they are. */
export async function cancelSessions(store: Store, sessionIds: readonly string[], reason: string): Promise<void> {
  await Promise.all(sessionIds.map((sessionId) => store.sessions.cancel({ sessionId, reason }).catch(ignoreEnded)));
}

/**
 * Cancels the sessions that a killed run left open: the runners of the next run would claim from them. Returns their
 * number.
 */
export async function cancelAbandoned(store: Store): Promise<number> {
  const open = await sessionsOfDemo(store, ["pending", "running"]);
  const abandoned = open.filter(isAbandoned).map(({ id }) => id);
  await cancelSessions(store, abandoned, "its run has ended");
  return abandoned.length;
}

/** Returns the sessions of all runs of the demo, in these states or in any. */
export async function sessionsOfDemo(store: Store, states?: SessionState[]): Promise<readonly Session[]> {
  const filter = states === undefined ? {} : { state: states };
  const sessions: Session[] = [];
  for await (const session of store.sessions.all({ requestedBy, ...filter, limit: 500 })) sessions.push(session);
  return sessions;
}

function isAbandoned({ endedAt, metadata }: Session): boolean {
  const { host, pid } = (metadata ?? {}) as Partial<Purpose>;
  return endedAt === null && host === hostname() && pid !== undefined && !isAlive(pid);
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
