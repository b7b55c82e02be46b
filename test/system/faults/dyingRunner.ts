// A runner whose thread exits while a claim and an iteration of it are parked. Without a runner id it returns normally.
import type { RunnerTask } from "../../../src/index.ts";

const run: RunnerTask<{ runnerId?: string }> = async ({ runnerId }, { store }) => {
  if (runnerId === undefined) return (await store.runners.list()).items.length;
  void store.commands.claim({ runnerId, waitMs: 600_000 }).catch(() => undefined);
  const { nextSeq } = await store.changes.since({ limit: 0 });
  const changes = store.changes.watch({ after: nextSeq, entity: "none", waitMs: 600_000 });
  void changes.next().catch(() => undefined);
  while ((await store.maintenance.stats()).serving.parked !== 2);
  process.exit(1);
};

export default run;
