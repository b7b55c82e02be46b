// Opening a store, and attaching to one from another thread.
import type { MessagePort } from "node:worker_threads";
import { portBackend } from "./actor/ports.ts";
import { matcher } from "./actor/server.ts";
import { startDatabaseThread } from "./actor/supervisor.ts";
import { type ClientOf, createClient } from "./client.ts";
import type { TestClock } from "./clock.ts";
import type { Synchronous } from "./drivers/sqliteConnection.ts";
import type { MigratePolicy } from "./drivers/sqliteFile.ts";
import { StoreError } from "./errors.ts";
import { type Logger, logEvent, type StoreEvent } from "./events.ts";
import { defaultLimits, type Limits } from "./limits.ts";
import { type Operations, operations } from "./operations/table.ts";

export interface StoreOptions {
  /** "sqlite:PATH"; DEBUG_SERVER_DB_URL or "sqlite:.artifacts/data/metadata.db" unless given. */
  readonly url?: string;
  /** `create` (default) makes a new database; `never` refuses one that is not there. An older or newer schema is refused either way. */
  readonly migrate?: MigratePolicy;
  /** `full` (default): an acknowledged write survives power loss. `normal`: faster, it survives the death of the process. */
  readonly synchronous?: Synchronous;
  /** The file grows no larger; beyond it writes fail storage_full. */
  readonly maxBytes?: number;
  readonly limits?: Partial<Limits>;
  readonly logger?: Logger;
  readonly onEvent?: (event: StoreEvent) => void;
  /** Moves time in tests. */
  readonly clock?: TestClock;
}

export interface ConnectOptions {
  /** What the port may reach: names such as "commands.claim", or "commands.*". All unless given. */
  readonly operations?: readonly string[];
}

/** The methods of the store, from whatever thread. */
export type Store = ClientOf<Operations> &
  AsyncDisposable & {
    /** Ends this way in. Calls that were made are answered first by a store that owns its database; an attached one rejects them. */
    close(): Promise<void>;
  };

/** A store that owns its database. */
export type OwnedStore = Store & {
  /** A port for another thread: transfer it there and hand it to attachStore. */
  connect(options?: ConnectOptions): MessagePort;
  /** Serves a port whose other end somebody else holds already. */
  serve(port: MessagePort, options?: ConnectOptions): void;
};

export const defaultUrl = "sqlite:.artifacts/data/metadata.db";

/**
 * Opens the store: a thread of its own holds the database.
 *
 * Fails    invalid_input (url, limits) | incompatible (not our file, older or newer schema, no WAL) | storage_full | busy | corrupt
 * Effect   a new file, mode 0600, in a folder made with mode 0700, when there is none and `migrate` is `create`
 */
export async function openStore(options: StoreOptions = {}): Promise<OwnedStore> {
  const limits = checkLimits(options.limits);
  const path = pathOf(options.url ?? (process.env.DEBUG_SERVER_DB_URL || defaultUrl));
  const onEvent = (event: StoreEvent): void => {
    options.onEvent?.(event);
    if (options.logger !== undefined) logEvent(options.logger, event);
  };
  const { migrate = "create", synchronous = "full", clock } = options;
  const maxBytes = checkMaxBytes(options.maxBytes);
  const thread = await startDatabaseThread({ path, limits, migrate, synchronous, maxBytes, clock: clock?.shared }, onEvent);
  const backend = portBackend(thread.connect());
  const client = createClient(operations, backend, limits);
  return ownedStore(client.methods, {
    connect: ({ operations: patterns } = {}) => {
      matcher(patterns);
      return thread.connect(patterns);
    },
    serve: (port, { operations: patterns } = {}) => {
      matcher(patterns);
      thread.serve(port, patterns);
    },
    async close() {
      await within(limits.closeMs, client.drain());
      await thread.close();
      await backend.close();
    },
  });
}

/** The store behind a port that `store.connect` gave. */
export function attachStore(port: MessagePort, options: { readonly limits?: Partial<Limits> } = {}): Store {
  const backend = portBackend(port);
  const { methods } = createClient(operations, backend, checkLimits(options.limits));
  const close = () => backend.close();
  return { ...methods, close, [Symbol.asyncDispose]: close };
}

export function ownedStore(client: ClientOf<Operations>, owner: Pick<OwnedStore, "connect" | "serve" | "close">): OwnedStore {
  return { ...client, ...owner, [Symbol.asyncDispose]: owner.close };
}

/** Resolves with the promise, or when so much time is over. */
async function within(ms: number, promise: Promise<void>): Promise<void> {
  const { promise: over, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([promise, over]);
  clearTimeout(timer);
}

/** https://www.sqlite.org/uri.html is not used: the rest of the URL is the path, as it is. */
export function pathOf(url: string): string {
  const path = url.startsWith("sqlite:") ? url.slice("sqlite:".length).replace(/^\/\/(?=\/)/, "") : "";
  if (path !== "" && !path.includes("\u0000")) return path;
  throw new StoreError("invalid_input", `url: expected sqlite:PATH, such as ${defaultUrl}`);
}

/** SQLite takes what is no number for no limit at all. */
export function checkMaxBytes(maxBytes: number | undefined): number | undefined {
  if (maxBytes === undefined || (Number.isSafeInteger(maxBytes) && maxBytes > 0)) return maxBytes;
  throw new StoreError("invalid_input", `maxBytes: expected a whole number from 1 on, not ${maxBytes}`);
}

export function checkLimits(limits: Partial<Limits> = {}): Limits {
  for (const [name, value] of Object.entries(limits)) {
    if (!(name in defaultLimits)) throw new StoreError("invalid_input", `limits: there is no limit ${name}`);
    if (!Number.isSafeInteger(value) || value < 0) throw new StoreError("invalid_input", `limits.${name}: expected a whole number from 0 on, not ${value}`);
  }
  const all = { ...defaultLimits, ...limits };
  // Half of a log's limit is kept for its end, and must hold more than one chunk.
  if (all.logBytes < 262_144) throw new StoreError("invalid_input", "limits.logBytes: expected at least 262 144");
  return all;
}
