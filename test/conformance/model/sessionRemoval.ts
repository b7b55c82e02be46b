// The model of a session that goes, with all that belongs to it.
import { commandsOf } from "./commandState.ts";
import { discardArtifact } from "./fileState.ts";
import { inAnyOrder, type State } from "./state.ts";

const artifactsOf = (state: State, sessionId: string) =>
  [...state.artifacts.values()].filter((row) => row.sessionId === sessionId);

export const hasPinnedArtifact = (state: State, sessionId: string): boolean =>
  artifactsOf(state, sessionId).some(({ pinned }) => pinned);

/** Removes a session. Its own row of the change feed is left to the caller. */
export function removeSession(state: State, sessionId: string): void {
  for (const artifact of inAnyOrder(state, artifactsOf(state, sessionId))) {
    const { id, version } = artifact;
    if (artifact.state === "ready") discardArtifact(state, artifact);
    state.remove("artifacts", id);
    state.change("artifact", { id, version: version + 1 }, "delete", sessionId);
  }
  for (const { id } of commandsOf(state, sessionId)) {
    state.remove("commands", id);
    for (const { attempt } of state.attempts.get(id) ?? []) state.remove("logs", `${id}/${attempt}`);
    state.remove("attempts", id);
  }
  state.remove("marks", sessionId);
  state.remove("sessions", sessionId);
}
