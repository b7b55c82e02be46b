// What a store is to the thread that holds it.
import type { MessagePort } from "node:worker_threads";
import type { BackupOptions } from "../backup/online.ts";
import type { ClientOf } from "../client.ts";
import { StoreError } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Operations } from "../operations/table.ts";
import type { Backup } from "../schema/manifest.ts";
import type { Liveness } from "./heartbeat.ts";

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
  /** What is in force, for those who attach to the store from elsewhere. */
  readonly limits: Limits;
  /** A port for another thread: transfer it there and hand it to attachStore. */
  connect(options?: ConnectOptions): MessagePort;
  /** Serves a port whose other end somebody else holds already. */
  serve(port: MessagePort, options?: ConnectOptions): void;
  /** What is known of the thread that holds the database, without asking it. */
  liveness(): Liveness;
  /**
   * Copies the database as it is, while calls go on: a few pages at a time between their groups, then proven whole in a thread of its own.
   *
   * Result   the file and its manifest (SHA-256, rows by table, revision), both 0600
   * Fails    storage_full | conflict when the file is there | corrupt | aborted | closed | incompatible on PostgreSQL, naming the pg_dump line to run
   * Cost     a step blocks the database thread for under a millisecond; the last one syncs what the system has not written yet
   */
  backup(options?: BackupOptions): Promise<Backup>;
};

/** However often the store is closed, it is done once, and all wait for it. */
export function ownedStore(
  client: ClientOf<Operations>,
  owner: Pick<OwnedStore, "limits" | "connect" | "serve" | "liveness" | "backup" | "close">,
): OwnedStore {
  let closed: Promise<void> | undefined;
  const connect: OwnedStore["connect"] = (options) => {
    if (closed !== undefined) throw new StoreError("closed", "the store is closed");
    return owner.connect(options);
  };
  const close = (): Promise<void> => {
    closed ??= owner.close();
    return closed;
  };
  return { ...client, ...owner, connect, close, [Symbol.asyncDispose]: close };
}

/** Resolves with the promise, or when so much time is over. */
export async function within(ms: number, promise: Promise<void>): Promise<void> {
  const { promise: over, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([promise, over]);
  clearTimeout(timer);
}
