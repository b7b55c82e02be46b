// SQLite: runs bodies synchronously between BEGIN and COMMIT, so that nothing can slip in between.

import type Database from "better-sqlite3";
import type { Clock } from "../clock.ts";
import type { DatabaseFacts } from "../context.ts";
import type { Driver, Group, Job, Runnable, Settled } from "../driver.ts";
import { StoreError } from "../errors.ts";
import type { Access } from "../operation.ts";
import { bill, type Query, type SqlValue, type Statement, settleLedger } from "../sql.ts";
import { translate } from "./errors.ts";

interface SqliteDriverOptions {
  readonly db: Database.Database;
  readonly clock: Clock;
  readonly epoch: number;
  facts?(): DatabaseFacts;
  readonly backUp?: NonNullable<Driver["backUp"]>;
  close(): void;
}

export function createSqliteDriver({
  db,
  clock,
  epoch,
  facts = () => ({}),
  backUp,
  close,
}: SqliteDriverOptions): Driver {
  const transaction = new Transaction(db, clock);
  const dataVersion = db.prepare("PRAGMA data_version").pluck();
  return {
    epoch,
    transact: (jobs, budgetMs) => transaction.run(jobs, budgetMs),
    dataVersion: () => dataVersion.get() as number,
    facts,
    ...(backUp === undefined ? {} : { backUp }),
    close,
  };
}

/** All jobs are undone; mostly because SQLite rolled the transaction back by itself: full disk, I/O error, out of memory (https://www.sqlite.org/lang_transaction.html, section 3). */
class TransactionLost extends Error {
  readonly reason: StoreError;
  constructor(reason: StoreError) {
    super(reason.message);
    this.reason = reason;
  }
}

/** A call failed after it had written, in a transaction without savepoints: only running the others again undoes it alone. */
const undoNeeded = Symbol("undo needed");

class Transaction {
  readonly #db: Database.Database;
  readonly #clock: Clock;
  /** By identity of the template: one prepared statement for each place in the code. */
  readonly #prepared = new Map<readonly string[], Prepared>();
  readonly #begin: Database.Statement;
  readonly #beginImmediate: Database.Statement;
  readonly #commit: Database.Statement;
  readonly #rollback: Database.Statement;
  readonly #savepoint: Database.Statement;
  readonly #rollbackTo: Database.Statement;
  readonly #release: Database.Statement;

  constructor(db: Database.Database, clock: Clock) {
    this.#db = db;
    this.#clock = clock;
    this.#begin = db.prepare("BEGIN");
    this.#beginImmediate = db.prepare("BEGIN IMMEDIATE");
    this.#commit = db.prepare("COMMIT");
    this.#rollback = db.prepare("ROLLBACK");
    this.#savepoint = db.prepare("SAVEPOINT call");
    this.#rollbackTo = db.prepare("ROLLBACK TO call");
    this.#release = db.prepare("RELEASE call");
  }

  /**
   * Optimistic at first: no savepoints, because calls rarely fail after they wrote (D-004). If one does, the transaction is rolled back and run
   * again with a savepoint for each call; bodies are pure, and nothing was answered yet. So a group is run twice at most.
   */
  run(jobs: readonly Job[], budgetMs: number): Group {
    return this.#attempt(jobs, budgetMs, false) ?? (this.#attempt(jobs, budgetMs, true) as Group);
  }

  #attempt(jobs: readonly Job[], budgetMs: number, savepoints: boolean): Group | undefined {
    this.#start(!jobs.every(isRead));
    const now = new Date(this.#clock.now());
    const overAt = performance.now() + budgetMs;
    const settled: Settled[] = [];
    let wrote = false;
    try {
      for (const job of jobs) {
        const result = this.#runJob(job, now, savepoints);
        if (result === undoNeeded) {
          this.#undo();
          return undefined;
        }
        settled.push(result.settled);
        wrote ||= result.wrote;
        if (performance.now() > overAt) break;
      }
      this.#writeChanges(jobs, settled);
      this.#end();
    } catch (error) {
      if (error instanceof TransactionLost) return this.#recover(jobs, error.reason);
      this.#undo();
      throw error;
    }
    return { settled, wrote };
  }

  /**
   * After a lost group each job runs in a transaction of its own, so that each gets its own true answer; but never a write that may have
   * been committed.
   */
  #recover(jobs: readonly Job[], reason: StoreError): Group {
    const groups = jobs.map((job): Group => {
      if (jobs.length === 1 || (reason.outcome === "unknown" && !isRead(job)))
        return { settled: [lostAlone(job, reason)], wrote: false };
      try {
        return this.run([job], 0);
      } catch (error) {
        return { settled: [lostAlone(job, translate(error))], wrote: false };
      }
    });
    return { settled: groups.flatMap(({ settled }) => settled), wrote: groups.some(({ wrote }) => wrote) };
  }

  #start(writes: boolean): void {
    this.#undo();
    try {
      (writes ? this.#beginImmediate : this.#begin).run();
    } catch (error) {
      throw translate(error);
    }
  }

  #writeChanges(jobs: readonly Job[], settled: readonly Settled[]): void {
    try {
      for (const [index, { ok }] of settled.entries()) {
        if (!ok) continue;
        for (const { access, writeChanges } of jobs[index] as Job) {
          const body = writeChanges?.();
          if (body !== undefined) this.#runBody(body, access, { savepoints: false, saved: false, wrote: false });
        }
      }
    } catch (error) {
      if (error instanceof TransactionLost) throw error;
      this.#undo();
      throw new TransactionLost(asFailure(error));
    }
  }

  /** Proves that the transaction is over: a native call in a thread that is being terminated may return without having run (D-005). */
  #end(): void {
    try {
      this.#commit.run();
    } catch (error) {
      this.#undo();
      const reason = translate(error);
      // Of a failed sync nobody knows what reached the disk.
      throw new TransactionLost(
        new StoreError(reason.code, reason.message, {
          outcome: reason.code === "storage_full" ? "rolled_back" : "unknown",
          cause: error,
        }),
      );
    }
    if (this.#db.inTransaction !== false)
      throw new StoreError("internal", "COMMIT returned and the transaction is still open", { outcome: "unknown" });
  }

  #undo(): void {
    if (this.#db.inTransaction) this.#rollback.run();
    if (this.#db.inTransaction !== false)
      throw new StoreError("internal", "ROLLBACK returned and the transaction is still open", { outcome: "unknown" });
  }

  #runJob(job: Job, now: Date, savepoints: boolean): { settled: Settled; wrote: boolean } | typeof undoNeeded {
    const effect: Effect = { savepoints, saved: false, wrote: false };
    const results: unknown[] = [];
    for (let index = 0; index < job.length; index++) {
      const { access, startBody } = job[index] as Runnable;
      try {
        results.push(this.#runBody(startBody(now), access, effect));
      } catch (error) {
        if (error instanceof TransactionLost) throw error;
        if (effect.wrote && !savepoints) return undoNeeded;
        if (effect.saved) {
          this.#rollbackTo.run();
          this.#release.run();
        }
        return { settled: { ok: false, error: asFailure(error), index }, wrote: false };
      }
    }
    if (effect.saved) this.#release.run();
    return { settled: { ok: true, results }, wrote: effect.wrote };
  }

  #runBody(body: Generator<Query<unknown>, unknown, unknown>, access: Access, effect: Effect): unknown {
    const ledger = { made: 0, finished: 0 };
    bill(ledger);
    let next = body.next();
    while (!next.done) next = body.next(this.#answer(next.value, access, effect));
    settleLedger(ledger);
    return next.value;
  }

  #answer({ kind, statements }: Query<unknown>, access: Access, effect: Effect): unknown {
    if (kind !== "change") return this.#execute(statements[0] as Statement, kind, access, effect);
    let changes = 0;
    for (const statement of statements) changes += this.#execute(statement, kind, access, effect) as number;
    return changes;
  }

  #execute(statement: Statement, kind: Query<unknown>["kind"], access: Access, effect: Effect): unknown {
    const prepared = this.#prepared.get(statement.strings) ?? this.#prepare(statement.strings);
    if (!prepared.readonly) {
      if (access === "read") throw new StoreError("internal", "a read operation tried to write");
      if (effect.savepoints && !effect.saved) {
        this.#savepoint.run();
        effect.saved = true;
      }
    }
    const values = statement.values.map(encode);
    try {
      if (kind === "all") {
        const rows = prepared.statement.all(values);
        if (!prepared.readonly && rows.length > 0) effect.wrote = true;
        return rows;
      }
      if (kind === "first") {
        const row = prepared.statement.get(values);
        if (!prepared.readonly && row !== undefined) effect.wrote = true;
        return row;
      }
      const { changes } = prepared.statement.run(values);
      if (changes > 0) effect.wrote = true;
      return changes;
    } catch (error) {
      const failure = translate(error);
      if (!this.#db.inTransaction) throw new TransactionLost(failure);
      throw failure;
    }
  }

  #prepare(strings: readonly string[]): Prepared {
    try {
      const statement = this.#db.prepare<unknown[]>(strings.join("?"));
      const prepared = { statement, readonly: statement.readonly };
      this.#prepared.set(strings, prepared);
      return prepared;
    } catch (error) {
      throw translate(error);
    }
  }
}

interface Prepared {
  readonly statement: Database.Statement<unknown[]>;
  readonly readonly: boolean;
}

/** What a job has done so far in its transaction. */
interface Effect {
  readonly savepoints: boolean;
  saved: boolean;
  /** Rows were changed; a statement that matched none, or failed, has changed nothing. */
  wrote: boolean;
}

function encode(value: SqlValue): unknown {
  if (typeof value === "boolean") return value ? 1 : 0;
  if (value instanceof Date) return value.getTime();
  if (value === undefined) throw new StoreError("internal", "a statement was given undefined; NULL is null");
  return value;
}

/** What a body throws is a failure that its operation declares, or a fault of ours. */
function asFailure(error: unknown): StoreError {
  const outcome = "rolled_back";
  if (!(error instanceof StoreError))
    return new StoreError("internal", "an operation failed unexpectedly", { cause: error, outcome });
  const { code, message, details, cause } = error;
  return new StoreError(code, message, { details, cause, outcome });
}

function isRead(job: Job): boolean {
  return job.every(({ access }) => access === "read");
}

function lostAlone(job: Job, reason: StoreError): Settled {
  const outcome = isRead(job) ? "not_run" : reason.outcome === "unknown" ? "unknown" : "rolled_back";
  return { ok: false, error: new StoreError(reason.code, reason.message, { cause: reason.cause, outcome }), index: 0 };
}
