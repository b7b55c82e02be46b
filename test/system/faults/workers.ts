// One runner thread that enqueues commands to a session and claims from it at the same time.
import type { RunnerTask } from "../../../src/index.ts";

export interface ClaimTask {
  readonly sessionId: string;
  readonly name: string;
  readonly enqueues: number;
}

/** Returns the ids of the commands that it ran. */
const run: RunnerTask<ClaimTask, string[]> = async ({ sessionId, name, enqueues }, { store }) => {
  const runner = await store.runners.register({ name });
  const ran: string[] = [];
  const enqueueAll = async (): Promise<void> => {
    for (let index = 0; index < enqueues; index++)
      await store.commands.enqueue({ sessionId, commands: [{ argv: [name, String(index)] }] });
  };
  const claimAll = async (): Promise<void> => {
    // A claim that waits this long without a result has seen the end of the queue.
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
