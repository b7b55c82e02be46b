// Runs long reads on a connection of their own: finds their bodies, and shows them the state of the server.
import type { ServerState } from "../context.ts";
import { createDispatcher, type JobOutcome } from "../dispatch.ts";
import type { Driver } from "../driver.ts";
import { faultEvent, type StoreEvent } from "../events.ts";
import type { Limits } from "../limits.ts";
import type { Call, OperationTable } from "../operation.ts";

interface ReadRunnerOptions {
  readonly operations: OperationTable;
  /** The driver of a connection that runs nothing else. */
  readonly driver: Driver;
  readonly limits: Limits;
  onEvent(event: StoreEvent): void;
}

/** Runs calls in one transaction; see `Reader`. `state` is for bodies that show it. */
export type RunReads = (calls: readonly Call[], state: () => ServerState) => Promise<readonly JobOutcome[]>;

export function createReadRunner({ operations, driver, limits, onEvent }: ReadRunnerOptions): RunReads {
  let stateOfServer: (() => ServerState) | undefined;
  const dispatcher = createDispatcher({
    operations,
    driver,
    limits,
    serverState: () => (stateOfServer as () => ServerState)(),
    onInternal: (error) => onEvent(faultEvent(error)),
  });
  return async (calls, state) => {
    stateOfServer = state;
    const { outcomes } = await dispatcher.runTransaction(
      calls.map((call) => [call]),
      limits.groupMs,
    );
    return outcomes;
  };
}
