// Hooks for the runner's threads: one command sees a variable, and another one ends the first thread that gets it.
import { once } from "node:events";
import type { RunnerHooks } from "../../../src/runner/index.ts";

export const hooks: RunnerHooks = {
  prepare: () => ({ env: { FROM_THREAD: "yes" } }),
  async beforeCommand({ command, signal, note }) {
    if (command.argv[0] === "end this thread when it has to stop") {
      note("waits");
      await once(signal, "abort");
      process.exit(1);
    }
    if (command.argv[0] !== "end this thread") return undefined;
    // In a worker this ends the thread alone.
    if (command.attempt === 1) process.exit(1);
    return { argv: ["true"] };
  },
};
