// The driver for SQLite: runs bodies synchronously between BEGIN and COMMIT, so that nothing else runs in between.

import type Database from "better-sqlite3";
import type { Clock } from "../clock.ts";
import type { DatabaseFacts } from "../context.ts";
import type { Driver, Group, Job, Runnable, Settled, TransactionHooks, Upkeep } from "../driver.ts";
import { bodyError, type Effect, isRead, joinGroups, succeededOf, TransactionLost } from "../driverOutcome.ts";
import { StoreError } from "../errors.ts";
import type { Access } from "../operation.ts";
import { present } from "../present.ts";
import { realTime } from "../realTime.ts";
import { type Body, BodyRun, type Query, type Statement } from "../sql.ts";
import { pathOf } from "./connection.ts";
import { translate } from "./errors.ts";
import { encode, PreparedStatements } from "./statements.ts";

interface SqliteDriverOptions {
  readonly db: Database.Database;
  readonly clock: Clock;
  readonly epoch: number;
  /** Returns the reason why the database takes no writes now; their jobs fail with it before they begin. */
  refusal?(): StoreError | undefined;
  facts?(): DatabaseFacts;
  readonly backUp?: NonNullable<Driver["backUp"]>;
  readonly upkeep?: Upkeep | undefined;
  close(): void | Promise<void>;
}

export function createSqliteDriver({
  db,
  clock,
  epoch,
  refusal = () => undefined,
  facts = () => ({}),
  backUp,
  upkeep,
  close,
}: SqliteDriverOptions): Driver {
  const transaction = new Transaction(db, clock, refusal);
  const dataVersion = db.prepare("PRAGMA data_version").pluck();
  return {
    engine: "sqlite",
    epoch,
    transact: (jobs, budgetMs, hooks) => transaction.run(jobs, budgetMs, hooks),
    dataVersion: () => dataVersion.get() as number,
    facts,
    ...present({ backUp, upkeep }),
    close,
  };
}

/**
 * Returned when a job failed after it had written in a transaction without savepoints. It can only be undone together
 * with the others, which then run again.
 */
const undoNeeded = Symbol("undo needed");

interface SavepointEffect extends Effect {
  readonly savepoints: boolean;
  /** True when the savepoint of the job is set, which happens before its first write. */
  saved: boolean;
}

class Transaction {
  readonly #db: Database.Database;
  readonly #path: string | undefined;
  readonly #clock: Clock;
  readonly #refusal: () => StoreError | undefined;
  readonly #statements: PreparedStatements;
  readonly #control: Readonly<
    Record<
      "begin" | "beginImmediate" | "commit" | "rollback" | "savepoint" | "rollbackTo" | "release",
      Database.Statement
    >
  >;

  constructor(db: Database.Database, clock: Clock, refusal: () => StoreError | undefined) {
    this.#db = db;
    this.#path = pathOf(db);
    this.#clock = clock;
    this.#refusal = refusal;
    this.#statements = new PreparedStatements(db);
    this.#control = {
      begin: db.prepare("BEGIN"),
      beginImmediate: db.prepare("BEGIN IMMEDIATE"),
      commit: db.prepare("COMMIT"),
      rollback: db.prepare("ROLLBACK"),
      savepoint: db.prepare("SAVEPOINT call"),
      rollbackTo: db.prepare("ROLLBACK TO call"),
      release: db.prepare("RELEASE call"),
    };
  }

  /**
   * Runs jobs in one transaction, at first without savepoints, because calls rarely fail after they have written
   * (D-004). If one does, the transaction is rolled back and runs again with a savepoint for each job. That is safe
   * because bodies are pure and nothing has been answered yet. So a group runs at most twice.
   */
  run(jobs: readonly Job[], budgetMs: number, hooks: TransactionHooks = {}): Group {
    try {
      return this.#attempt(jobs, budgetMs, hooks, false) ?? (this.#attempt(jobs, budgetMs, hooks, true) as Group);
    } catch (error) {
      if (error instanceof TransactionLost) return this.#recover(jobs, hooks, error);
      throw error;
    }
  }

  /** Returns undefined when the group has to run again with savepoints. */
  #attempt(jobs: readonly Job[], budgetMs: number, hooks: TransactionHooks, savepoints: boolean): Group | undefined {
    const writes = !jobs.every(isRead);
    const refusal = writes ? this.#refusal() : undefined;
    this.#begin(writes && refusal === undefined);
    try {
      const now = new Date(this.#clock.now());
      const settled: Settled[] = [];
      const usedMs: number[] = [];
      let wrote = false;
      let lastMs = realTime.elapsed();
      const deadlineMs = lastMs + budgetMs;
      for (const job of jobs) {
        const effect: SavepointEffect = { savepoints, saved: false, wrote: false };
        const result: Settled | typeof undoNeeded =
          refusal === undefined || isRead(job)
            ? this.#runJob(job, now, effect)
            : { ok: false, error: refusal, index: 0 };
        if (result === undoNeeded) {
          this.#undo();
          return undefined;
        }
        settled.push(result);
        wrote ||= result.ok && effect.wrote;
        const nowMs = realTime.elapsed();
        usedMs.push(nowMs - lastMs);
        lastMs = nowMs;
        if (nowMs > deadlineMs) break;
      }
      this.#writeChanges(hooks.writeChanges?.(succeededOf(jobs, settled)), settled, usedMs);
      const commitAtMs = realTime.elapsed();
      this.#commit();
      if (wrote) hooks.onCommitted?.(realTime.elapsed() - commitAtMs);
      return { settled, usedMs, wrote };
    } catch (error) {
      this.#undo();
      throw error;
    }
  }

  /** Settles the jobs of a lost transaction. A single job fails; several run again, each on its own. */
  #recover(jobs: readonly Job[], hooks: TransactionHooks, { reason }: TransactionLost): Group {
    if (jobs.length > 1) return this.#oneByOne(jobs, hooks, reason);
    return lostGroup(jobs, reason);
  }

  /**
   * Runs each job in a transaction of its own. When the lost transaction may have been committed, writes are not run
   * again.
   */
  #oneByOne(jobs: readonly Job[], hooks: TransactionHooks, reason: StoreError): Group {
    const groups = jobs.map((job): Group => {
      if (reason.outcome === "unknown" && !isRead(job)) return lostGroup([job], reason);
      try {
        return this.run([job], 0, hooks);
      } catch (error) {
        return lostGroup([job], translate(error));
      }
    });
    return joinGroups(groups);
  }

  #begin(writes: boolean): void {
    this.#undo();
    try {
      (writes ? this.#control.beginImmediate : this.#control.begin).run();
    } catch (error) {
      throw translate(error, this.#path);
    }
  }

  #runJob(job: Job, now: Date, effect: SavepointEffect): Settled | typeof undoNeeded {
    const results: unknown[] = [];
    for (let index = 0; index < job.length; index++) {
      const { access, startBody } = job[index] as Runnable;
      try {
        results.push(this.#runBody(startBody(now), access, effect));
      } catch (error) {
        if (error instanceof TransactionLost) throw error;
        if (effect.wrote && !effect.savepoints) return undoNeeded;
        if (effect.saved) {
          this.#control.rollbackTo.run();
          this.#control.release.run();
        }
        return { ok: false, error: bodyError(error), index };
      }
    }
    if (effect.saved) this.#control.release.run();
    return { ok: true, results };
  }

  #runBody(body: Body<unknown>, access: Access, effect: SavepointEffect): unknown {
    const run = new BodyRun(body);
    let next = run.advance();
    while (!next.done) next = run.advance({ answer: this.#answer(next.value, access, effect) });
    return next.value;
  }

  #answer({ kind, statements }: Query<unknown>, access: Access, effect: SavepointEffect): unknown {
    if (kind !== "change") return this.#execute(statements[0] as Statement, kind, access, effect);
    let changes = 0;
    for (const statement of statements) changes += this.#execute(statement, kind, access, effect) as number;
    return changes;
  }

  #execute(
    { strings, values }: Statement,
    kind: Query<unknown>["kind"],
    access: Access,
    effect: SavepointEffect,
  ): unknown {
    const { statement, readonly } = this.#statements.get(strings);
    if (!readonly) {
      if (access === "read") throw new StoreError("internal", "a read operation tried to write");
      if (effect.savepoints && !effect.saved) {
        this.#control.savepoint.run();
        effect.saved = true;
      }
    }
    const parameters = encode(values);
    try {
      if (kind === "all") {
        const rows = statement.all(parameters);
        if (!readonly && rows.length > 0) effect.wrote = true;
        return rows;
      }
      if (kind === "first") {
        const row = statement.get(parameters);
        if (!readonly && row !== undefined) effect.wrote = true;
        return row;
      }
      const { changes } = statement.run(parameters);
      if (changes > 0) effect.wrote = true;
      return changes;
    } catch (error) {
      const failure = translate(error, this.#path);
      // After a full disk, an I/O error or lack of memory SQLite rolls back by itself:
      // https://www.sqlite.org/lang_transaction.html, section 3
      if (!this.#db.inTransaction) throw new TransactionLost(failure);
      throw failure;
    }
  }

  /**
   * Writes the change rows, and adds an equal share of the time to what each job has used. The numbers of the rows are in
   * commit order, because there is only one writer.
   */
  #writeChanges(body: Body<unknown> | undefined, settled: readonly Settled[], usedMs: number[]): void {
    if (body === undefined) return;
    const startedMs = realTime.elapsed();
    try {
      this.#runBody(body, "write", { savepoints: false, saved: false, wrote: false });
    } catch (error) {
      throw error instanceof TransactionLost ? error : new TransactionLost(bodyError(error));
    }
    const shareMs = (realTime.elapsed() - startedMs) / settled.length;
    for (let index = 0; index < usedMs.length; index++) usedMs[index] = (usedMs[index] as number) + shareMs;
  }

  /**
   * Commits, and proves that the transaction is over (D-005): a native call in a thread that is being terminated may
   * return without having run.
   */
  #commit(): void {
    try {
      this.#control.commit.run();
    } catch (error) {
      const { code, message, details } = translate(error, this.#path);
      // After a failed sync it is unknown what reached the disk.
      const outcome = code === "storage_full" ? "rolled_back" : "unknown";
      throw new TransactionLost(new StoreError(code, message, { outcome, details, cause: error }));
    }
    if (this.#db.inTransaction !== false)
      throw new StoreError("internal", "COMMIT returned and the transaction is still open", { outcome: "unknown" });
  }

  /** Rolls back if a transaction is open, and proves that none is open any more. */
  #undo(): void {
    if (this.#db.inTransaction) this.#control.rollback.run();
    if (this.#db.inTransaction !== false)
      throw new StoreError("internal", "ROLLBACK returned and the transaction is still open", { outcome: "unknown" });
  }
}

/** Settles jobs whose transaction was lost. */
function lostGroup(jobs: readonly Job[], reason: StoreError): Group {
  return { settled: jobs.map((job) => settleLost(job, reason)), usedMs: jobs.map(() => 0), wrote: false };
}

/** Returns the failure of a job whose transaction was lost. A read has changed nothing, so it counts as not run. */
function settleLost(job: Job, { code, message, details, cause, outcome: lost }: StoreError): Settled {
  const outcome = isRead(job) ? "not_run" : lost === "unknown" ? "unknown" : "rolled_back";
  return { ok: false, error: new StoreError(code, message, { details, cause, outcome }), index: 0 };
}
