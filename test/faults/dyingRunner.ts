// A runner whose thread ends while a call of its own waits in the store.
import type { RunnerTask } from "../../src/index.ts";

const run: RunnerTask<{ runnerId: string }> = async ({ runnerId }, { store }) => {
  void store.commands.claim({ runnerId, waitMs: 600_000 }).catch(() => undefined);
  await store.runners.list();
  process.exit(1);
};

export default run;
