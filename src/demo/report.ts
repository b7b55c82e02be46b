// Reports what a run did, read back from the store.
import type { Command, Session, Store, Worktree } from "../index.ts";

export interface Report {
  readonly sessions: readonly Session[];
  /** One for each command, by session and sequence. */
  readonly rows: readonly ReportRow[];
  /** The figures of the store: calls, groups, the most calls in a group. */
  readonly serving: Readonly<Record<string, number>>;
  readonly allSucceeded: boolean;
  /** True when no command runs any more and no worktree is leased for any of the sessions. */
  readonly allReleased: boolean;
}

export interface ReportRow {
  readonly session: Session;
  readonly worktree: Worktree | undefined;
  readonly command: Command;
  readonly logBytes: number;
  /** The reason why the command did not succeed. */
  readonly note: string;
}

export async function readReport(store: Store, sessionIds: readonly string[]): Promise<Report> {
  const sessions = await Promise.all(sessionIds.map((sessionId) => store.sessions.get({ sessionId })));
  const rows = (await Promise.all(sessions.map((session) => readRows(store, session)))).flat();
  const { serving } = await store.maintenance.stats();
  return {
    sessions,
    rows,
    serving,
    allSucceeded: rows.every(({ command }) => command.state === "succeeded"),
    allReleased:
      sessions.every(({ endedAt }) => endedAt !== null) &&
      rows.every((row) => row.command.endedAt !== null && !isLeased(row)),
  };
}

/** A worktree whose fencing token has grown is leased for another session. */
function isLeased({ session, worktree }: ReportRow): boolean {
  return worktree !== undefined && worktree.leaseExpiresAt !== null && worktree.fence === session.worktreeFence;
}

async function readRows(store: Store, session: Session): Promise<ReportRow[]> {
  const worktree =
    session.worktreeId === null ? undefined : await store.worktrees.get({ worktreeId: session.worktreeId });
  const { items } = await store.commands.list({ sessionId: session.id });
  return Promise.all(
    items.map(async (command) => {
      // Reads no bytes, only the length of the log.
      const { endOffset } = await store.logs.read({ commandId: command.id, lastLines: 0, maxBytes: 1 });
      return { session, worktree, command, logBytes: endOffset, note: await readNote(store, command) };
    }),
  );
}

/** Returns the reason that the store has for the end of a command, or else its last line of output. */
async function readNote(store: Store, { id, state, endReason }: Command): Promise<string> {
  if (state === "succeeded" || endReason !== null) return endReason ?? "";
  const { chunks } = await store.logs.read({ commandId: id, lastLines: 1, maxBytes: 2_000 });
  return Buffer.concat(chunks.map(({ data }) => data)).toString();
}
