// The reads that are made over and over beside writes.
import type { SlowStore } from "../../test/support/slowStore.ts";

/** Returns the reads; those of logs read the log of the command. */
export function readsOf({ maintenance, commands, logs }: SlowStore, commandId: string) {
  return {
    stats: () => maintenance.stats(),
    lists: () => commands.list({ limit: 500 }),
    logs: () => logs.read({ commandId, maxBytes: 1024 * 1024 }),
  };
}
