// The model of leases whose time has passed.
import { expireCommand } from "./commandEnds.ts";
import { expireWorktree, sessionOf } from "./sessionState.ts";
import { type State, smallest, type Worktree } from "./state.ts";

/** Ends the expired leases of commands, of all runners or of one, and returns the ids of the commands. */
export function expireCommands(state: State, runnerId?: string, reason?: string): string[] {
  const ids: string[] = [];
  for (;;) {
    const due = [...state.commands.values()].filter(
      (row) => isDue(state, row) && (runnerId === undefined || row.runnerId === runnerId),
    );
    const command = state.choices.of(oldest(due));
    if (command === undefined) return ids;
    ids.push(command.id);
    expireCommand(state, command, reason);
  }
}

/** Ends the expired leases of worktrees, of all runners or of one, and returns the ids of the worktrees. */
export function expireWorktrees(state: State, runnerId?: string): string[] {
  const ids: string[] = [];
  while (expireOldest(state, (row) => runnerId === undefined || row.leaseRunnerId === runnerId, ids));
  return ids;
}

/**
 * Ends the lease of the worktree that expired first, of those that match. Returns false when there is none. A worktree
 * in which a command may still run keeps its holder.
 */
export function expireOldest(state: State, matches: (row: Worktree) => boolean, ids: string[] = []): boolean {
  const due = [...state.worktrees.values()].filter(
    (row) => isDue(state, row) && matches(row) && !hasActiveCommands(state, row),
  );
  const worktree = state.choices.of(oldest(due));
  if (worktree === undefined) return false;
  ids.push(worktree.id);
  expireWorktree(state, worktree, sessionOf(state, worktree));
  return true;
}

interface Leased {
  readonly id: string;
  readonly leaseExpiresAt: number | null;
}

const isDue = (state: State, { leaseExpiresAt }: Leased): boolean =>
  leaseExpiresAt !== null && leaseExpiresAt <= state.now;

const oldest = <Row extends Leased>(rows: readonly Row[]): readonly Row[] =>
  smallest(rows, ({ leaseExpiresAt }) => leaseExpiresAt as number);

/** Checks whether a command may still run in the worktree: that of an open session, or of one that has ended. */
function hasActiveCommands(state: State, worktree: { readonly id: string; readonly fence: number }): boolean {
  return [...state.sessions.values()].some(
    ({ worktreeId, worktreeFence, activeCommands }) =>
      worktreeId === worktree.id && worktreeFence === worktree.fence && activeCommands > 0,
  );
}
