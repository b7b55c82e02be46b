// The main function of a reader thread (D-115): opens a connection that only reads, runs what the database thread sends,
// and ends when it is told to.
import { setPriority } from "node:os";
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { systemClock, testClock } from "../clock.ts";
import type { ServerState } from "../context.ts";
import type { JobOutcome } from "../dispatch.ts";
import { StoreError, toWireFailure, type WireFailure } from "../errors.ts";
import type { StoreEvent } from "../events.ts";
import type { Call, OperationTable } from "../operation.ts";
import { servedOperations } from "../operations/table.ts";
import { pack, packedBuffers } from "../packed.ts";
import { openSqliteReader, type SqliteReaderOptions } from "../sqlite/openReader.ts";
import { createReadRunner } from "./readRunner.ts";

export type ReaderThreadData = Omit<SqliteReaderOptions, "clock"> & {
  /** The offsets of a test clock; without them, the system's clock is used. */
  readonly clock: SharedArrayBuffer | undefined;
};

/** A call as it is sent to a reader. */
export type SentCall = Pick<Call, "name" | "input" | "caller">;

/** The requests to a reader: calls to run, with the state of the server if one of them shows it. */
export type ReaderRequest =
  | { readonly type: "run"; readonly calls: readonly SentCall[]; readonly state: ServerState | undefined }
  | { readonly type: "close" };

/** The reports of a reader. After `ready`, each request to run has one answer: `ran` or `failed`. */
export type ReaderReport =
  | { readonly type: "ready" }
  | { readonly type: "ran"; readonly outcomes: readonly JobOutcome[] }
  | { readonly type: "failed"; readonly failure: WireFailure }
  | { readonly type: "event"; readonly event: StoreEvent };

export function runReaderThread(operations: OperationTable = servedOperations): void {
  const owner = parentPort as MessagePort;
  const report = (message: ReaderReport, moved: ArrayBuffer[] = []): void => owner.postMessage(message, moved);
  const answer = (ran: readonly JobOutcome[]): void => {
    const outcomes = ran.map((outcome) => ({ ...outcome, answers: outcome.answers.map(pack) }));
    report({ type: "ran", outcomes }, packedBuffers(outcomes.flatMap(({ answers }) => answers.flat())));
  };
  const fail = (error: unknown): void => report({ type: "failed", failure: wireFailureOf(error) });
  const { clock: shared, ...options } = workerData as ReaderThreadData;
  giveWay();
  try {
    const driver = openSqliteReader({ ...options, clock: shared === undefined ? systemClock : testClock(shared) });
    const onEvent = (event: StoreEvent): void => report({ type: "event", event });
    const run = createReadRunner({ operations, driver, limits: options.limits, onEvent });
    owner.on("message", (request: ReaderRequest) => {
      if (request.type === "close") {
        void driver.close();
        owner.close();
        return;
      }
      const calls = request.calls.map((call) => ({ ...call, operation: find(operations, call.name), waitMs: 0 }));
      run(calls, () => request.state as ServerState).then(answer, fail);
    });
    report({ type: "ready" });
  } catch (error) {
    fail(error);
  }
}

/**
 * Lets other threads go first when there are more of them than processors: callers and the database thread. Elsewhere
 * than on Linux this would set the priority of the whole process (D-121).
 */
function giveWay(): void {
  if (process.platform === "linux") setPriority(niceness);
}

/** The nice value of a reader, which still gives it a quarter of a processor beside a thread that wants all of it. */
const niceness = 5;

function find(operations: OperationTable, name: string): Call["operation"] {
  const [entity, verb] = name.split(".") as [string, string];
  return operations[entity]?.[verb] as Call["operation"];
}

function wireFailureOf(error: unknown): WireFailure {
  return toWireFailure(
    error instanceof StoreError ? error : new StoreError("internal", String((error as Error).stack ?? error)),
  );
}
