// The interface that an engine implements so that its databases can be migrated. Knows no database.

import type { Body } from "../sql.ts";
import type { Catalog } from "./ledger.ts";
import type { Migration } from "./migrationFiles.ts";
import type { Dialect } from "./statements.ts";

/** Runs a body in the current transaction. */
export type Run = <Result>(body: Body<Result>) => Promise<Result>;

export interface EngineTransaction {
  /** Runs a body inside the transaction. A failed query is thrown into the body, which can add the place. */
  readonly run: Run;
  /** True when no other process has the database open, nor can open it before the transaction ends. */
  readonly isAlone: boolean;
  /** Creates a checked backup of the state before the transaction, or returns advice on how to make one. */
  backUp(reason: string): Promise<RestorePoint>;
}

/** The means to undo a migration: the backup, or advice on how to make one with the engine's own tools. */
export type RestorePoint =
  | {
      readonly made: true;
      readonly path: string;
      readonly manifestPath: string;
      readonly bytes: number;
      readonly sha256: string;
      readonly restore: readonly string[];
    }
  | { readonly made: false; readonly advice: string };

export interface Engine {
  readonly dialect: Dialect;
  readonly catalog: Catalog;
  /**
   * Runs `work` in a transaction during which no other process migrates or writes. When `work` returns, the transaction
   * is committed, and that is proven; when it throws, the transaction is rolled back. If `needsAlone` returns true, the
   * transaction begins when no other process has the database open (D-104).
   *
   * Fails    busy when the lock could not be taken in time | aborted
   */
  transact<Result>(
    work: (transaction: EngineTransaction) => Promise<Result>,
    needsAlone?: (run: Run) => Promise<boolean>,
  ): Promise<Result>;
  /** Runs `work` in a transaction that reads one moment of the database. */
  read<Result>(work: (run: Run) => Promise<Result>): Promise<Result>;
  /** Opens an empty scratch database, which is deleted when it is closed. */
  openEmpty(): Promise<Engine>;
  /** Opens a scratch database with all rows of this one. `applied` lists the migrations that make up its schema. */
  openCopy(applied: readonly Migration[]): Promise<Engine>;
  /** The advice on how to make a backup, or undefined when the engine makes backups itself. */
  readonly backupAdvice: string | undefined;
  close(): Promise<void>;
}
