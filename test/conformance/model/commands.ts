// The model of commands.
import { asLast, endByForce, handBack, settleForced } from "./commandEnds.ts";
import {
  cancelCommand,
  commandsOf,
  endCommand,
  hasFailed,
  isFinal,
  isOverTime,
  lastAttempt,
  type Result,
  requeue,
} from "./commandState.ts";
import { has, requirements } from "./labels.ts";
import { byId, fits, page, wholePage } from "./lists.ts";
import { modelOf } from "./operation.ts";
import type { Picks } from "./picks.ts";
import { liveRunner, revive } from "./runners.ts";
import { isOpen, saveSession, settle, stopAfter } from "./sessionState.ts";
import {
  type Command,
  Failure,
  get,
  raised,
  requireState,
  requireVersion,
  type Session,
  type State,
  smallest,
  stamped,
  tickMs,
} from "./state.ts";
import { lost } from "./worktreeLease.ts";

interface NewCommand {
  readonly id?: string | undefined;
  readonly argv: readonly string[];
  readonly priority?: number | undefined;
  readonly timeoutMs?: number | undefined;
  readonly maxAttempts?: number | undefined;
  readonly requires?: readonly string[] | undefined;
  readonly retries?: number | undefined;
  readonly retryDelayMs?: number | undefined;
  readonly notBefore?: Date | undefined;
  readonly rerunOf?: string | undefined;
}

/** Returns the inputs of some new commands. */
export function newCommands(picks: Picks, state: State, count: number) {
  return Array.from({ length: count }, () => ({
    id: picks.newId(),
    argv: ["true"],
    priority: picks.of([0, 0, 2, -1]),
    maxAttempts: picks.of([1, 2]),
    requires: picks.of(requirements),
    // Times stay when the clock is set back, so a run has one or the other.
    ...(state.wasSetBack
      ? {}
      : {
          retries: picks.of([0, 0, 1, 2]),
          retryDelayMs: picks.of([0, 1, 3]) * tickMs,
          ...picks.optional("notBefore", new Date(state.now + picks.of([-1, 0, 2]) * tickMs), 5),
        }),
    ...picks.optional("rerunOf", picks.id(state.commands), 6),
    ...picks.optional("timeoutMs", picks.of([2, 4]) * tickMs),
  }));
}

/** Adds commands to the end of the queue of a session. */
export function enqueue(state: State, session: Session, commands: readonly NewCommand[]): readonly Command[] {
  const { now } = state;
  for (const { rerunOf } of commands) if (rerunOf !== undefined) get(state.commands, "command", rerunOf);
  const added = commands.map(
    (command, index): Command => ({
      id: command.id as string,
      sessionId: session.id,
      sequence: session.nextSequence + index,
      argv: [...command.argv],
      cwd: null,
      env: null,
      secretEnvKeys: null,
      requires: [...new Set([...session.requires, ...(command.requires ?? [])])].sort(),
      state: "queued",
      priority: command.priority ?? 0,
      timeoutMs: command.timeoutMs ?? null,
      attempt: 0,
      maxAttempts: command.maxAttempts ?? 1,
      lostClaims: 0,
      retries: command.retries ?? 0,
      retryDelayMs: command.retryDelayMs ?? 10_000,
      failedAttempts: 0,
      notBefore: command.notBefore?.getTime() ?? null,
      rerunOf: command.rerunOf ?? null,
      fence: 0,
      runnerId: null,
      leaseExpiresAt: null,
      stopAt: null,
      exitCode: null,
      signal: null,
      endReason: null,
      cancelRequestedAt: null,
      queuedAt: now,
      startedAt: null,
      endedAt: null,
      ...stamped(now),
      hidden: { confirmedFence: 0 },
    }),
  );
  for (const row of added) {
    state.put("commands", row.id, row);
    state.change("command", { ...row, fence: null }, "enqueue", session.id);
  }
  const nextSequence = session.nextSequence + added.length;
  const queuedCommands = session.queuedCommands + added.length;
  if (added.length > 0) saveSession(state, session, { nextSequence, queuedCommands });
  return added;
}

/** Returns the command at the head of the queue of a session. */
const headOf = (state: State, sessionId: string) =>
  commandsOf(state, sessionId).find((row) => row.state === "queued") as Command;

/** Returns the sessions from which the runner may claim, the ones that come first. */
function claimable(state: State, runnerId: string, sessionId: string | undefined): readonly Session[] {
  const ready = [...state.sessions.values()].filter((session) => {
    if (session.hidden.readyFrom === null || !fits(sessionId, session.id)) return false;
    const head = headOf(state, session.id);
    if (!has(state.runners.get(runnerId), head.requires) || (head.notBefore ?? state.now) > state.now) return false;
    if (session.worktreeId === null) return true;
    const worktree = state.worktrees.get(session.worktreeId);
    return worktree?.fence === session.worktreeFence && worktree?.leaseRunnerId === runnerId;
  });
  return state.wasSetBack ? ready : smallest(ready, ({ hidden }) => hidden.readyFrom as number);
}

/** Checks whether a claim from the named session need not wait, because the session takes no commands any more. */
function hasEnded(state: State, sessionId: string): boolean {
  const session = state.sessions.get(sessionId);
  return session !== undefined && session.state !== "pending" && session.state !== "running";
}

const isActive = ({ leaseExpiresAt }: Command): boolean => leaseExpiresAt !== null;

const outcomes = ["succeeded", "failed", "timed_out", "cancelled"] as const;

/** Returns the outcome to record. A runner that stops a command at its timeout need not know why. */
function recorded(row: Command, outcome: (typeof outcomes)[number], now: number) {
  const isTimedOut =
    row.state === "running" ? isOverTime(row, now) : row.state === "timed_out" && row.timeoutMs !== null;
  return outcome === "cancelled" && isTimedOut && row.cancelRequestedAt === null ? "timed_out" : outcome;
}

/** The runners of the model do not report what programs use. */
const unreported = { cpuMs: null, memoryBytes: null, writtenBytes: null };

/** Checks whether another attempt follows this result. */
function mayRetry(row: Command, session: Session, { state }: Result): boolean {
  const isWanted = row.state === "running" && (session.state === "pending" || session.state === "running");
  return isWanted && (state === "failed" || state === "timed_out") && row.failedAttempts < row.retries;
}

/** Checks whether this result of the last attempt was reported before, and another one follows. */
function wasRetried(state: State, row: Command, fence: number, result: Result): boolean {
  if (row.state !== "queued" || row.fence !== fence || row.failedAttempts === 0) return false;
  const { outcome, exitCode, signal } = lastAttempt(state, row.id);
  const isSame = outcome === result.state || (outcome === "timed_out" && result.state === "cancelled");
  return isSame && exitCode === result.exitCode && signal === result.signal;
}

export const commands = modelOf("commands", {
  enqueue: {
    weight: 5,
    input: (picks, state) => ({
      sessionId: picks.id(state.sessions, isOpen),
      commands: newCommands(picks, state, picks.of([1, 2, 3])),
    }),
    run({ sessionId, commands }, state) {
      const session = get(state.sessions, "session", sessionId);
      requireState("session", session, ["pending", "running"]);
      return enqueue(state, session, commands);
    },
  },
  claim: {
    weight: 14,
    input: (picks, state) => ({
      runnerId: picks.id(
        state.runners,
        (row) => (row.state === "online" || row.state === "stalled") && claimable(state, row.id, undefined).length > 0,
      ),
      // Odd, so that half of it is never the rest of a runner's time.
      ttlMs: picks.of([3, 5, 9]) * tickMs,
      ...picks.optional("sessionId", picks.id(state.sessions, isOpen), 4),
    }),
    run({ runnerId, ttlMs = tickMs, sessionId }, state) {
      const { now } = state;
      let runner = liveRunner(state, runnerId);
      const isAlive = runner.state === "online" && runner.expiresAt >= now + ttlMs / 2;
      if (!isAlive && runner.state !== "draining") runner = revive(state, runner, ttlMs);
      requireState("runner", runner, ["online"]);
      const session = state.choices.of(claimable(state, runnerId, sessionId));
      if (session === undefined) {
        if (sessionId !== undefined) get(state.sessions, "session", sessionId);
        return undefined;
      }
      const head = headOf(state, session.id);
      const command = raised(
        head,
        {
          state: "running",
          attempt: head.attempt + 1,
          fence: head.fence + 1,
          runnerId,
          leaseExpiresAt: now + ttlMs,
          stopAt: head.timeoutMs === null ? null : now + head.timeoutMs,
          startedAt: now,
        },
        now,
      );
      state.put("commands", command.id, command);
      const { attempt, fence } = command;
      state.put("attempts", command.id, [
        ...(state.attempts.get(command.id) ?? []),
        {
          attempt,
          fence,
          runnerId,
          outcome: null,
          exitCode: null,
          signal: null,
          startedAt: now,
          endedAt: null,
          logState: "open",
          logBytes: 0,
          logLines: 0,
          droppedBytes: 0,
          logUri: null,
          ...unreported,
        },
      ]);
      state.change("command", command, "claim", session.id);
      const starts = session.state === "pending";
      const counters = { queuedCommands: session.queuedCommands - 1, activeCommands: session.activeCommands + 1 };
      const saved = saveSession(
        state,
        session,
        starts ? { ...counters, state: "running", startedAt: now } : counters,
        starts ? "start" : undefined,
      );
      return { command, session: saved, fence, expiresAt: now + ttlMs };
    },
    waits: "waitMs",
    isMiss: ({ sessionId = "" }, answer, state) => answer === undefined && !hasEnded(state, sessionId),
    // A claim that has found nothing yet stores nothing.
    isStored: ({ sessionId = "" }, answer, state) => answer !== undefined || hasEnded(state, sessionId),
  },
  finish: {
    weight: 8,
    input(picks, state) {
      const row = picks.row(state.commands, isActive);
      const outcome = picks.of(outcomes);
      return {
        commandId: picks.idOf(row),
        fence: picks.fence(row),
        outcome,
        ...(outcome === "succeeded" ? {} : picks.optional("exitCode", 3)),
        ...picks.optional("reason", "reported", 4),
        ...picks.optional("logOffset", picks.of([0, 4, 100]), 4),
        ...picks.optional("release", picks.of(["clean", "dirty", "keep", "broken"] as const)),
      };
    },
    run({ commandId, fence, outcome, exitCode, reason, logOffset, release }, state) {
      const before = get(state.commands, "command", commandId);
      const session = state.sessions.get(before.sessionId) as Session;
      const result = {
        state: recorded(before, outcome, state.now),
        exitCode: outcome === "succeeded" ? 0 : (exitCode ?? null),
        signal: null,
        endReason: reason ?? before.endReason,
      };
      const answer = (command: Command, { id }: Session) => {
        const after = state.sessions.get(id) as Session;
        return { command, session: after, remainingCommands: after.queuedCommands + after.activeCommands };
      };
      if (isFinal(before.state)) {
        if (before.fence !== fence) throw lost(before);
        const isSame = before.state === result.state && before.exitCode === result.exitCode && before.signal === null;
        if (!isSame) throw new Failure("invalid_transition", { entity: "command", state: before.state });
        return answer(before, session);
      }
      if (wasRetried(state, before, fence, result)) return answer(before, session);
      if (before.fence !== fence || before.leaseExpiresAt === null) throw lost(before);
      if (before.state === "running" && result.state === "cancelled")
        throw new Failure("invalid_transition", { entity: "command", state: "running" });
      if (mayRetry(before, session, result)) {
        const retryAt = state.now + before.retryDelayMs * 2 ** before.failedAttempts;
        const retried = requeue(state, before, result, { retryAt, logOffset });
        const { activeCommands, queuedCommands } = session;
        const queue = { activeCommands: activeCommands - 1, queuedCommands: queuedCommands + 1 };
        settle(state, saveSession(state, session, queue));
        return answer(retried, session);
      }
      const command = endCommand(state, before, result, "finish", logOffset);
      const counters = {
        activeCommands: session.activeCommands - 1,
        failedCommands: session.failedCommands + (hasFailed(result.state) ? 1 : 0),
        ...asLast(command),
        ...stopAfter(state, session, hasFailed(result.state)),
      };
      const left = release === undefined ? undefined : { runnerId: before.runnerId, to: release };
      settle(state, saveSession(state, session, counters), left);
      return answer(command, session);
    },
  },
  handBack: {
    weight: 4,
    input(picks, state) {
      const row = picks.row(state.commands, isActive);
      return {
        commandId: picks.idOf(row),
        fence: picks.fence(row),
        ...picks.optional("hasStarted", picks.oneIn(2), 2),
        ...picks.optional("reason", "given back", 3),
        ...picks.optional("logOffset", picks.of([0, 4, 100]), 4),
      };
    },
    run({ commandId, fence, hasStarted = true, reason = "handed_back", logOffset }, state) {
      const before = get(state.commands, "command", commandId);
      if (before.fence !== fence) throw lost(before);
      const isOver = before.leaseExpiresAt === null;
      if (isOver && !["queued", "lost", "cancelled"].includes(before.state))
        throw new Failure("invalid_transition", { entity: "command", state: before.state });
      const command = isOver ? before : handBack(state, before, hasStarted, reason, logOffset);
      const session = state.sessions.get(before.sessionId) as Session;
      return { command, session, remainingCommands: session.queuedCommands + session.activeCommands };
    },
  },
  cancel: {
    weight: 4,
    input(picks, state) {
      const row = picks.row(state.commands, ({ state }) => !isFinal(state));
      return {
        commandId: picks.idOf(row),
        force: picks.oneIn(3),
        ...picks.optional("reason", "unwanted", 3),
        ...picks.version(row),
      };
    },
    run({ commandId, force = false, reason, expectedVersion }, state) {
      const before = get(state.commands, "command", commandId);
      const session = state.sessions.get(before.sessionId) as Session;
      if (before.state === "cancelled" || (before.state === "cancelling" && !force)) return before;
      requireVersion(before, expectedVersion);
      requireState("command", before, ["queued", "running", ...(force ? ["cancelling"] : [])]);
      const command = before.state === "cancelling" ? before : cancelCommand(state, before, reason ?? null);
      if (before.state === "queued") {
        settle(state, saveSession(state, session, { queuedCommands: session.queuedCommands - 1 }));
        return command;
      }
      if (!force) return command;
      settleForced(state, endByForce(state, session, [{ ...command, endReason: reason ?? command.endReason }]));
      return state.commands.get(commandId);
    },
  },
  get: {
    input: (picks, state) => ({ commandId: picks.id(state.commands) }),
    run: ({ commandId }, state) => get(state.commands, "command", commandId),
  },
  attempts: {
    input: (picks, state) => ({ commandId: picks.id(state.commands, ({ attempt }) => attempt > 0) }),
    run({ commandId }, state) {
      get(state.commands, "command", commandId);
      return state.attempts.get(commandId) ?? [];
    },
  },
  list: {
    input: (picks, state) => ({
      ...wholePage,
      ...picks.optional("sessionId", picks.id(state.sessions)),
      ...picks.optional("runnerId", picks.id(state.runners)),
      ...picks.optional("state", picks.of(["queued", ["running", "cancelling"], "lost"] as const) as "queued"),
    }),
    run: ({ sessionId, runnerId, state: wanted }, state) =>
      page(
        state.commands,
        (row) => fits(sessionId, row.sessionId) && fits(runnerId, row.runnerId) && fits(wanted, row.state),
      ),
    ordered: byId,
  },
  wait: {
    input: (picks, state) => ({ commandId: picks.id(state.commands, ({ state }) => isFinal(state)), timeoutMs: 0 }),
    run({ commandId }, state) {
      const command = get(state.commands, "command", commandId);
      if (!isFinal(command.state)) throw new Failure("deadline_exceeded");
      return command;
    },
    waits: "timeoutMs",
    isMiss: (_input, result) => result instanceof Failure && result.code === "deadline_exceeded",
  },
});
