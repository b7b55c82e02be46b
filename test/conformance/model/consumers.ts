// The model of the consumers of the change feed. The store chooses the id of a consumer, so its name stands for it.
import { consumersOf, firstAfter, newestOf } from "./feed.ts";
import { modelOf } from "./operation.ts";
import type { Picks } from "./picks.ts";
import { type Consumer, get, type State, stamped, tickMs } from "./state.ts";

const names = ["mirror", "index", "audit"] as const;

/** Returns a number of the feed: mostly of one of its rows, or now and then of none. */
function seqOf(picks: Picks, state: State): number {
  const newest = newestOf(state);
  const { floor } = state.feed;
  return Math.max(0, picks.of([newest, newest - picks.of([3, 8, 20]), floor, floor + 2, floor - 2, newest + 5, 0]));
}

/** Nobody consumes in the model, which does not keep the rows of the feed. */
const unleased = { owner: null, fence: 0, leaseExpiresAt: null };

export function listConsumers(state: State) {
  const listed = consumersOf(state).map((row) => {
    const next = firstAfter(state, row.seq);
    const lagMs = next === undefined ? null : state.now - next;
    return { ...row, lag: Math.max(0, newestOf(state) - row.seq), lagMs };
  });
  return { consumers: listed };
}

/** Returns the list with names in place of ids. An age is the time between two moments, each a little after its tick. */
export function comparableConsumers(answer: unknown) {
  const { consumers } = answer as ReturnType<typeof listConsumers>;
  const inTicks = (ms: number | null) => (ms === null ? null : Math.round(ms / tickMs) * tickMs + 0);
  return { consumers: consumers.map((row) => ({ ...row, id: row.name, lagMs: inTicks(row.lagMs) })) };
}

export const consumers = modelOf("changes", {
  publish: {
    weight: 3,
    input: (picks, state) => ({
      topic: picks.of(["order.paid", "order.shipped"]),
      entityId: picks.of(["order 1", "order 2"]),
      ...(picks.oneIn(3) ? { sessionId: picks.id(state.sessions) } : {}),
      ...(picks.oneIn(3) ? { detail: { total: 12 } } : {}),
    }),
    run({ topic, entityId = "", sessionId }, state) {
      if (sessionId !== undefined) get(state.sessions, "session", sessionId);
      state.change("event", { id: entityId, version: 1 }, topic, sessionId);
      return { entityId };
    },
  },
  checkpoint: {
    weight: 6,
    input: (picks, state) => ({ consumer: picks.of(names), seq: seqOf(picks, state) }),
    run({ consumer: name, seq }, state) {
      const before = state.consumers.get(name);
      const row: Consumer = {
        ...(before ?? { ...unleased, id: name, name, ...stamped(state.now) }),
        seq,
        updatedAt: state.now,
      };
      state.put("consumers", name, row);
      if (before === undefined) state.change("consumer", { ...row, fence: null }, "create");
      return {};
    },
  },
  consumers: {
    weight: 2,
    input: () => ({}),
    run: (_input, state) => listConsumers(state),
    ordered: comparableConsumers,
  },
  forget: {
    weight: 2,
    input: (picks) => ({ consumer: picks.of(names) }),
    run({ consumer: name }, state) {
      const row = state.consumers.get(name);
      if (row === undefined) return {};
      state.remove("consumers", name);
      state.change("consumer", { ...row, fence: null, version: row.version + 1 }, "delete");
      return {};
    },
  },
});
