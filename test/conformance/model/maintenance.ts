// The model of the reaper.
import { expireArtifacts } from "./artifacts.ts";
import { endByForce, settleForced } from "./commandEnds.ts";
import { expireKeys } from "./keys.ts";
import { expireCommands, expireWorktrees } from "./leases.ts";
import { modelOf } from "./operation.ts";
import { reapRunners } from "./runners.ts";
import { endSession } from "./sessionState.ts";
import { limits, type Session, type State, smallest } from "./state.ts";

/** Ends the commands that their runners did not stop in time. */
function stopCommands(state: State): string[] {
  const ids: string[] = [];
  for (;;) {
    const overdue = [...state.commands.values()].filter(
      ({ stopAt }) => stopAt !== null && stopAt <= state.now - limits.stopGraceMs,
    );
    const command = state.choices.of(smallest(overdue, ({ stopAt }) => stopAt as number));
    if (command === undefined) return ids;
    ids.push(command.id);
    settleForced(state, endByForce(state, state.sessions.get(command.sessionId) as Session, [command]));
  }
}

/** Ends the sessions that are idle or past their deadline. */
function reapSessions(state: State): string[] {
  const ids: string[] = [];
  const end = (isDue: (session: Session) => boolean, reason: string) => {
    for (const session of [...state.sessions.values()].filter((row) => row.endedAt === null && isDue(row))) {
      endSession(state, session, "expired", reason);
      ids.push(session.id);
    }
  };
  const isPast = (at: number | null) => at !== null && at <= state.now;
  end((row) => isPast(row.expiresAt) && row.activeCommands === 0 && row.queuedCommands === 0, "idle");
  end((row) => isPast(row.deadlineAt) && row.state !== "cancelling", "deadline");
  return ids;
}

export const maintenance = modelOf("maintenance", {
  reap: {
    weight: 5,
    input: () => ({}),
    run(_input, state) {
      const commands = [...expireCommands(state), ...stopCommands(state)];
      const worktrees = expireWorktrees(state);
      const sessions = reapSessions(state);
      const runners = reapRunners(state);
      const artifacts = expireArtifacts(state);
      const ids = {
        commands,
        worktrees,
        sessions,
        runners,
        artifacts,
        debugSessions: [],
        debugRequests: [],
        environments: [],
      };
      return { ...ids, keys: expireKeys(state), more: false };
    },
    ordered(answer) {
      const entries = Object.entries((answer ?? {}) as Record<string, unknown>);
      return Object.fromEntries(entries.map(([kind, ids]) => [kind, Array.isArray(ids) ? ids.toSorted() : ids]));
    },
  },
});
