// Work that runs in one piece is bounded: what ends with a session, what a transaction does, and what one pass of the
// reaper ends.
import assert from "node:assert/strict";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { fails, subject } from "../suite.ts";

const argv = ["true"];
const commands = (count: number) => Array.from({ length: count }, () => ({ argv }));

export function boundsConformance(backend: TestedBackend): void {
  subject(backend, "bounds", ({ alone }) => {
    alone("at most limits.queuedCommands of a session wait to be claimed", async ({ store }) => {
      const { session } = await fixtures(store).session({ commands: commands(500) });
      const sessionId = session.id;
      await store.commands.enqueue({ sessionId, commands: commands(499) });
      const error = await fails(
        store.commands.enqueue({ sessionId, commands: commands(2) }),
        "invalid_input",
        { queuedCommands: 999 },
        "rolled_back",
      );
      assert.match(error.message, /1001 commands .* at most 1000 may/);
      await store.commands.enqueue({ sessionId, commands: commands(1) });
      // One that runs makes room for another.
      const { runner } = await fixtures(store).runner();
      await store.commands.claim({ runnerId: runner.id, sessionId });
      await store.commands.enqueue({ sessionId, commands: commands(1) });
      assert.equal((await store.sessions.get({ sessionId })).queuedCommands, 1_000);
      await store.sessions.cancel({ sessionId });
    });

    alone(
      "the calls of one transaction run at most limits.transactionStatements, or none of them has an effect",
      async ({ store }) => {
        const { repository } = await fixtures(store).repository();
        const { commitSha } = fixtures(store);
        const create = (sessions: number) =>
          store.atomically((tx) => {
            for (let n = 0; n < sessions; n++)
              tx.sessions.create({ repositoryId: repository.id, commitSha, commands: commands(250) });
          });
        const error = await fails(create(8), "invalid_input", { index: 7 }, "rolled_back");
        assert.match(error.message, /at most 2000 statements/);
        assert.deepEqual((await store.sessions.list({ repositoryId: repository.id })).items, []);
        assert.equal((await create(7)).length, 7);
      },
    );

    alone("at most 100 debug sessions of a session are open", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const sessionId = session.id;
      const open = (name: string, restartRun?: number) =>
        store.debug.open({ sessionId, name, adapter: "node", ...(restartRun && { restartRun }) });
      const opened = await Promise.all(Array.from({ length: 100 }, (_, n) => open(`debugger ${n}`)));
      await fails(open("one more"), "invalid_input");
      const [first] = opened;
      if (first === undefined) throw new Error("nothing was opened");
      // One that is open may restart, and one that has ended counts again when it does.
      await open(first.name, 1);
      await store.debug.close({ debugSessionId: first.id, adapterRun: 2, outcome: "terminated" });
      await open("one more");
      await fails(open(first.name, 2), "invalid_input");
    });

    alone(
      "a pass of the reaper ends sessions until limits.queuedCommands have ended with them, and says that there are more",
      async ({ store, clock }) => {
        for (let n = 0; n < 4; n++) await fixtures(store).session({ deadlineMs: 1_000, commands: commands(10) });
        clock.advance(1_001);
        const passes: number[] = [];
        for (let more = true; more; ) {
          const pass = await store.maintenance.reap();
          passes.push(pass.sessions.length);
          more = pass.more;
        }
        assert.deepEqual(passes, [2, 2]);
        assert.deepEqual((await store.commands.list({ state: "queued" })).items, []);
      },
      { limits: { queuedCommands: 20 } },
    );
  });
}
