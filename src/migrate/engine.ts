// What a database must supply so that its schema can be migrated. Knows no database.
import type { Body } from "../sql.ts";
import type { Dialect, Migration } from "./files.ts";
import type { Catalog } from "./schema.ts";

export type Run = <Result>(body: Body<Result>) => Promise<Result>;

export interface EngineTransaction {
  /** Runs statements inside the transaction. What fails is thrown into the body, for it to say more. */
  readonly run: Run;
  /** A verified copy of what was there when the transaction began. */
  backUp(reason: string): Promise<Safety>;
}

/** How to go back: to a backup that was made, or how to make one where it cannot be made from here. */
export type Safety =
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
   * Runs alone: no other migration of this database, and nobody's writes, come between. What `work` did stays, all of it, when it returns,
   * and the transaction is proven to be over; when it throws, nothing stays.
   *
   * Fails    busy when the lock was not to be had in time | aborted
   */
  transact<Result>(work: (transaction: EngineTransaction) => Promise<Result>): Promise<Result>;
  /** Reads, at one moment. */
  read<Result>(work: (run: Run) => Promise<Result>): Promise<Result>;
  /** A database to try things on, gone when it is closed, with nothing in it. */
  empty(): Promise<Engine>;
  /** The same with all that this one holds; `applied` has made its schema. */
  copy(applied: readonly Migration[]): Promise<Engine>;
  /** How to make a backup where it cannot be made from here. */
  readonly backupAdvice: string | undefined;
  close(): Promise<void>;
}
