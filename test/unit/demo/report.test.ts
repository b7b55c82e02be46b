// The report of a run says whether everything was released.
import assert from "node:assert/strict";
import { test } from "node:test";
import { readReport } from "../../../src/demo/report.ts";
import { fixtures, openTestStore } from "../../../src/testing/index.ts";

test("everything is released when every session and command has ended and no worktree is leased for them", async () => {
  const store = await openTestStore();
  const { runner } = await fixtures(store).runner();
  const { session } = await fixtures(store).session({
    reserve: { runnerId: runner.id },
    commands: [{ argv: ["true"] }],
  });
  await store.worktrees.ready({ worktreeId: session.worktreeId as string, fence: session.worktreeFence as number });
  const claim = await store.commands.claim({ runnerId: runner.id });
  const allReleased = async () => (await readReport(store, [session.id])).allReleased;
  assert.equal(await allReleased(), false);
  await store.sessions.cancel({ sessionId: session.id });
  assert.equal(await allReleased(), false);
  await store.commands.finish({
    commandId: claim?.command.id as string,
    fence: claim?.fence as number,
    outcome: "cancelled",
  });
  assert.equal(await allReleased(), true);
  await store.close();
});
