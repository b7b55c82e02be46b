// What the database thread runs: opens the database, serves ports, closes when it is told to.
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { systemClock, testClock } from "../clock.ts";
import { openSqlite, type SqliteOptions } from "../drivers/sqliteFile.ts";
import { StoreError, toWireFailure, type WireFailure } from "../errors.ts";
import type { StoreEvent } from "../events.ts";
import { createServer, type Server } from "./server.ts";

export type DatabaseThreadData = Omit<SqliteOptions, "clock" | "onSecondServer"> & {
  /** Offsets of a test clock; the system's clock without. */
  readonly clock: SharedArrayBuffer | undefined;
};

/** From the owner to the thread. Only the owner holds this way in; clients have ports. */
export type Control = { readonly type: "connect"; readonly port: MessagePort; readonly patterns: readonly string[] | undefined } | { readonly type: "close" };

/** From the thread to its owner. */
export type Report =
  | { readonly type: "ready" }
  | { readonly type: "failed"; readonly failure: WireFailure }
  | { readonly type: "event"; readonly event: StoreEvent };

export function runDatabaseThread(): void {
  const owner = parentPort as MessagePort;
  const report = (message: Report): void => owner.postMessage(message);
  const onEvent = (event: StoreEvent): void => report({ type: "event", event });
  const server = open(workerData as DatabaseThreadData, onEvent, (failure) => report({ type: "failed", failure }));
  if (server === undefined) return;
  owner.on("message", (control: Control) => {
    if (control.type === "connect") server.serve(control.port, control.patterns);
    else void server.close().then(() => process.exit(0));
  });
  report({ type: "ready" });
}

function open(data: DatabaseThreadData, onEvent: (event: StoreEvent) => void, onFailure: (failure: WireFailure) => void): Server | undefined {
  const clock = data.clock === undefined ? systemClock : testClock(data.clock);
  try {
    const driver = openSqlite({ ...data, clock, onSecondServer: (pid) => onEvent({ type: "second_server", pid }) });
    onEvent({ type: "opened", epoch: driver.epoch });
    return createServer({ drivers: [driver], clock, limits: data.limits, shared: data.path !== ":memory:", onEvent });
  } catch (error) {
    onFailure(toWireFailure(error instanceof StoreError ? error : new StoreError("internal", String((error as Error).stack ?? error))));
    return undefined;
  }
}
