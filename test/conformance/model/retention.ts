// The model of retention: its settings, and the removal of what they keep no longer.
import { retentionKinds } from "../../../src/model/vocabulary.ts";
import { present } from "../../../src/present.ts";
import { modelOf } from "./operation.ts";
import { pruneKinds } from "./prune.ts";
import { requireVersion, tickMs } from "./state.ts";

/** The times of each setting, in ticks. Every run begins with the first ones. */
const spans = {
  logsMs: [1, 3, null],
  sessionsMs: [3, 1, 8, null],
  readyArtifactsMs: [3, 1, null],
  artifactsMs: [1, 2, 5, null],
  worktreesMs: [1, 3, null],
  runnersMs: [1, 4, null],
  tokensMs: [1, 3, null],
  patchesMs: [1, 2, null],
  filesMs: [2, 1, null],
  usageMs: [1, null],
  changesMs: [1, 2, 6, null],
  changesHeldMs: [4, 2, null],
} as const;

export const retention = modelOf("maintenance", {
  retention: {
    input: () => ({}),
    run: (_input, state) => state.retention,
  },
  setRetention: {
    weight: 2,
    input(picks) {
      const settings = Object.entries(spans).map(([name, all]) => {
        const span = picks.of<number | null>(all);
        return picks.optional(name, span === null ? null : span * tickMs, 3);
      });
      return { ...Object.assign({}, ...settings), ...picks.optional("expectedVersion", picks.of([0, 1, 2]), 3) };
    },
    run({ expectedVersion, ...settings }, state) {
      const before = state.retention;
      const after = { ...before, ...present(settings) };
      const names = Object.keys(before) as (keyof typeof before)[];
      if (names.every((name) => after[name] === before[name])) return before;
      requireVersion(before, expectedVersion);
      state.retention = { ...after, version: before.version + 1, updatedAt: state.now };
      state.change("retention", { id: "store", version: state.retention.version }, "update");
      return state.retention;
    },
  },
  prune: {
    weight: 4,
    isAlone: true,
    input: (picks) => ({
      ...picks.optional("kinds", [...picks.of(someKinds)], 3),
      ...picks.optional("limit", picks.of([8, 3, 30, 1])),
      dryRun: picks.oneIn(5),
    }),
    run({ kinds = retentionKinds, dryRun = false }, state) {
      const wanted = retentionKinds.filter((kind) => kinds.includes(kind));
      return { ...pruneKinds(state, wanted, dryRun), next: undefined };
    },
  },
});

const someKinds = [
  ["logs"],
  ["changes"],
  ["sessions", "tokens"],
  ["readyArtifacts", "artifacts", "files"],
  ["patches", "sessions"],
  ["runners", "worktrees", "debug", "environments"],
] as const;
