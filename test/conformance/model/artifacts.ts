// The model of artifacts.
import { discardArtifact, reclaimFile } from "./fileState.ts";
import { byId, fits, page, wholePage } from "./lists.ts";
import { modelOf } from "./operation.ts";
import type { Picks } from "./picks.ts";
import { keepActive } from "./sessionState.ts";
import {
  type Artifact,
  Failure,
  get,
  inAnyOrder,
  raised,
  requireState,
  requireVersion,
  type State,
  stamped,
  tickMs,
} from "./state.ts";

const names = ["a", "a", "a/b", "c"] as const;
const hashes = ["0".repeat(64), "1".repeat(64)] as const;
/** The time after which an announced artifact fails when its announcement names none: one hour. */
const announcedMs = 3_600_000;

const isLive = ({ state }: Artifact): boolean => state === "pending" || state === "ready";

const isOver = ({ expiresAt, pinned }: Artifact, now: number): boolean =>
  expiresAt !== null && expiresAt <= now && !pinned;

function save(state: State, row: Artifact, op: string): Artifact {
  state.put("artifacts", row.id, row);
  state.change("artifact", row, op, row.sessionId);
  return row;
}

/** Ends an artifact: a ready one is deleted, a pending one fails. */
export function endArtifact(state: State, before: Artifact, op: "delete" | "expire" | "replace"): Artifact {
  const to = before.state === "ready" ? "deleted" : "failed";
  if (to === "deleted") discardArtifact(state, before);
  return save(state, raised(before, { state: to }, state.now), op);
}

/** Ends the artifacts whose time is over, and returns their ids. The first one of a uri gives its file away. */
export function expireArtifacts(state: State): string[] {
  const due = [...state.artifacts.values()].filter((row) => isLive(row) && isOver(row, state.now));
  return inAnyOrder(state, due).map((row) => endArtifact(state, row, "expire").id);
}

/** Lets an artifact expire at the later of two times. Of two times in one tick, either may be the later one. */
function extend(state: State, before: Artifact, expiresAt: number | null): Artifact {
  const isLater =
    before.expiresAt !== null &&
    (expiresAt === null ||
      expiresAt > before.expiresAt ||
      (expiresAt === before.expiresAt && state.choices.of([{ id: "later" }, { id: "not later" }])?.id === "later"));
  return isLater ? save(state, raised(before, { expiresAt }, state.now), "extend") : before;
}

const timeAfter = (state: State, ttlMs: number | undefined) => (ttlMs === undefined ? null : state.now + ttlMs);

interface Place {
  readonly sessionId: string;
  readonly commandId: string | null;
  readonly attempt: number | null;
}

/** Returns what an artifact belongs to: an attempt of a command, or the session as a whole. */
function placeOf(
  state: State,
  {
    sessionId,
    commandId,
    attempt,
  }: { sessionId: string; commandId?: string | undefined; attempt?: number | undefined },
): Place {
  get(state.sessions, "session", sessionId);
  keepActive(state, sessionId);
  if (commandId === undefined) {
    if (attempt !== undefined) throw new Failure("not_found", { entity: "attempt" });
    return { sessionId, commandId: null, attempt: null };
  }
  const command = get(state.commands, "command", commandId);
  if (command.sessionId !== sessionId) throw new Failure("not_found", { entity: "command", id: commandId });
  const number = attempt ?? command.attempt;
  if (number < 1 || number > command.attempt) throw new Failure("not_found", { entity: "attempt" });
  return { sessionId, commandId, attempt: number };
}

const isAt = (row: Artifact, place: Place): boolean =>
  row.sessionId === place.sessionId && row.commandId === place.commandId && row.attempt === place.attempt;

/** Returns the artifact that has the name. One whose time is over is ended. */
function named(state: State, place: Place, name: string): Artifact | undefined {
  const row = [...state.artifacts.values()].find((other) => isLive(other) && isAt(other, place) && other.name === name);
  if (row === undefined || !isOver(row, state.now)) return row;
  endArtifact(state, row, "expire");
  return undefined;
}

/** Frees the name of an artifact with other content. */
function replaceOrFail(state: State, before: Artifact, replace: boolean): void {
  const reason = before.state === "ready" ? "content" : "pending";
  if (!replace) throw new Failure("conflict", { reason, artifactId: before.id });
  if (before.pinned) throw new Failure("conflict", { reason: "pinned" });
  endArtifact(state, before, "replace");
}

function requireNoFolder(state: State, place: Place, name: string): void {
  const other = [...state.artifacts.values()].find(
    (row) =>
      isLive(row) &&
      !isOver(row, state.now) &&
      isAt(row, place) &&
      (row.name.startsWith(`${name}/`) || name.startsWith(`${row.name}/`)),
  );
  if (other !== undefined) throw new Failure("conflict", { reason: "folder", artifactId: other.id });
}

interface New extends Pick<Artifact, "state" | "sizeBytes" | "sha256" | "uri" | "expiresAt"> {
  readonly id?: string | undefined;
  readonly name: string;
  readonly kind?: Artifact["kind"] | undefined;
}

function add(state: State, place: Place, { id = "", name, kind = "custom", ...content }: New): Artifact {
  const row: Artifact = {
    id,
    ...place,
    name,
    kind,
    contentType: null,
    description: null,
    metadata: null,
    pinned: false,
    ...content,
    ...stamped(state.now),
  };
  return save(state, row, row.state === "ready" ? "record" : "begin");
}

/** Returns what an artifact is to belong to, and its name: often those of another one. */
function newName(picks: Picks, state: State) {
  const other = picks.oneIn(2) ? picks.row(state.artifacts, isLive) : undefined;
  if (other !== undefined) {
    const { sessionId, commandId, attempt, name } = other;
    return { sessionId, name, ...(commandId === null || attempt === null ? {} : { commandId, attempt }) };
  }
  const session = picks.row(state.sessions);
  const command = picks.row(state.commands, (row) => row.attempt > 0 && row.sessionId === session?.id);
  return {
    sessionId: picks.idOf(session),
    ...picks.optional("commandId", picks.idOf(command)),
    ...picks.optional("attempt", picks.of([1, 2]), 8),
    name: picks.of(names),
  };
}

/** Returns the fields with which an artifact is recorded or announced. */
function newArtifact(picks: Picks, state: State) {
  return {
    id: picks.newId(),
    ...newName(picks, state),
    ...picks.optional("ttlMs", picks.of([2, 9]) * tickMs),
    ...picks.optional("kind", "log" as const, 4),
    replace: picks.oneIn(4),
  };
}

const contentOf = (picks: Picks) => ({
  sizeBytes: 7,
  sha256: picks.of(hashes),
  uri: `s3://bucket/${picks.of([1, 2, 3, 4, 5])}`,
});

/** Returns an artifact, whose session is thereby used, even if the call changes nothing. */
function used(state: State, id: string): Artifact {
  const row = get(state.artifacts, "artifact", id);
  keepActive(state, row.sessionId);
  return row;
}

function requireNotOver(state: State, row: Artifact): void {
  requireState("artifact", row, ["pending", "ready"]);
  if (isOver(row, state.now)) throw new Failure("invalid_transition", { expiredAt: row.expiresAt });
}

export const artifacts = modelOf("artifacts", {
  record: {
    weight: 5,
    input: (picks, state) => ({ ...newArtifact(picks, state), ...contentOf(picks) }),
    run({ id, name, kind, sizeBytes, sha256, uri, ttlMs, replace = false, ...belonging }, state) {
      const place = placeOf(state, belonging);
      const expiresAt = timeAfter(state, ttlMs);
      const before = named(state, place, name);
      if (before?.state === "ready" && before.sha256 === sha256)
        return { artifact: extend(state, before, expiresAt), created: false };
      if (before !== undefined) replaceOrFail(state, before, replace);
      requireNoFolder(state, place, name);
      reclaimFile(state, uri);
      const content = { state: "ready", sizeBytes, sha256, uri, expiresAt } as const;
      return { artifact: add(state, place, { id, name, kind, ...content }), created: true };
    },
  },
  begin: {
    weight: 3,
    input: (picks, state) => ({ ...newArtifact(picks, state), ...picks.optional("sha256", picks.of(hashes)) }),
    run({ id, name, kind, sha256, ttlMs = announcedMs, replace = false, ...belonging }, state) {
      const place = placeOf(state, belonging);
      const expiresAt = timeAfter(state, ttlMs);
      const before = named(state, place, name);
      if (before?.state === "ready" && before.sha256 === sha256) return { artifact: before, created: false };
      if (before?.state === "pending" && before.sha256 === (sha256 ?? null))
        return { artifact: extend(state, before, expiresAt), created: false };
      if (before !== undefined) replaceOrFail(state, before, replace);
      requireNoFolder(state, place, name);
      const content = { state: "pending", sizeBytes: null, sha256: sha256 ?? null, uri: null, expiresAt } as const;
      return { artifact: add(state, place, { id, name, kind, ...content }), created: true };
    },
  },
  commit: {
    weight: 4,
    input(picks, state) {
      const row = picks.row(state.artifacts, ({ state }) => state === "pending");
      return {
        artifactId: picks.idOf(row),
        ...contentOf(picks),
        ...picks.optional("ttlMs", picks.of([2, 9]) * tickMs),
        ...picks.version(row),
      };
    },
    run({ artifactId, sizeBytes, sha256, uri, ttlMs, expectedVersion }, state) {
      const before = used(state, artifactId);
      requireNotOver(state, before);
      const expiresAt = timeAfter(state, ttlMs);
      const isOther = before.sha256 !== null && before.sha256 !== sha256;
      if (isOther) throw new Failure("conflict", { reason: "content" });
      if (before.state === "ready") return extend(state, before, expiresAt);
      requireVersion(before, expectedVersion);
      reclaimFile(state, uri);
      const row = raised(before, { state: "ready", sizeBytes, sha256, uri, expiresAt }, state.now);
      return save(state, row, "commit");
    },
  },
  delete: {
    weight: 2,
    input(picks, state) {
      const row = picks.row(state.artifacts, isLive);
      return { artifactId: picks.idOf(row), ...picks.version(row) };
    },
    run({ artifactId, expectedVersion }, state) {
      const before = used(state, artifactId);
      if (!isLive(before)) return before;
      requireVersion(before, expectedVersion);
      if (before.pinned) throw new Failure("conflict", { reason: "pinned" });
      return endArtifact(state, before, "delete");
    },
  },
  pin: {
    weight: 3,
    input(picks, state) {
      const row = picks.row(state.artifacts, isLive);
      return { artifactId: picks.idOf(row), pinned: !picks.oneIn(3), ...picks.version(row) };
    },
    run({ artifactId, pinned = true, expectedVersion }, state) {
      const before = used(state, artifactId);
      if (!pinned && !before.pinned) return before;
      if (pinned) requireNotOver(state, before);
      if (before.pinned === pinned) return before;
      requireVersion(before, expectedVersion);
      return save(state, raised(before, { pinned }, state.now), pinned ? "pin" : "unpin");
    },
  },
  get: {
    input: (picks, state) => ({ artifactId: picks.id(state.artifacts) }),
    run: ({ artifactId }, state) => get(state.artifacts, "artifact", artifactId),
  },
  list: {
    input: (picks, state) => ({
      ...wholePage,
      ...picks.optional("sessionId", picks.id(state.sessions)),
      ...picks.optional("commandId", picks.id(state.commands), 4),
      ...picks.optional("kind", "log" as const, 4),
      ...picks.optional("state", picks.of(["ready", ["pending", "failed"], "deleted"] as const) as "ready"),
    }),
    run: ({ sessionId, commandId, kind, state: wanted }, state) =>
      page(
        state.artifacts,
        (row) =>
          fits(sessionId, row.sessionId) &&
          fits(commandId, row.commandId) &&
          fits(kind, row.kind) &&
          fits(wanted, row.state),
      ),
    ordered: byId,
  },
});
