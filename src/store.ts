// Opening a store, and attaching to one from another thread.

import { resolve } from "node:path";
import type { MessagePort } from "node:worker_threads";
import { within } from "./actor/deadline.ts";
import { localStore } from "./actor/inProcess.ts";
import { ownedStore } from "./actor/owner.ts";
import { portBackend } from "./actor/ports.ts";
import { createServer, type Server } from "./actor/server.ts";
import { startDatabaseThread } from "./actor/supervisor.ts";
import type { DatabaseThreadData } from "./actor/thread.ts";
import { backUpOnline } from "./backup/online.ts";
import { createClient } from "./client.ts";
import { systemClock, type TestClock } from "./clock.ts";
import type { Driver, Synchronous } from "./driver.ts";
import { StoreError } from "./errors.ts";
import { type Logger, logEvent, type StoreEvent } from "./events.ts";
import { checkLimits, type Limits } from "./limits.ts";
import { operationFilter } from "./operations/patterns.ts";
import { operations } from "./operations/table.ts";
import { checkNodeVersion } from "./package.ts";
import { defaultUrl, parsePlace } from "./place.ts";
import { backupRefusal } from "./postgres/advice.ts";
import type { PostgresOptions } from "./postgres/open.ts";
import type { MigratePolicy, Role } from "./sqlite/open.ts";
import type { OwnedStore, Store } from "./storeTypes.ts";

export interface StoreOptions {
  /** "sqlite:PATH" or "postgres://USER:PASSWORD@HOST:PORT/DATABASE"; DEBUG_SERVER_DB_URL or "sqlite:.artifacts/data/metadata.db" unless given. */
  readonly url?: string;
  /** `create` (default) makes a new database; `never` refuses one that is not there. An older or newer schema is refused either way. */
  readonly migrate?: MigratePolicy;
  /**
   * `full` (default): an acknowledged write survives power loss. `normal` is faster: a write survives the death of this process, and not of
   * the machine (SQLite) or the server (PostgreSQL).
   */
  readonly synchronous?: Synchronous;
  /** The file grows no larger; beyond it writes fail storage_full. */
  readonly maxBytes?: number;
  readonly limits?: Partial<Limits>;
  /**
   * `server` (default) stays, and reaps what has run out. A `visitor` comes beside it for a few calls, as the command line does: it is not announced
   * as another server of the file, and reaps nothing by itself.
   */
  readonly role?: Role;
  readonly logger?: Logger;
  readonly onEvent?: (event: StoreEvent) => void;
  /** Moves time in tests. */
  readonly clock?: TestClock;
}

/**
 * Opens the store. A SQLite file is held by a thread of its own; PostgreSQL is reached over a few connections of the calling thread.
 *
 * Fails    invalid_input (url, limits) | incompatible (not our database, older or newer schema, refused by the server, Node too old) | storage_full | busy | corrupt
 * Effect   a new file, mode 0600, in a folder made with mode 0700, or the tables in an empty database, when `migrate` is `create`
 */
export async function openStore(options: StoreOptions = {}): Promise<OwnedStore> {
  checkNodeVersion();
  const { migrate = "create", synchronous = "full", role = "server", clock } = options;
  const limits = checkLimits({ ...options.limits, ...(role === "visitor" ? { reapEveryMs: 0 } : {}) });
  const place = parsePlace(options.url ?? (process.env.DEBUG_SERVER_DB_URL || defaultUrl));
  const onEvent = (event: StoreEvent): void => {
    try {
      options.onEvent?.(event);
      if (options.logger !== undefined) logEvent(options.logger, event);
    } catch (error) {
      // A listener's fault must not be taken for one of the store's.
      process.emitWarning(error as Error);
    }
  };
  const maxBytes = checkMaxBytes(options.maxBytes);
  if (place.engine === "sqlite")
    return openFile({ path: place.path, limits, migrate, synchronous, maxBytes, role, clock: clock?.shared }, onEvent);
  if (maxBytes !== undefined)
    throw new StoreError(
      "invalid_input",
      "maxBytes: only a SQLite file can be limited; limit PostgreSQL on its server",
    );
  return openServer({ url: place.url, limits, migrate, synchronous, clock: clock ?? systemClock }, onEvent);
}

async function openFile(data: DatabaseThreadData, onEvent: (event: StoreEvent) => void): Promise<OwnedStore> {
  const { limits } = data;
  const thread = await startDatabaseThread(data, onEvent);
  let backend = portBackend(thread.connect());
  const client = createClient(operations, backend, limits, () => {
    backend = portBackend(thread.connect());
    return backend;
  });
  return ownedStore(client.methods, {
    limits,
    connect: ({ operations: patterns } = {}) => {
      operationFilter(patterns);
      return thread.connect(patterns);
    },
    serve: (port, { operations: patterns } = {}) => {
      operationFilter(patterns);
      thread.serve(port, patterns);
    },
    liveness: () => thread.liveness(),
    backup: (options = {}) =>
      backUpOnline(data.path === ":memory:" ? data.path : resolve(data.path), options, (partial, watch) =>
        thread.backUp(partial, watch),
      ),
    async close() {
      await within(limits.closeMs, client.drain());
      await thread.close();
      await backend.close();
    },
  });
}

async function openServer(
  options: Omit<PostgresOptions, "onTouched">,
  onEvent: (event: StoreEvent) => void,
): Promise<OwnedStore> {
  // Loaded when it is asked for: most stores are files.
  const { openPostgres } = await import("./postgres/open.ts");
  // While there is no server yet, nobody waits for anything.
  let server: Server | undefined;
  const { drivers, clock, publish } = await openPostgres({ ...options, onTouched: (topics) => server?.touch(topics) });
  server = createServer({ drivers, clock, limits: options.limits, shared: false, onCommit: publish, onEvent });
  onEvent({ type: "opened", epoch: (drivers[0] as Driver).epoch });
  return localStore(server, options.limits, async () => {
    throw backupRefusal(options.url, "dump");
  });
}

export interface AttachOptions {
  /** A store with limits of its own wants the same ones here: `store.limits`. */
  readonly limits?: Partial<Limits>;
  /** Gives another port when this one is lost because the database thread was replaced. Without it the store is lost with its port. */
  readonly reconnect?: () => MessagePort;
}

/** The store behind a port that `store.connect` gave. */
export function attachStore(port: MessagePort, { limits, reconnect }: AttachOptions = {}): Store {
  let backend = portBackend(port);
  let closed = false;
  const { methods } = createClient(
    operations,
    backend,
    checkLimits(limits),
    reconnect === undefined
      ? undefined
      : () => {
          if (!closed) backend = portBackend(reconnect());
          return backend;
        },
  );
  const close = (): Promise<void> => {
    closed = true;
    return backend.close();
  };
  return { ...methods, close, [Symbol.asyncDispose]: close };
}

/** SQLite takes what is no number for no limit at all. */
export function checkMaxBytes(maxBytes: number | undefined): number | undefined {
  if (maxBytes === undefined || (Number.isSafeInteger(maxBytes) && maxBytes > 0)) return maxBytes;
  throw new StoreError("invalid_input", `maxBytes: expected a whole number from 1 on, not ${maxBytes}`);
}
