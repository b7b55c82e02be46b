// The model of the collection of files.
import { byId, fits, page, wholePage } from "./lists.ts";
import { modelOf } from "./operation.ts";
import type { Picks } from "./picks.ts";
import { type DiscardedFile, type State, tickMs } from "./state.ts";

/** The pause after the first failure. It doubles with each one, up to a day. */
const pauseMs = 10_000;
const pauseMsMax = 86_400_000;

/** Files whose pause ends within the tick in which it began: whether they are due depends on the time that a run takes. */
const isPausing = ({ failures, owner, dueAt }: DiscardedFile, now: number): boolean =>
  failures > 0 && owner === null && dueAt === now;

const isNamed = (state: State, uri: string): boolean =>
  [...state.artifacts.values()].some((row) => row.state === "ready" && row.uri === uri) ||
  [...state.patches.values()].some((row) => row.uri === uri);

/** Returns the keys of some files, mostly of those that a collector has. */
function held(picks: Picks, state: State) {
  const rows = [picks.row(state.files, ({ owner }) => owner !== null), picks.row(state.files)];
  return rows
    .slice(0, picks.of([1, 2]))
    .filter((row, index, all) => all.findIndex((other) => other?.id === row?.id) === index)
    .map((row) => ({ id: picks.idOf(row), fence: picks.fence(row) }));
}

/** Returns the ids of the files that another collector has, and does something with each of the others. */
function forEachHeld(
  state: State,
  keys: readonly { readonly id: string; readonly fence: number }[],
  act: (row: DiscardedFile) => void,
) {
  const lost: string[] = [];
  for (const { id, fence } of keys) {
    const row = state.files.get(id);
    if (row?.fence === fence) act(row);
    else if (row !== undefined) lost.push(id);
  }
  return { lost: lost.toSorted() };
}

function byIds(answer: unknown): unknown {
  const { lost } = (answer ?? {}) as { readonly lost?: readonly string[] };
  return lost === undefined ? answer : { lost: lost.toSorted() };
}

export const files = modelOf("files", {
  claim: {
    weight: 3,
    input: (picks, state) => ({
      owner: picks.of(["one", "other"]),
      ttlMs: picks.of([2, 5]) * tickMs,
      limit: 100,
      ...([...state.files.values()].some((row) => isPausing(row, state.now))
        ? { kinds: "log" as const }
        : picks.optional("kinds", picks.of(["artifact", "patch", "log"] as const), 5)),
    }),
    run({ owner, ttlMs = tickMs, kinds }, state) {
      const due = [...state.files.values()].filter((row) => row.dueAt <= state.now && fits(kinds, row.kind));
      const claimed: DiscardedFile[] = [];
      for (const before of due) {
        if (isNamed(state, before.uri)) {
          state.remove("files", before.id);
          continue;
        }
        const row = { ...before, owner, fence: before.fence + 1, dueAt: state.now + ttlMs };
        state.put("files", row.id, row);
        claimed.push(row);
      }
      return { files: claimed, left: false };
    },
    isStored: (_input, answer) => (answer as { readonly files: readonly unknown[] }).files.length > 0,
    ordered(answer) {
      const { files, ...rest } = answer as { readonly files: readonly DiscardedFile[] };
      return { ...rest, files: files.toSorted((one, other) => (one.id < other.id ? -1 : 1)) };
    },
  },
  acknowledge: {
    weight: 2,
    input: (picks, state) => ({ files: held(picks, state) }),
    run: ({ files: keys }, state) => forEachHeld(state, keys, ({ id }) => state.remove("files", id)),
    ordered: byIds,
  },
  fail: {
    weight: 2,
    input: (picks, state) => ({
      files: held(picks, state).map((key) => ({ ...key, ...picks.optional("error", "busy") })),
    }),
    run: ({ files: keys }, state) =>
      forEachHeld(state, keys, (row) => {
        const pause = Math.min(pauseMs * 2 ** row.failures, pauseMsMax);
        const error = keys.find(({ id }) => id === row.id)?.error ?? null;
        const dueAt = state.now + Math.floor(pause / tickMs) * tickMs;
        state.put("files", row.id, { ...row, owner: null, failures: row.failures + 1, lastError: error, dueAt });
      }),
    ordered: byIds,
  },
  list: {
    input: (picks) => ({ ...wholePage, ...picks.optional("kind", picks.of(["artifact", "patch", "log"] as const), 3) }),
    run: ({ kind }, state) => page(state.files, (row) => fits(kind, row.kind)),
    ordered: byId,
  },
});
