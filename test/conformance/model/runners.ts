// The model of runners.
import { isDeepStrictEqual } from "node:util";
import { runnerLabels } from "./labels.ts";
import { expireCommands, expireWorktrees } from "./leases.ts";
import { modelOf } from "./operation.ts";
import { Failure, get, limits, type Runner, raised, type State, stamped, tickMs } from "./state.ts";

/** Returns a runner that may act, or fails when it is gone. */
export function liveRunner(state: State, id: string): Runner {
  const row = get(state.runners, "runner", id);
  if (row.state === "gone") throw new Failure("invalid_transition", { entity: "runner", state: "gone" });
  return row;
}

/** Keeps a runner alive. One that was stalled is online again. */
export function revive(state: State, runner: Runner, ttlMs: number): Runner {
  const alive = { heartbeatAt: state.now, expiresAt: state.now + ttlMs };
  if (runner.state !== "stalled") {
    const row = { ...runner, ...alive };
    state.put("runners", row.id, row);
    return row;
  }
  const row = raised(runner, { ...alive, state: "online" }, state.now);
  state.put("runners", row.id, row);
  state.change("runner", row, "online");
  return row;
}

/** Ends the runners without heartbeats, and returns their ids. */
export function reapRunners(state: State): string[] {
  const ended: string[] = [];
  const move = (from: string, to: "stalled" | "gone", before: number) => {
    for (const runner of [...state.runners.values()]) {
      if (runner.state !== from || runner.expiresAt > before) continue;
      const row = raised(runner, { state: to }, state.now);
      state.put("runners", row.id, row);
      state.change("runner", row, to);
      ended.push(row.id);
    }
  };
  // A runner that is found to be stalled in a pass has at least until the next one.
  move("stalled", "gone", state.now - limits.runnerGoneMs);
  move("draining", "gone", state.now - limits.runnerGoneMs);
  move("online", "stalled", state.now);
  return ended;
}

const bootIds = [1, 2, 3, 4].map((number) => `0000000${number}-0000-7000-8000-00000000b007`);
const changeable = ["name", "host", "place", "pid", "labels", "state"] as const;

export const runners = modelOf("runners", {
  register: {
    weight: 2,
    input: (picks, state) => ({
      id: picks.newId(),
      name: picks.of(["runner", "runner", "other"]),
      bootId: picks.of(bootIds),
      pid: picks.of([1, 1, 2]),
      ...picks.place(4),
      labels: picks.of(runnerLabels),
      ttlMs: picks.of([3, 10]) * tickMs,
      ...picks.optional("replaces", picks.id(state.runners), 4),
    }),
    run({ id = "", name, bootId = "", place = "", pid = 0, labels = {}, ttlMs = tickMs, replaces }, state) {
      const before = [...state.runners.values()].find((runner) => runner.bootId === bootId);
      if (before?.state === "gone") throw new Failure("invalid_transition", { entity: "runner", state: "gone" });
      const fields = { name, host: "localhost", place, pid, labels, state: "online" } as const;
      const alive = { heartbeatAt: state.now, expiresAt: state.now + ttlMs };
      const isRepeated =
        before !== undefined && changeable.every((field) => isDeepStrictEqual(before[field], fields[field]));
      const row: Runner =
        before === undefined
          ? { id, bootId, ...fields, ...alive, ...stamped(state.now) }
          : isRepeated
            ? { ...before, ...alive }
            : raised(before, { ...fields, ...alive }, state.now);
      state.put("runners", row.id, row);
      if (!isRepeated) state.change("runner", row, "register");
      if (replaces !== undefined) replace(state, replaces, row);
      return row;
    },
  },
  heartbeat: {
    weight: 4,
    input(picks, state) {
      const runner = picks.row(state.runners, ({ state }) => state !== "gone");
      const worktrees = [...state.worktrees.values()].filter(({ leaseRunnerId }) => leaseRunnerId === runner?.id);
      const commands = [...state.commands.values()].filter(
        ({ runnerId, state }) => runnerId === runner?.id && state !== "queued",
      );
      const held = (row: { readonly id: string; readonly fence: number }) => ({ id: row.id, fence: picks.fence(row) });
      const stranger = picks.row(state.worktrees);
      return {
        runnerId: picks.idOf(runner),
        worktrees: [...worktrees, ...(stranger !== undefined && picks.oneIn(4) ? [stranger] : [])]
          .filter(({ fence }) => fence > 0)
          .map(held),
        commands: commands
          .filter(() => !picks.oneIn(4))
          .filter(({ fence }) => fence > 0)
          .map(held),
        ttlMs: picks.of([2, 5]) * tickMs,
      };
    },
    run({ runnerId, worktrees = [], commands = [], ttlMs = tickMs }, state) {
      revive(state, liveRunner(state, runnerId), ttlMs);
      const expiresAt = state.now + ttlMs;
      const byId = (one: { readonly id: string }, other: { readonly id: string }) => (one.id < other.id ? -1 : 1);
      const lost: object[] = [];
      for (const { id, fence } of worktrees.toSorted(byId)) {
        const row = state.worktrees.get(id);
        if (row !== undefined && row.fence === fence && row.leaseRunnerId === runnerId)
          state.put("worktrees", id, { ...row, leaseExpiresAt: expiresAt });
        else lost.push({ kind: "worktree", id, fence });
      }
      const cancel: string[] = [];
      for (const { id, fence } of commands.toSorted(byId)) {
        const row = state.commands.get(id);
        if (row?.fence !== fence || row.runnerId !== runnerId || row.leaseExpiresAt === null) {
          lost.push({ kind: "command", id, fence });
          continue;
        }
        state.put("commands", id, { ...row, leaseExpiresAt: expiresAt, hidden: { confirmedFence: fence } });
        if (row.state === "cancelling" || (row.stopAt !== null && row.stopAt <= state.now)) cancel.push(id);
      }
      return { expiresAt, lost, cancel };
    },
  },
  drain: {
    input: (picks, state) => ({ runnerId: picks.id(state.runners) }),
    run({ runnerId }, state) {
      const before = liveRunner(state, runnerId);
      if (before.state === "draining") return before;
      const row = raised(before, { state: "draining" }, state.now);
      state.put("runners", row.id, row);
      state.change("runner", row, "drain");
      return row;
    },
  },
  get: {
    input: (picks, state) => ({ runnerId: picks.id(state.runners) }),
    run: ({ runnerId }, state) => get(state.runners, "runner", runnerId),
  },
});

/** Ends the former self of a runner: it is gone, and its leases end as if their time had passed. */
function replace(state: State, formerId: string, runner: Runner): void {
  if (formerId === runner.id) throw new Failure("invalid_input");
  const former = get(state.runners, "runner", formerId);
  if (former.name !== runner.name) throw new Failure("conflict", { reason: "other_name", name: former.name });
  if (former.state === "gone") return;
  const gone = raised(former, { state: "gone" }, state.now);
  state.put("runners", gone.id, gone);
  state.change("runner", gone, "gone");
  for (const command of [...state.commands.values()])
    if (command.runnerId === formerId && command.leaseExpiresAt !== null)
      state.put("commands", command.id, { ...command, leaseExpiresAt: Math.min(command.leaseExpiresAt, state.now) });
  for (const worktree of [...state.worktrees.values()])
    if (worktree.leaseRunnerId === formerId && worktree.leaseExpiresAt !== null)
      state.put("worktrees", worktree.id, {
        ...worktree,
        leaseExpiresAt: Math.min(worktree.leaseExpiresAt, state.now),
      });
  expireCommands(state, formerId, "runner_replaced");
  expireWorktrees(state, formerId);
}
