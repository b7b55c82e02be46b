// Shares one result among requests that come close together, so that it costs the store the same however many ask.
import { realTime } from "../realTime.ts";

/** Shares one check among requests that arrive while it runs, and its result with those within `forMs` after it. */
export function cached<Value>(check: () => Promise<Value>, forMs: number): () => Promise<Value> {
  let current: Promise<Value> | undefined;
  return () => {
    if (current === undefined) {
      const forget = (): void => {
        current = undefined;
      };
      current = check();
      // The time starts at the end of the check, so a slow check is shared for as long as it takes.
      current.then(() => realTime.setTimeout(forget, forMs).unref(), forget);
    }
    return current;
  };
}
