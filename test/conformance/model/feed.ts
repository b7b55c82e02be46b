// The model of the change feed as retention and its consumers see it.
import type { Consumer, State } from "./state.ts";

/** Returns the registered consumers, the one that is furthest behind first. */
export function consumersOf(state: State): readonly Consumer[] {
  const key = ({ seq, name }: Consumer) => `${String(seq).padStart(6, "0")} ${name}`;
  return [...state.consumers.values()].toSorted((one, other) => (key(one) < key(other) ? -1 : 1));
}

export const newestOf = ({ feed: { floor, times } }: State): number => floor + times.length;

/** Returns the time of the first row after a number. */
export const firstAfter = ({ feed: { floor, times } }: State, seq: number): number | undefined =>
  times[Math.max(0, seq - floor)];

const before = ({ now }: State, ms: number | null): number => (ms === null ? Number.NEGATIVE_INFINITY : now - ms);

/** Removes the oldest rows of the feed, each after those before it. Returns their number, and who has kept the next one. */
export function pruneFeed(state: State) {
  const { floor, times } = state.feed;
  const { changesMs, changesHeldMs } = state.retention;
  const [due, dueHeld] = [before(state, changesMs), before(state, changesHeldMs)];
  const consumers = consumersOf(state);
  const isRead = (index: number) => consumers.every(({ seq }) => floor + index + 1 <= seq);
  const stays = times.findIndex((at, index) => at > due || !(isRead(index) || at <= dueHeld));
  const gone = stays === -1 ? times.length : stays;
  const isHeld = stays !== -1 && (times[stays] as number) <= due;
  const heldBy = isHeld ? consumers.filter(({ seq }) => seq < floor + gone + 1).map(({ name }) => name) : [];
  state.feed = { floor: floor + gone, times: times.slice(gone) };
  return { gone, heldBy };
}

/** Returns what the figures of the store say about retention. */
export function figuresOf(state: State): object {
  const all = [...state.pruned];
  const consumers = consumersOf(state);
  const isBehind = ({ seq }: Consumer) =>
    (firstAfter(state, seq) ?? Infinity) <= before(state, state.retention.changesMs);
  const upToDate = consumers.findIndex((consumer) => !isBehind(consumer));
  return {
    rows: Object.fromEntries(all.map(([kind, { rows }]) => [kind, rows])),
    prunedAt: all.length === 0 ? null : Math.max(...all.map(([, { at }]) => at)),
    heldBy: (upToDate === -1 ? consumers : consumers.slice(0, upToDate)).map(({ name }) => name),
  };
}
