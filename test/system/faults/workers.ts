// One runner thread that adds commands to a session and claims from it what it can get, all at once.
import type { RunnerTask } from "../../../src/index.ts";

export interface ClaimTask {
  readonly sessionId: string;
  readonly name: string;
  readonly enqueues: number;
}

/** Resolves to the ids of the commands that it ran. */
const run: RunnerTask<ClaimTask, string[]> = async ({ sessionId, name, enqueues }, { store }) => {
  const runner = await store.runners.register({ name });
  const ran: string[] = [];
  const enqueueAll = async (): Promise<void> => {
    for (let index = 0; index < enqueues; index++)
      await store.commands.enqueue({ sessionId, commands: [{ argv: [name, String(index)] }] });
  };
  const claimAll = async (): Promise<void> => {
    // Gives up only when nothing has come for so long that nothing will.
    for (;;) {
      const claim = await store.commands.claim({ runnerId: runner.id, waitMs: 1_500 });
      if (claim === undefined) return;
      ran.push(claim.command.id);
      await store.commands.finish({ commandId: claim.command.id, fence: claim.fence, outcome: "succeeded" });
    }
  };
  await Promise.all([enqueueAll(), claimAll()]);
  return ran;
};

export default run;
