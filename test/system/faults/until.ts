// Waits for a state that the store or an event reports.
import { setTimeout as sleep } from "node:timers/promises";

/**
 * Checks a condition until it holds. Fails after a minute, so that a test that waits in vain ends. The pause between
 * two checks lets the event loop turn, because a condition without a call would otherwise keep out the event that it
 * waits for.
 */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 60_000;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error(`waited in vain until ${condition.toString()}`);
    await sleep(1);
  }
}
