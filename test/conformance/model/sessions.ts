// The model of sessions.
import { isDeepStrictEqual } from "node:util";
import { endByForce } from "./commandEnds.ts";
import { cancelCommand, commandsOf } from "./commandState.ts";
import { enqueue, newCommands } from "./commands.ts";
import { has } from "./labels.ts";
import { byId, fits, page, wholePage } from "./lists.ts";
import { modelOf } from "./operation.ts";
import { patchOfNewSession, patchOfSession } from "./patches.ts";
import type { Picks } from "./picks.ts";
import { activeRepository } from "./repositories.ts";
import { type Reservation, reserve } from "./reservation.ts";
import { hasPinnedArtifact, removeSession } from "./sessionRemoval.ts";
import { addSession, endSession, isOpen, keepActive, saveSession } from "./sessionState.ts";
import {
  Failure,
  get,
  raised,
  requireState,
  requireVersion,
  type Session,
  type State,
  stamped,
  tickMs,
} from "./state.ts";
import { commits } from "./worktrees.ts";

/** Returns the id of a session, mostly an open one, and perhaps its version. */
function one(picks: Picks, state: State) {
  const row = picks.row(state.sessions, isOpen);
  return { sessionId: picks.idOf(row), ...picks.version(row) };
}

/** Reserves within a larger call, of which nothing stays when no worktree is free. */
function reserveAtOnce(state: State, input: Reservation) {
  try {
    return reserve(state, input);
  } catch (error) {
    throw error instanceof Failure ? new Failure(error.code, error.details) : error;
  }
}

const sessionLabels: Record<string, string>[] = [{}, {}, { team: "core" }, { team: "core", urgent: "" }];

const requesters = ["ann", "bob"] as const;

export const sessions = modelOf("sessions", {
  create: {
    weight: 8,
    input: (picks, state) => ({
      id: picks.newId(),
      repositoryId: picks.id(state.repositories, ({ archivedAt }) => archivedAt === null),
      commitSha: picks.of(commits),
      maxParallel: picks.of([1, 2]),
      autoComplete: picks.oneIn(3),
      onFailure: picks.of(["continue", "continue", "stop"] as const),
      ...picks.optional("rerunOf", picks.id(state.sessions), 6),
      ...picks.optional("idleTtlMs", picks.of([3, 10]) * tickMs),
      ...picks.optional("deadlineMs", picks.of([10, 30]) * tickMs, 3),
      ...picks.optional("requestedBy", picks.of(requesters), 3),
      ...picks.optional("tokenId", picks.id(state.tokens), 6),
      ...picks.optional("requires", ["os"], 6),
      labels: picks.of(sessionLabels),
      ...(picks.oneIn(4) ? patchOfNewSession(picks, state) : picks.optional("patchUri", "s3://patches/1", 4)),
      ...picks.optional("reserve", { id: picks.newId(), ...picks.holder(state), ttlMs: picks.of([3, 10]) * tickMs }, 3),
      commands: newCommands(picks, state, picks.of([2, 1, 3, 0])),
    }),
    run(input, state) {
      const { id = "", repositoryId, commitSha, idleTtlMs, deadlineMs, tokenId, commands = [] } = input;
      const { now } = state;
      activeRepository(state, repositoryId);
      const token = tokenId === undefined ? undefined : get(state.tokens, "token", tokenId);
      const patch = patchOfSession(state, input.patchHash, input.patchUri);
      if (input.rerunOf !== undefined) get(state.sessions, "session", input.rerunOf);
      addSession(state, {
        id,
        repositoryId,
        worktreeId: null,
        worktreeFence: null,
        environmentId: null,
        tokenId: token?.id ?? null,
        accountId: token?.accountId ?? null,
        requestedBy: input.requestedBy ?? null,
        commitSha,
        patchId: patch?.id ?? null,
        patchHash: input.patchHash ?? null,
        patchUri: input.patchUri ?? patch?.uri ?? null,
        requires: [...(input.requires ?? [])],
        state: "pending",
        endReason: null,
        nextSequence: 1,
        maxParallel: input.maxParallel ?? 1,
        autoComplete: input.autoComplete ?? false,
        onFailure: input.onFailure ?? "continue",
        rerunOf: input.rerunOf ?? null,
        queuedCommands: 0,
        activeCommands: 0,
        failedCommands: 0,
        lastCommandId: null,
        lastCommandState: null,
        lastExitCode: null,
        lastSignal: null,
        idleTtlMs: idleTtlMs ?? null,
        expiresAt: idleTtlMs === undefined ? null : now + idleTtlMs,
        deadlineAt: deadlineMs === undefined ? null : now + deadlineMs,
        pinned: false,
        lastActivityAt: now,
        startedAt: null,
        endedAt: null,
        metadata: null,
        labels: { ...input.labels },
        ...stamped(now),
        hidden: { readyFrom: null },
      });
      const lease =
        input.reserve === undefined ? null : reserveAtOnce(state, { ...input.reserve, sessionId: id, repositoryId });
      const added = enqueue(state, state.sessions.get(id) as Session, commands);
      return { session: state.sessions.get(id), lease, commands: added };
    },
  },
  complete: {
    weight: 2,
    input: (picks, state) => ({
      ...one(picks, state),
      outcome: picks.of(["completed", "failed"] as const),
      ...picks.optional("reason", "done", 3),
    }),
    run({ sessionId, outcome = "completed", reason, expectedVersion }, state) {
      const session = get(state.sessions, "session", sessionId);
      if (session.state === outcome) return session;
      requireVersion(session, expectedVersion);
      requireState("session", session, ["pending", "running"]);
      return endSession(state, session, outcome, reason);
    },
  },
  cancel: {
    weight: 3,
    input: (picks, state) => ({
      ...one(picks, state),
      force: picks.oneIn(3),
      ...picks.optional("reason", "unwanted", 3),
    }),
    run({ sessionId, force = false, reason, expectedVersion }, state) {
      const session = get(state.sessions, "session", sessionId);
      if (session.state === "cancelled" || (session.state === "cancelling" && !force)) return session;
      requireVersion(session, expectedVersion);
      requireState("session", session, ["pending", "running", ...(force ? ["cancelling"] : [])]);
      if (!force || session.activeCommands === 0) return endSession(state, session, "cancelled", reason);
      // The commands end in the order of their ids, so the last one of them is the last command of the session.
      const active = commandsOf(state, sessionId)
        .filter(({ leaseExpiresAt }) => leaseExpiresAt !== null)
        .toSorted((a, b) => (a.id < b.id ? -1 : 1))
        .map((command) => (command.state === "cancelling" ? command : cancelCommand(state, command, null)));
      return endSession(state, endByForce(state, session, active).session, "cancelled", reason);
    },
  },
  update: {
    weight: 3,
    input: (picks, state) => {
      const row = picks.row(state.sessions);
      return {
        sessionId: picks.idOf(row),
        ...picks.optional("labels", picks.of(sessionLabels), 2),
        ...picks.optional("metadata", picks.of([1, null]), 3),
        ...picks.version(row),
      };
    },
    run({ sessionId, labels, metadata, expectedVersion }, state) {
      const before = get(state.sessions, "session", sessionId);
      const after = { labels: labels ?? before.labels, metadata: metadata === undefined ? before.metadata : metadata };
      if (isDeepStrictEqual(after, { labels: before.labels, metadata: before.metadata })) return before;
      requireVersion(before, expectedVersion);
      keepActive(state, sessionId);
      const row = raised(state.sessions.get(sessionId) as Session, after, state.now);
      state.put("sessions", sessionId, row);
      state.change("session", { ...row, fence: null }, "update", sessionId);
      return row;
    },
  },
  touch: {
    weight: 2,
    input: (picks, state) => ({ sessionId: picks.id(state.sessions, isOpen), start: picks.oneIn(2) }),
    run({ sessionId, start = false }, state) {
      const session = get(state.sessions, "session", sessionId);
      requireState("session", session, ["pending", "running"]);
      const starts = start && session.state === "pending";
      const changes = starts ? ({ state: "running", startedAt: state.now } as const) : {};
      return saveSession(state, session, changes, starts ? "start" : undefined);
    },
  },
  pin: {
    weight: 2,
    input(picks, state) {
      const row = picks.row(state.sessions);
      return { sessionId: picks.idOf(row), pinned: !picks.oneIn(3), ...picks.version(row) };
    },
    run({ sessionId, pinned = true, expectedVersion }, state) {
      const session = get(state.sessions, "session", sessionId);
      if (session.pinned === pinned) return session;
      requireVersion(session, expectedVersion);
      keepActive(state, sessionId);
      const row = raised(get(state.sessions, "session", sessionId), { pinned }, state.now);
      state.put("sessions", sessionId, row);
      state.change("session", { ...row, fence: null }, pinned ? "pin" : "unpin", sessionId);
      return row;
    },
  },
  get: {
    input: (picks, state) => ({ sessionId: picks.id(state.sessions) }),
    run: ({ sessionId }, state) => get(state.sessions, "session", sessionId),
  },
  wait: {
    input: (picks, state) => ({ sessionId: picks.id(state.sessions, (row) => !isOpen(row)), timeoutMs: 0 }),
    run({ sessionId }, state) {
      const session = get(state.sessions, "session", sessionId);
      if (isOpen(session)) throw new Failure("deadline_exceeded");
      return session;
    },
    waits: "timeoutMs",
    isMiss: (_input, result) => result instanceof Failure && result.code === "deadline_exceeded",
  },
  list: {
    input: (picks, state) => ({
      ...wholePage,
      ...picks.optional("repositoryId", picks.id(state.repositories)),
      ...picks.optional("state", picks.of(["running", ["pending", "running"], "failed"] as const) as "running"),
      ...picks.optional("requestedBy", picks.of(requesters), 4),
      ...picks.optional("commitSha", picks.of(commits), 4),
      ...picks.optional("labels", picks.of([["team"], ["team=core"], ["team=core", "urgent"], ["team=other"]]), 3),
    }),
    run: ({ repositoryId, state: wanted, requestedBy, commitSha, labels = [] }, state) =>
      page(
        state.sessions,
        (row) =>
          has(row, labels) &&
          fits(repositoryId, row.repositoryId) &&
          fits(wanted, row.state) &&
          fits(requestedBy, row.requestedBy) &&
          fits(commitSha, row.commitSha),
      ),
    ordered: byId,
  },
  delete: {
    weight: 2,
    isAlone: true,
    input(picks, state) {
      const row = picks.row(state.sessions, (session) => !isOpen(session));
      return { sessionId: picks.idOf(row), ...picks.version(row) };
    },
    run({ sessionId, expectedVersion }, state) {
      const session = state.sessions.get(sessionId);
      if (session === undefined) return { deleted: true };
      requireVersion(session, expectedVersion);
      if (isOpen(session) || session.activeCommands > 0)
        throw new Failure("invalid_transition", { entity: "session", state: session.state });
      if (session.pinned) throw new Failure("conflict", { reason: "pinned", sessionId });
      if (hasPinnedArtifact(state, sessionId)) throw new Failure("conflict", { reason: "pinned" });
      removeSession(state, sessionId);
      state.change("session", { id: sessionId, version: session.version + 1 }, "delete", sessionId);
      return { deleted: true };
    },
  },
});
