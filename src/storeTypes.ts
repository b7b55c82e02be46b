// The types of a store, apart from the functions that open one, so that every layer above this file can name them.
import type { MessagePort } from "node:worker_threads";
import type { BackupOptions } from "./backup/online.ts";
import type { ClientOf } from "./client.ts";
import type { Limits } from "./limits.ts";
import type { Operations } from "./operations/table.ts";
import type { MadeBackup } from "./schema/manifest.ts";

/** The options of a new port. */
export interface ConnectOptions {
  /**
   * The operations that the port may reach: names such as "commands.claim", or "commands.*". Without it, all of them.
   */
  readonly operations?: readonly string[];
}

/** A store as every thread sees it: one method for each operation. */
export type Store = ClientOf<Operations> &
  AsyncDisposable & {
    /**
     * Closes the store. One that owns its database first waits for the answers to the calls in flight, for at most
     * `limits.closeMs`; an attached store rejects these calls.
     */
    close(): Promise<void>;
  };

/** The state of the thread that holds the database, as read from shared memory without asking the thread. */
export interface Liveness {
  /**
   * `beating`: its event loop runs. `stuck`: one statement, or something else, has blocked the loop for longer than
   * `limits.stuckMs`. `replacing`: it has died, and another one is being started. `dead`: the store is closed, or no
   * other thread could be started within `limits.replaceMs`.
   */
  readonly state: "beating" | "stuck" | "replacing" | "dead";
  /** The time since the last heartbeat of the thread. */
  readonly beatAgoMs: number;
}

/** A store that owns its database. */
export type OwnedStore = Store & {
  /** The limits in force, for callers that attach to the store from other threads. */
  readonly limits: Limits;
  /** Creates a port for another thread: transfer it there and pass it to `attachStore`. */
  connect(options?: ConnectOptions): MessagePort;
  /** Serves a port whose other end another thread already holds. */
  serve(port: MessagePort, options?: ConnectOptions): void;
  /** Reports whether the thread that holds the database is responsive, without asking it. */
  liveness(): Liveness;
  /**
   * Copies the database while calls go on: a few pages at a time between groups of calls. The copy is then verified in
   * a thread of its own.
   *
   * Result   the file and its manifest (SHA-256, rows by table, revision), both with mode 0600. pruned: the older backups
   *          of this store in the same folder that went, because they are past `backupsMs` or `backupsMax` of
   *          maintenance.setRetention
   * Fails    storage_full | io_error | conflict when the file exists | corrupt | aborted | closed | incompatible on PostgreSQL,
   *          with the pg_dump command to run instead
   * Cost     each step blocks the database thread for less than a millisecond, except for the last one, which syncs the
   *          pages that the operating system has not written yet
   */
  backup(options?: BackupOptions): Promise<MadeBackup>;
};
