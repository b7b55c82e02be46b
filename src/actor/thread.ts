// The main function of the database thread (D-002): opens the database, serves ports, and closes when its owner asks.

import { resolve } from "node:path";
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { openArchive } from "../archive/chooseArchive.ts";
import type { LogArchive } from "../archive/logArchive.ts";
import { runBackupJob } from "../backup/jobs.ts";
import { systemClock, testClock } from "../clock.ts";
import { StoreError, toWireFailure, type WireFailure } from "../errors.ts";
import type { StoreEvent } from "../events.ts";
import { realTime } from "../realTime.ts";
import { openSqlite, type SqliteOptions } from "../sqlite/open.ts";
import { collectTraces, type EndedTraces } from "../tracing.ts";
import { type ArchiveRequest, OwnersArchive } from "./archiveRequests.ts";
import { exposeControl } from "./control.ts";
import { keepBeating } from "./heartbeat.ts";
import { createServer, type Server } from "./server.ts";
import { startReaderThread } from "./threadReader.ts";

export type DatabaseThreadData = Omit<SqliteOptions, "clock" | "onEvent" | "checkpoint"> & {
  /** The offsets of a test clock; without them, the system's clock is used. */
  readonly clock: SharedArrayBuffer | undefined;
  /** The number of readers. */
  readonly readers?: number;
  /** The archive of logs: a folder, or an object of the owner, which the thread asks. */
  readonly logArchive?: { readonly folder: string } | "owner" | undefined;
  /** True when sealed logs move to the archive; otherwise they are only read from there. */
  readonly movesLogs?: boolean;
  /** The memory that the thread's heartbeat is written to, for the owner to read. */
  readonly heartbeat?: SharedArrayBuffer;
  /** True when the owner listens to calls and groups from the start. */
  readonly isTraced?: boolean;
};

/** The reports of the thread to its owner. */
export type Report =
  | { readonly type: "ready" }
  | { readonly type: "failed"; readonly failure: WireFailure }
  | { readonly type: "event"; readonly event: StoreEvent }
  | ({ readonly type: "archiveRequest" } & ArchiveRequest)
  | ({ readonly type: "traced" } & EndedTraces)
  | { readonly type: "backupProgress"; readonly id: number; readonly doneBytes: number; readonly totalBytes: number };

export function runDatabaseThread(): void {
  const owner = parentPort as MessagePort;
  const report = (message: Report): void => owner.postMessage(message);
  const onEvent = (event: StoreEvent): void => report({ type: "event", event });
  const archive = new OwnersArchive((request) => report({ type: "archiveRequest", ...request }));
  const server = open(workerData as DatabaseThreadData, archive, onEvent, (failure) =>
    report({ type: "failed", failure }),
  );
  if (server === undefined) return;
  const { heartbeat, limits, isTraced = false } = workerData as DatabaseThreadData;
  let stopTracing: (() => void) | undefined;
  const trace = (isOn: boolean): void => {
    stopTracing?.();
    stopTracing = isOn ? collectTraces((ended) => report({ type: "traced", ...ended })) : undefined;
  };
  trace(isTraced);
  const backups = new Map<number, AbortController>();
  const backUp = async (id: number, target: string): Promise<WireFailure | undefined> => {
    const aborter = new AbortController();
    backups.set(id, aborter);
    const onProgress = (doneBytes: number, totalBytes: number) =>
      report({ type: "backupProgress", id, doneBytes, totalBytes });
    const failure = await server
      .backUp(target, { onProgress: throttled(onProgress), signal: aborter.signal })
      .then(() => undefined, wireFailureOf);
    backups.delete(id);
    return failure;
  };
  exposeControl(owner, {
    serve: (port, patterns) => server.serve(port, patterns),
    backUp,
    answerArchive: (id, bytes, failed) => archive.answer(id, bytes, failed),
    stopBackup: (id) => backups.get(id)?.abort(),
    trace,
    close: () => void server.close().then(() => process.exit(0)),
  });
  if (heartbeat !== undefined) keepBeating(heartbeat, limits.beatEveryMs);
  report({ type: "ready" });
}

function open(
  data: DatabaseThreadData,
  ownersArchive: LogArchive,
  onEvent: (event: StoreEvent) => void,
  onFailure: (failure: WireFailure) => void,
): Server | undefined {
  const clock = data.clock === undefined ? systemClock : testClock(data.clock);
  try {
    const driver = openSqlite({
      ...data,
      clock,
      onEvent,
      checkpoint: (input, options) => runBackupJob("checkpoint", input, options),
    });
    onEvent({ type: "opened", epoch: driver.epoch });
    const { limits, readers = 0, logArchive: chosen, movesLogs = false } = data;
    const logArchive = chosen === "owner" ? ownersArchive : openArchive({ archive: chosen, movesLogs });
    // The folder of the process may be another one when a reader starts.
    const path = resolve(data.path);
    const { epoch, files } = driver;
    return createServer({
      drivers: [driver],
      ...(files === undefined
        ? {}
        : {
            readers: {
              count: readers,
              start: (options) => startReaderThread({ path, limits, clock: data.clock, epoch, files }, options),
            },
          }),
      clock,
      limits,
      shared: data.path !== ":memory:",
      logArchive,
      movesLogs,
      onEvent,
    });
  } catch (error) {
    onFailure(wireFailureOf(error));
    return undefined;
  }
}

function wireFailureOf(error: unknown): WireFailure {
  return toWireFailure(
    error instanceof StoreError ? error : new StoreError("internal", String((error as Error).stack ?? error)),
  );
}

/** Drops reports that follow the last one too soon, because each costs a message and no reader needs so many. */
function throttled(onProgress: (doneBytes: number, totalBytes: number) => void): typeof onProgress {
  let reportedAtMs = 0;
  return (doneBytes, totalBytes) => {
    if (realTime.elapsed() - reportedAtMs < progressEveryMs) return;
    reportedAtMs = realTime.elapsed();
    onProgress(doneBytes, totalBytes);
  };
}

const progressEveryMs = 20;
