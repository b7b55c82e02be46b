// One runner thread that enqueues commands to a session and claims from it at the same time.
import type { RunnerTask } from "../../../src/index.ts";

export interface ClaimTask {
  readonly sessionId: string;
  readonly name: string;
  readonly enqueues: number;
  /** The number of threads that still enqueue. All threads share this memory. */
  readonly enqueuing: SharedArrayBuffer;
}

/** Returns the ids of the commands that it ran. */
const run: RunnerTask<ClaimTask, string[]> = async ({ sessionId, name, enqueues, enqueuing }, { store }) => {
  const left = new Int32Array(enqueuing);
  // No heartbeat renews the runner, and a busy machine may take longer than a minute.
  const ttlMs = 3_600_000;
  const runner = await store.runners.register({ name, ttlMs });
  const ran: string[] = [];
  const enqueueAll = async (): Promise<void> => {
    for (let index = 0; index < enqueues; index++)
      await store.commands.enqueue({ sessionId, commands: [{ argv: [name, String(index)] }] });
    Atomics.sub(left, 0, 1);
  };
  const claimAll = async (): Promise<void> => {
    for (;;) {
      const complete = Atomics.load(left, 0) === 0;
      const claim = await store.commands.claim({ runnerId: runner.id, ttlMs, waitMs: complete ? 0 : 500 });
      if (claim === undefined && complete) return;
      if (claim === undefined) continue;
      ran.push(claim.command.id);
      await store.commands.finish({ commandId: claim.command.id, fence: claim.fence, outcome: "succeeded" });
    }
  };
  await Promise.all([enqueueAll(), claimAll()]);
  return ran;
};

export default run;
