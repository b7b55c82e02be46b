// A runner whose thread exits while one of its calls is parked. Without a runner id it returns normally.
import type { RunnerTask } from "../../../src/index.ts";

const run: RunnerTask<{ runnerId?: string }> = async ({ runnerId }, { store }) => {
  if (runnerId === undefined) return (await store.runners.list()).items.length;
  void store.commands.claim({ runnerId, waitMs: 600_000 }).catch(() => undefined);
  await store.runners.list();
  process.exit(1);
};

export default run;
