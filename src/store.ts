// Opens a store, and attaches to one from another thread.
import { resolve } from "node:path";
import type { MessagePort } from "node:worker_threads";
import { startReaderConnection } from "./actor/connectionReader.ts";
import { within } from "./actor/deadline.ts";
import { inProcessStore } from "./actor/inProcess.ts";
import { assembleOwnedStore } from "./actor/ownedStore.ts";
import { portBackend } from "./actor/ports.ts";
import { createServer, type Server } from "./actor/server.ts";
import { startDatabaseThread } from "./actor/supervisor.ts";
import type { DatabaseThreadData } from "./actor/thread.ts";
import { chooseArchive, isArchive, type LogArchiveOption, openArchive } from "./archive/chooseArchive.ts";
import type { LogArchive } from "./archive/logArchive.ts";
import { runBackupJob } from "./backup/jobs.ts";
import { backUpOnline } from "./backup/online.ts";
import { createClient } from "./client.ts";
import { systemClock, type TestClock } from "./clock.ts";
import type { Driver, Synchronous } from "./driver.ts";
import { StoreError } from "./errors.ts";
import { faultEvent, type Logger, logEvent, type StoreEvent } from "./events.ts";
import { warnOfEvents } from "./eventWarnings.ts";
import { checkLimits, checkMaxBytes, checkReaders, type Limits } from "./limits.ts";
import { operationFilter } from "./operations/patterns.ts";
import { operations } from "./operations/table.ts";
import { checkNodeVersion } from "./package.ts";
import { chooseUrl, isServerUrl, parsePlace, tokenIn } from "./place.ts";
import { backupRefusal } from "./postgres/advice.ts";
import type { PostgresOptions } from "./postgres/open.ts";
import type { MigratePolicy, Role } from "./sqlite/open.ts";
import type { OwnedStore, Store } from "./storeTypes.ts";

export interface StoreOptions {
  /**
   * The database: "sqlite:PATH" or "postgres://USER:PASSWORD@HOST:PORT/DATABASE"; or the server of a store, see `token`. The default is the environment
   * variable DEBUG_SERVER_DB_URL unless it is blank, or else "sqlite:.artifacts/data/metadata.db". Blanks and line ends
   * around it are dropped; "sqlite:~/PATH" is in the home directory.
   */
  readonly url?: string;
  /**
   * The token for a store that another process serves: "http://HOST:PORT", "https://..." or "unix:PATH" as `url`. The default
   * is the environment variable DEBUG_SERVER_DB_TOKEN.
   */
  readonly token?: string;
  /** The policy for a missing database: `create` (default) or `never`. An older or newer schema is always refused. */
  readonly migrate?: MigratePolicy;
  /**
   * The durability of acknowledged writes. `full` (default): they survive power loss. `normal` is faster: they survive
   * the death of this process, but not a crash of the machine (SQLite) or of the server (PostgreSQL).
   */
  readonly synchronous?: Synchronous;
  /** The largest size of a SQLite file; beyond it, writes fail with `storage_full`. The default is no limit. */
  readonly maxBytes?: number;
  /**
   * The largest number of readers: threads, or connections to PostgreSQL, that run long reads beside the writes. 0 turns
   * them off. The default is 1, and 0 for a visitor. One is started when reads take long, and ended when it is idle.
   */
  readonly readers?: number;
  /** Bounds that differ from `defaultLimits`. */
  readonly limits?: Partial<Limits>;
  /**
   * The role of this process. A `server` (default) stays, and ends leases that have expired. A `visitor` makes a few
   * calls beside a server, as the command line does: it is not reported as a second server of the file, and ends no
   * leases on its own.
   */
  readonly role?: Role;
  /**
   * The archive that sealed logs move to, `limits.logArchiveAfterMs` after the end of their attempt. `true`: the folder
   * in the environment variable DEBUG_SERVER_DB_LOG_ARCHIVE, or else `log-archive` beside the database file. An object
   * with put, get and delete: an object store. Without it, no log moves; logs in the folder that `true` means are read
   * from there. `false`: they are not read either.
   */
  readonly logArchive?: LogArchiveOption;
  /** A logger for the same events as `onEvent`, such as pino. */
  readonly logger?: Logger;
  /**
   * Receives what the store reports besides the answers to calls, such as faults and expired leases. Without `onEvent` and
   * `logger`, its warnings and errors are warnings of the process, each kind at most once a minute.
   */
  readonly onEvent?: (event: StoreEvent) => void;
  /** A clock for tests; the default is the system's. */
  readonly clock?: TestClock;
}

/**
 * Opens a store. A SQLite file is held by a thread of its own; PostgreSQL is reached over a few connections of the
 * calling thread.
 *
 * Fails    invalid_input (url, limits, maxBytes) | incompatible (a database of another program, an older or newer
 *          schema, a server that refuses the connection, an old Node.js) | storage_full | busy | corrupt
 * Effect   when `migrate` is `create`: a new file with mode 0600, in a folder that is created with mode 0700; or tables
 *          in an empty database
 */
export async function openStore(options: StoreOptions = {}): Promise<OwnedStore> {
  checkNodeVersion();
  const { migrate = "create", synchronous = "full", role = "server", clock } = options;
  const limits = checkLimits({ ...options.limits, ...(role === "visitor" ? { reapEveryMs: 0, pruneEveryMs: 0 } : {}) });
  const { url, name } = chooseUrl(options.url, process.env);
  if (isServerUrl(url)) {
    // Loaded only when needed, because most stores are files.
    const { openRemote } = await import("./remote/open.ts");
    const server = { url: url.trim(), token: options.token ?? tokenIn(process.env) };
    const store = await openRemote(server, options.limits ?? {});
    servers.set(store, server);
    return store;
  }
  const place = parsePlace(url, name);
  const listener = options.onEvent ?? (options.logger === undefined ? warnOfEvents() : undefined);
  const onEvent = (event: StoreEvent): void => {
    try {
      listener?.(event);
      if (options.logger !== undefined) logEvent(options.logger, event);
    } catch (error) {
      // A listener that throws must not make the store fail.
      process.emitWarning(error as Error);
    }
  };
  const maxBytes = checkMaxBytes(options.maxBytes);
  const readers = checkReaders(options.readers ?? (role === "visitor" ? 0 : 1));
  const chosen = chooseArchive(options.logArchive, place, process.env);
  const movesLogs = chosen.movesLogs && role === "server";
  const { archive } = chosen;
  if (place.engine === "sqlite") {
    const { path } = place;
    const file = { path, limits, migrate, synchronous, maxBytes, role, readers, clock: clock?.shared, movesLogs };
    return archive !== undefined && isArchive(archive)
      ? openFile({ ...file, logArchive: "owner" }, onEvent, archive)
      : openFile({ ...file, logArchive: archive }, onEvent);
  }
  if (maxBytes !== undefined)
    throw new StoreError(
      "invalid_input",
      "maxBytes: only the size of a SQLite file can be limited; limit PostgreSQL on its server",
    );
  const logArchive = openArchive({ archive, movesLogs });
  return openServer(
    { url: place.url, limits, migrate, synchronous, role, clock: clock ?? systemClock },
    readers,
    onEvent,
    { logArchive, movesLogs },
  );
}

/** The server of a remote store, and the token with which it was opened. */
export interface StoreServerAddress {
  readonly url: string;
  readonly token: string | undefined;
}

const servers = new WeakMap<object, StoreServerAddress>();

/** Returns the server of a remote store, for what no call carries, such as files; undefined for every other store. */
export function serverOf(store: object): StoreServerAddress | undefined {
  return servers.get(store);
}

async function openFile(
  data: DatabaseThreadData,
  onEvent: (event: StoreEvent) => void,
  logArchive?: LogArchive,
): Promise<OwnedStore> {
  const { limits } = data;
  const thread = await startDatabaseThread(data, onEvent, logArchive);
  let backend = portBackend(thread.connect());
  const client = createClient(operations, backend, limits, () => {
    backend = portBackend(thread.connect());
    return backend;
  });
  return assembleOwnedStore(client.methods, {
    limits,
    connect: ({ operations: patterns } = {}) => {
      // The thread compiles the patterns; checked here too, because its error could not reach the caller.
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
  options: Omit<PostgresOptions, "onTouched" | "onFault">,
  readers: number,
  onEvent: (event: StoreEvent) => void,
  logs: { readonly logArchive: LogArchive | undefined; readonly movesLogs: boolean },
): Promise<OwnedStore> {
  const { limits } = options;
  // Loaded only when needed, because most stores are files.
  const { openPostgres } = await import("./postgres/open.ts");
  // A notification that arrives before the server exists can be dropped, because no call waits yet.
  let server: Server | undefined;
  const { drivers, clock, publish, connectReader } = await openPostgres({
    ...options,
    onTouched: (topics) => server?.touch(topics),
    onFault: (error) => onEvent(faultEvent(error)),
  });
  server = createServer({
    drivers,
    readers: { count: readers, start: (readerOptions) => startReaderConnection(connectReader, limits, readerOptions) },
    clock,
    limits,
    shared: false,
    ...logs,
    onCommit: publish,
    onEvent,
  });
  onEvent({ type: "opened", epoch: (drivers[0] as Driver).epoch });
  return inProcessStore(server, limits, async () => {
    throw backupRefusal(options.url, "dump");
  });
}

/**
 * Opens a store for a program that makes a few calls and ends, such as the command line, as a visitor. A SQLite file is
 * used in the calling thread: that starts twice as fast as another thread (D-110), but each transaction holds up the
 * event loop, as no server may. Fails as `openStore`.
 */
export async function openVisitor({
  url,
  migrate,
}: Required<Pick<StoreOptions, "url" | "migrate">>): Promise<OwnedStore> {
  const place = parsePlace(url);
  if (place.engine === "postgres") return openStore({ url, migrate, role: "visitor" });
  const { path } = place;
  const limits = checkLimits({ reapEveryMs: 0, pruneEveryMs: 0 });
  const onEvent = (): void => undefined;
  // Loaded here alone, because a server's main thread has no use for it.
  const { openSqlite } = await import("./sqlite/open.ts");
  const driver = openSqlite({
    path,
    migrate,
    limits,
    synchronous: "full",
    maxBytes: undefined,
    role: "visitor",
    clock: systemClock,
    onEvent,
    checkpoint: (input, options) => runBackupJob("checkpoint", input, options),
  });
  const logArchive = openArchive({ ...chooseArchive(undefined, place, process.env), movesLogs: false });
  const server = createServer({ drivers: [driver], clock: systemClock, limits, shared: true, logArchive, onEvent });
  return inProcessStore(server, limits, (options = {}) => backUpOnline(resolve(path), options, server.backUp));
}

export interface AttachOptions {
  /** The limits of the store; pass `store.limits` when it was opened with limits of its own. */
  readonly limits?: Partial<Limits>;
  /** Returns a new port after the database thread was replaced. Without it, the store is lost with its port. */
  readonly reconnect?: () => MessagePort;
}

/** Attaches to a store from another thread, over a port that `store.connect` returned. */
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
