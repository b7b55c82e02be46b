// The model of files that are no longer needed: when one is discarded, and when it is named again.
import { type Artifact, type DiscardedFile, Failure, limits, type State } from "./state.ts";

/** Gives the file of an artifact that has ended to the collectors. */
export function discardArtifact(state: State, { id, uri, sizeBytes, sessionId }: Artifact): void {
  discardFile(state, { id, kind: "artifact", uri, sizeBytes, sessionId });
}

type Discarded = Pick<DiscardedFile, "id" | "kind" | "sizeBytes" | "sessionId"> & { readonly uri: string | null };

/** Gives a file to the collectors. One that they have already stays as it is. */
export function discardFile(state: State, { id, kind, uri, sizeBytes, sessionId }: Discarded): void {
  if (uri === null || [...state.files.values()].some((row) => row.uri === uri)) return;
  const row: DiscardedFile = {
    id,
    kind,
    place: "",
    uri,
    sizeBytes,
    sessionId,
    owner: null,
    fence: 0,
    dueAt: state.now + limits.fileGraceMs,
    failures: 0,
    lastError: null,
    createdAt: state.now,
  };
  state.put("files", id, row);
}

/** Takes back a file that is named again. Fails when a collector has had it, because it may be removing it. */
export function reclaimFile(state: State, uri: string): void {
  const rows = [...state.files.values()].filter((row) => row.uri === uri);
  if (rows.some(({ fence }) => fence > 0)) throw new Failure("conflict", { reason: "discarded" });
  for (const { id } of rows) state.remove("files", id);
}
