// Hooks for the runner's threads: one command sees a variable, and another one ends the first thread that gets it.
import type { RunnerHooks } from "../../../src/runner/index.ts";

export const hooks: RunnerHooks = {
  prepare: () => ({ env: { FROM_THREAD: "yes" } }),
  beforeCommand({ command }) {
    if (command.argv[0] !== "end this thread") return undefined;
    // In a worker this ends the thread alone.
    if (command.attempt === 1) process.exit(1);
    return { argv: ["true"] };
  },
};
