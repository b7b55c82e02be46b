// The model of what retention removes. What is due goes whole; what is pinned, or named by another row, stays.
import type { RetentionKind } from "../../../src/model/vocabulary.ts";
import { endArtifact } from "./artifacts.ts";
import { pruneFeed } from "./feed.ts";
import { isPatchUsed, removePatch } from "./patches.ts";
import { hasPinnedArtifact, removeSession } from "./sessionRemoval.ts";
import {
  type Artifact,
  type DiscardedFile,
  inAnyOrder,
  type Runner,
  type Session,
  type State,
  type Token,
  type Worktree,
} from "./state.ts";

/** Something that goes. `isNamed`: the row of its kind in the change feed has its id. */
interface Going {
  readonly id: string;
  readonly isNamed: boolean;
  remove(): void;
}

/** Removes what is due of these kinds, or only counts it. */
export function pruneKinds(state: State, kinds: readonly RetentionKind[], dryRun: boolean) {
  const rows: Partial<Record<RetentionKind, number>> = {};
  let heldBy: readonly string[] = [];
  for (const kind of kinds) {
    if (kind === "changes") {
      const { gone, heldBy: names } = pruneFeed(dryRun ? state.copy() : state);
      if (!dryRun) note(state, kind, gone);
      [rows.changes, heldBy] = [gone, names];
      continue;
    }
    let due = goingOf[kind](state);
    rows[kind] = due.length;
    if (dryRun) continue;
    const gone: Going[] = [];
    while (due.length > 0) {
      for (const each of due) each.remove();
      gone.push(...due);
      // What another one of the kind has named may go with it, or with the next call.
      due = goingOf[kind](state).filter(({ id }) => state.choices.of([{ id: "stays" }, { id }])?.id === id);
    }
    rows[kind] = gone.length;
    note(state, kind, gone.length, gone);
  }
  return { rows, heldBy };
}

/** Counts what has gone. Each step that has removed something of a kind raises the version of its row. */
function note(state: State, kind: RetentionKind, rows: number, gone: readonly Going[] = []): void {
  if (rows === 0) return;
  const before = state.pruned.get(kind) ?? { rows: 0, version: 0 };
  const versions = Array.from({ length: kind === "changes" ? 1 : rows }, (_, index) => before.version + 1 + index);
  const version = state.choices.of(versions.map((number) => ({ id: `${kind} ${number}`, number })))?.number ?? 0;
  state.put("pruned", kind, { rows: before.rows + rows, version, at: state.now });
  if (kind === "changes") return;
  const ids = gone.filter(({ isNamed }) => isNamed).map(({ id }) => id);
  const change = {
    entity: "pruned",
    entityId: kind,
    op: "prune",
    entityVersion: version,
    fence: null,
    sessionId: null,
  };
  // Which step names the sessions of logs depends on where it stops.
  state.announce(kind === "logs" ? change : { ...change, ids: ids.toSorted() }, version - before.version);
}

/** Checks whether a time is so long ago that retention keeps what has ended then no longer. */
function isDue(state: State, at: number | null, ms: number | null): boolean {
  return at !== null && ms !== null && at <= state.now - ms;
}

/** Returns the settings for a session: those of its repository come first. */
function retentionOf(state: State, sessionId: string): State["retention"] {
  const session = state.sessions.get(sessionId) as Session;
  return { ...state.retention, ...(state.repositories.get(session.repositoryId)?.retention as object) };
}

const isPinned = (state: State, sessionId: string): boolean => state.sessions.get(sessionId)?.pinned === true;

function endedSessions(state: State, setting: "logsMs" | "sessionsMs"): readonly Session[] {
  return [...state.sessions.values()].filter(
    (row) => isDue(state, row.endedAt, retentionOf(state, row.id)[setting]) && !row.pinned && row.activeCommands === 0,
  );
}

/** Returns the rows of a table that go by themselves. */
function rowsOf<Row extends { readonly id: string }>(
  state: State,
  table: "artifacts" | "worktrees" | "runners" | "tokens" | "files",
  isGoing: (row: Row) => boolean,
): readonly Going[] {
  const rows = [...(state[table] as ReadonlyMap<string, unknown>).values()] as Row[];
  return rows.filter(isGoing).map(({ id }) => ({ id, isNamed: true, remove: () => state.remove(table, id) }));
}

const goingOf: Readonly<Record<Exclude<RetentionKind, "changes">, (state: State) => readonly Going[]>> = {
  sessions: (state) =>
    endedSessions(state, "sessionsMs")
      .filter(({ id }) => !hasPinnedArtifact(state, id))
      .map(({ id, version, patchId, patchUri }) => ({
        id,
        isNamed: patchUri === null || patchId !== null,
        remove() {
          removeSession(state, id);
          if (patchUri !== null && patchId === null)
            state.change("session", { id, version: version + 1 }, "delete", id);
        },
      })),
  logs: (state) =>
    endedSessions(state, "logsMs").flatMap((session) =>
      [...state.commands.values()]
        .filter(({ sessionId }) => sessionId === session.id)
        .flatMap((command) =>
          (state.attempts.get(command.id) ?? [])
            .filter(({ logState }) => logState === "sealed")
            .map(({ attempt }) => ({
              id: command.id,
              isNamed: false,
              remove: () => removeLog(state, command.id, attempt),
            })),
        ),
    ),
  debug: () => [],
  readyArtifacts(state) {
    const due = [...state.artifacts.values()].filter(
      ({ state: is, sessionId, createdAt, pinned }) =>
        is === "ready" &&
        isDue(state, createdAt, retentionOf(state, sessionId).readyArtifactsMs) &&
        !pinned &&
        !isPinned(state, sessionId),
    );
    // Of those with one uri, the first one gives its file away.
    return inAnyOrder(state, due).map((row) => ({
      id: row.id,
      isNamed: false,
      remove: () => endArtifact(state, row, "expire"),
    }));
  },
  artifacts: (state) =>
    rowsOf(
      state,
      "artifacts",
      (row: Artifact) =>
        (row.state === "failed" || row.state === "deleted") &&
        isDue(state, row.updatedAt, state.retention.artifactsMs) &&
        !isPinned(state, row.sessionId),
    ),
  worktrees: (state) =>
    rowsOf(
      state,
      "worktrees",
      (row: Worktree) =>
        row.state === "removed" &&
        isDue(state, row.updatedAt, state.retention.worktreesMs) &&
        ![...state.sessions.values()].some(({ worktreeId }) => worktreeId === row.id),
    ),
  runners: (state) =>
    rowsOf(
      state,
      "runners",
      (row: Runner) =>
        row.state === "gone" && isDue(state, row.updatedAt, state.retention.runnersMs) && !isRunnerNamed(state, row.id),
    ),
  tokens: (state) =>
    rowsOf(
      state,
      "tokens",
      (row: Token) =>
        isDue(state, row.revokedAt ?? row.expiresAt, state.retention.tokensMs) && !isTokenNamed(state, row),
    ),
  // No runner of the model reports what it has used.
  usage: () => [],
  patches: (state) => {
    const due = [...state.patches.values()].filter(
      ({ id, lastUsedAt }) => isDue(state, lastUsedAt, state.retention.patchesMs) && !isPatchUsed(state, id),
    );
    // Of those with one uri, the first one gives its file away.
    return inAnyOrder(state, due).map((row) => ({ id: row.id, isNamed: false, remove: () => removePatch(state, row) }));
  },
  environments: () => [],
  files: (state) =>
    rowsOf(state, "files", ({ createdAt }: DiscardedFile) => isDue(state, createdAt, state.retention.filesMs)),
};

function removeLog(state: State, commandId: string, number: number): void {
  const all = state.attempts.get(commandId) ?? [];
  const gone = all.map((one) =>
    one.attempt === number ? { ...one, logState: "pruned" as const, droppedBytes: one.logBytes } : one,
  );
  state.put("attempts", commandId, gone);
  state.remove("logs", `${commandId}/${number}`);
}

function isRunnerNamed(state: State, id: string): boolean {
  return (
    [...state.attempts.values()].flat().some(({ runnerId }) => runnerId === id) ||
    [...state.worktrees.values()].some(({ leaseRunnerId }) => leaseRunnerId === id)
  );
}

function isTokenNamed(state: State, { id }: Token): boolean {
  return (
    [...state.sessions.values()].some(({ tokenId }) => tokenId === id) ||
    [...state.tokens.values()].some(({ createdBy, rotatedTo }) => createdBy === id || rotatedTo === id)
  );
}
