// Runs the commands of one session in one worktree, as many at a time as the session allows.
import type { Claim } from "../index.ts";
import { nextClaim } from "./claims.ts";
import { messageOf } from "./events.ts";
import { execute } from "./execution.ts";
import { persistently } from "./persistently.ts";
import type { SessionRunner } from "./sessionRunner.ts";
import { SessionWorktree, takesCommands } from "./sessionWorktree.ts";

/** The time for which a worktree waits for the next command of its session, unless `idleMs` says otherwise. */
const idleMsDefault = 10_000;
/** The time of one wait for a further command while others run. It is repeated. */
const besideMs = 10_000;

/**
 * Runs a claimed command and those that follow it in its session, until the session has no more, or the runner drains.
 * While this runner leases the worktree, no other runner can claim from the session. Never fails: what cannot be done is
 * reported as an event, and what is lost is left to the store.
 */
export async function runSession(runner: SessionRunner, first: Claim): Promise<void> {
  const { id: sessionId, maxParallel } = first.session;
  const worktree = new SessionWorktree(runner, first.session);
  const running = new Set<Promise<void>>();
  const start = (claim: Claim): void => {
    const execution = execute(runner, claim, worktree).finally(() => running.delete(execution));
    running.add(execution);
  };
  const onProblem = (error: unknown) => runner.onEvent({ type: "problem", message: messageOf(error), sessionId });
  const sessionNow = () => persistently(() => runner.store.sessions.get({ sessionId }), runner.draining);
  try {
    start(first);
    // The first command makes the worktree, or shows that it cannot be made.
    await Promise.race([...running, worktree.acquired]);
    while (worktree.isUsable && !runner.draining.aborted) {
      if (running.size >= maxParallel) await Promise.race(running);
      else {
        const waitMs = running.size > 0 ? besideMs : (runner.parts.idleMs ?? idleMsDefault);
        const claim = await nextClaim(runner, { sessionId, waitMs });
        if (claim !== undefined) start(claim);
        else if (running.size === 0) break;
        else if (!takesCommands(await sessionNow())) await Promise.race(running);
      }
    }
  } catch (error) {
    onProblem(error);
  }
  await Promise.all(running);
  await worktree.release().catch(onProblem);
}
