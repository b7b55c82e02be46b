// A reader without a thread: a further connection to a database server, which does the work in a process of its own.
import type { Driver } from "../driver.ts";
import type { Limits } from "../limits.ts";
import { servedOperations } from "../operations/table.ts";
import type { Reader } from "./longReads.ts";
import { createReadRunner } from "./readRunner.ts";
import type { ReaderOptions } from "./server.ts";

/** Creates a reader on a connection of its own, which opens with its first transaction. */
export async function startReaderConnection(
  connectReader: () => Driver,
  limits: Limits,
  { serverState, onEvent }: Pick<ReaderOptions, "serverState" | "onEvent">,
): Promise<Reader> {
  const driver = connectReader();
  const run = createReadRunner({ operations: servedOperations, driver, limits, onEvent });
  return {
    run: (calls) => run(calls, serverState),
    async close(isRunning) {
      const closed = driver.close();
      if (!isRunning) await closed;
    },
  };
}
