// Opening a store, and attaching to one from another thread.
import type { MessagePort } from "node:worker_threads";
import { type OwnedStore, ownedStore, type Store, within } from "./actor/owner.ts";
import { portBackend } from "./actor/ports.ts";
import { matcher } from "./actor/server.ts";
import { startDatabaseThread } from "./actor/supervisor.ts";
import { createClient } from "./client.ts";
import type { TestClock } from "./clock.ts";
import type { MigratePolicy, Synchronous } from "./drivers/sqliteFile.ts";
import { StoreError } from "./errors.ts";
import { type Logger, logEvent, type StoreEvent } from "./events.ts";
import { checkLimits, type Limits } from "./limits.ts";
import { operations } from "./operations/table.ts";

export type { ConnectOptions, OwnedStore, Store } from "./actor/owner.ts";

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
