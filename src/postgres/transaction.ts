// The driver for PostgreSQL: runs the same bodies with await, in READ COMMITTED, on one connection. Bodies lock the
// rows that a rule spans. An error of the server is never thrown into a body, because no statement can run after one.

import type pg from "pg";
import type { DatabaseFacts } from "../context.ts";
import type { Driver, Group, Job, Runnable, Settled, TransactionHooks } from "../driver.ts";
import {
  bodyError,
  type Effect,
  isRead,
  joinGroups,
  rolledBack,
  succeededOf,
  TransactionLost,
} from "../driverOutcome.ts";
import { StoreError } from "../errors.ts";
import type { Access } from "../operation.ts";
import { present } from "../present.ts";
import { realTime, sleep } from "../realTime.ts";
import { type Body, BodyRun, type Query } from "../sql.ts";
import { batchesOf } from "./batches.ts";
import { commit, ownXid } from "./commit.ts";
import type { PostgresConnection } from "./connection.ts";
import {
  ConnectionLost,
  isLockTimeout,
  QueryFailed,
  rethrow,
  ServerReadOnly,
  transactionLost,
  translate,
} from "./errors.ts";
import { commitOrderClass, schemaKey } from "./locks.ts";
import { type ServerClock, timeQuery } from "./serverClock.ts";
import { encode, type Prepared, PreparedStatements } from "./statements.ts";

interface PostgresDriverOptions {
  readonly connection: PostgresConnection;
  readonly epoch: number;
  /** The time that a call may wait for a locked row when it shares its transaction with others. */
  readonly groupLockMs: number;
  /** The time that a call may wait for a locked row when it is alone in its transaction. */
  readonly lockMs: number;
  readonly clock: ServerClock;
  facts?(): DatabaseFacts;
  readonly findProblem?: Driver["findProblem"];
}

export function createPostgresDriver(options: PostgresDriverOptions): Driver {
  const transaction = new Transaction(options);
  return {
    engine: "postgres",
    epoch: options.epoch,
    transact: (jobs, budgetMs, onPart) => transaction.run(jobs, budgetMs, onPart),
    facts: options.facts ?? (() => ({})),
    ...present({ findProblem: options.findProblem }),
    close: () => options.connection.close(),
  };
}

/** The maximum number of attempts for a single job that conflicts with other transactions. */
const triesMax = 8;

/** A transaction whose BEGIN was sent. `begun` settles when BEGIN is answered. */
interface OpenTransaction {
  readonly client: pg.Client;
  readonly begun: Promise<void>;
}

class Transaction {
  readonly #options: PostgresDriverOptions;
  readonly #statements = new PreparedStatements();

  constructor(options: PostgresDriverOptions) {
    this.#options = options;
  }

  /**
   * Runs jobs in one transaction, without savepoints (D-041). When one fails after it has written, breaks a constraint,
   * or waits too long for a row, the transaction is rolled back and each job runs alone. That is safe because bodies
   * are pure and nothing has been answered yet.
   */
  async run(jobs: readonly Job[], budgetMs: number, hooks: TransactionHooks = {}): Promise<Group> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#attempt(jobs, budgetMs, hooks);
      } catch (error) {
        if (!(error instanceof TransactionLost)) throw error;
        if (jobs.length > 1) return await this.#oneByOne(jobs, budgetMs, hooks);
        const group = await this.#recover(error, tries);
        if (group !== undefined) return group;
      }
    }
  }

  async #attempt(jobs: readonly Job[], budgetMs: number, hooks: TransactionHooks): Promise<Group> {
    const { connection, clock } = this.#options;
    const client = await connection.get();
    try {
      const begun = this.#begin(client, jobs);
      // It is awaited later. Until then a rejection must not count as unhandled.
      begun.catch(() => undefined);
      const transaction: OpenTransaction = { client, begun };
      if (clock.stale) await begun;
      const now = clock.now();
      const settled: Settled[] = [];
      const usedMs: number[] = [];
      let wrote = false;
      let lastMs = realTime.elapsed();
      const deadlineMs = lastMs + budgetMs;
      for (const batch of batchesOf(jobs)) {
        const effects = batch.map((): Effect => ({ wrote: false }));
        const ended = await Promise.allSettled(
          batch.map((job, index) => this.#runJob(transaction, job, now, effects[index] as Effect)),
        );
        const failed = ended.flatMap((one) => (one.status === "rejected" ? [one.reason] : []));
        if (failed.length > 0) throw failed.find(isOfConnection) ?? failed[0];
        for (const one of ended) settled.push((one as PromiseFulfilledResult<Settled>).value);
        wrote ||= effects.some((effect) => effect.wrote);
        const nowMs = realTime.elapsed();
        for (const _ of batch) usedMs.push((nowMs - lastMs) / batch.length);
        lastMs = nowMs;
        if (nowMs > deadlineMs) break;
      }
      const changes = hooks.writeChanges?.(succeededOf(jobs, settled));
      const xid = changes && (await this.#writeChanges(transaction, changes, jobs.length));
      await begun;
      const commitAtMs = realTime.elapsed();
      const unknown = await commit({ connection, client, wrote, xid });
      if (unknown === undefined) {
        if (wrote) hooks.onCommitted?.(realTime.elapsed() - commitAtMs);
        return { settled, usedMs, wrote };
      }
      const unsure = settled.map((result, index) => settleUnknown(jobs[index] as Job, result, unknown));
      return { settled: unsure, usedMs, wrote };
    } catch (error) {
      // Nothing can have been committed: COMMIT was not sent, or is known to have failed.
      await this.#undo(client, error);
      throw error instanceof QueryFailed ? translate(error.cause) : error;
    }
  }

  /**
   * Settles the only job of a lost transaction. Returns undefined when it may succeed when it runs again; otherwise it
   * fails.
   */
  async #recover({ reason, index, transient }: TransactionLost, tries: number): Promise<Group | undefined> {
    if (!transient || tries === triesMax)
      return { settled: [{ ok: false, error: rolledBack(reason), index }], usedMs: [0], wrote: false };
    // The time is random, so that the transactions do not conflict again at once.
    await sleep(Math.random() * 2 ** tries);
    return undefined;
  }

  /** Runs each job in a transaction of its own. Each is answered when it is committed: the next may wait for a row. */
  async #oneByOne(jobs: readonly Job[], budgetMs: number, hooks: TransactionHooks): Promise<Group> {
    const deadlineMs = realTime.elapsed() + budgetMs;
    const groups: Group[] = [];
    const settle = hooks.onPart ?? ((part: Group) => groups.push(part));
    for (const [index, job] of jobs.entries()) {
      try {
        settle(await this.run([job], 0, hooks));
      } catch (error) {
        // Earlier jobs are committed and must be answered; this one and the rest have not begun.
        if (index === 0) throw error;
        break;
      }
      if (realTime.elapsed() > deadlineMs) break;
    }
    return joinGroups(groups);
  }

  /**
   * Begins a transaction, and reads the server's clock when that is due. A group of reads sees one moment of the
   * database, so that rows and a cursor of the feed belong together.
   */
  async #begin(client: pg.Client, jobs: readonly Job[]): Promise<void> {
    const { groupLockMs, clock } = this.#options;
    const begin = jobs.every(isRead) ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" : "BEGIN";
    const lock = jobs.length > 1 ? `; SET LOCAL lock_timeout = ${groupLockMs}` : "";
    const askedAtMs = realTime.elapsed();
    const beginning = client.query(begin + lock);
    const reading = clock.due ? client.query<{ now: number }>({ name: "clock", text: timeQuery }) : undefined;
    const [begun, read] = await Promise.allSettled([beginning, reading]);
    if (begun.status === "rejected") rethrow(begun.reason);
    if (read.status === "rejected") rethrow(read.reason);
    if (read.value !== undefined) clock.set((read.value.rows[0] as { now: number }).now, askedAtMs);
  }

  async #runJob(transaction: OpenTransaction, job: Job, now: Date, effect: Effect): Promise<Settled> {
    const results: unknown[] = [];
    for (let index = 0; index < job.length; index++) {
      const { access, startBody } = job[index] as Runnable;
      try {
        results.push(await this.#runBody(transaction, startBody(now), access, effect));
      } catch (error) {
        if (isOfConnection(error)) throw error;
        if (error instanceof QueryFailed) throw transactionLost(error.cause, index);
        const failure = bodyError(error);
        if (effect.wrote) throw new TransactionLost(failure, index);
        return { ok: false, error: failure, index };
      }
    }
    return { ok: true, results };
  }

  async #runBody(transaction: OpenTransaction, body: Body<unknown>, access: Access, effect: Effect): Promise<unknown> {
    const run = new BodyRun(body);
    let next = run.advance();
    while (!next.done) next = run.advance({ answer: await this.#answer(transaction, next.value, access, effect) });
    return next.value;
  }

  async #answer(
    { client, begun }: OpenTransaction,
    { kind, statements }: Query<unknown>,
    access: Access,
    effect: Effect,
  ): Promise<unknown> {
    const prepared = statements.map(({ strings }) => this.#statements.get(strings));
    if (!prepared.every(({ readonly }) => readonly)) {
      if (access === "read") throw new StoreError("internal", "a read operation tried to write");
      // A read may share the round trip of BEGIN; a write must not happen if BEGIN has failed.
      await begun;
    }
    const queries = statements.map(({ values }, index) => {
      const { name, text } = prepared[index] as Prepared;
      return { name, text, values: values.map(encode) };
    });
    // All are awaited, so that no rejection goes unhandled. The first that failed is the cause of the others' failures.
    const results = await Promise.allSettled(queries.map((query) => client.query(query)));
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) rethrow(failed.reason);
    let changes = 0;
    for (const [index, one] of results.entries()) {
      const { rowCount } = (one as PromiseFulfilledResult<pg.QueryResult>).value;
      if (prepared[index]?.readonly === false) changes += rowCount ?? 0;
    }
    if (changes > 0) effect.wrote = true;
    if (kind === "change") return changes;
    const { rows } = (results[0] as PromiseFulfilledResult<pg.QueryResult>).value;
    return kind === "all" ? rows : rows[0];
  }

  /**
   * Writes the change rows of a group. Their numbers are in commit order (D-044), because no other transaction passes the
   * lock before this one has ended. Returns the id of the transaction.
   */
  async #writeChanges(
    transaction: OpenTransaction,
    body: Body<unknown>,
    groupJobs: number,
  ): Promise<string | undefined> {
    const { client } = transaction;
    try {
      // The short timeout is for rows that other calls have locked. This lock is only held while a transaction commits.
      if (groupJobs > 1) client.query(`SET LOCAL lock_timeout = ${this.#options.lockMs}`).catch(() => undefined);
      const text = `SELECT pg_advisory_xact_lock(${commitOrderClass}, ${schemaKey}), ${ownXid}`;
      const { rows } = await client.query<{ xid: string }>({ name: "commit_order", text }).catch(rethrowOfOrder);
      await this.#runBody(transaction, body, "write", { wrote: false });
      return rows[0]?.xid;
    } catch (error) {
      if (isOfConnection(error) || error instanceof CommitsHeld) throw error;
      throw error instanceof QueryFailed ? transactionLost(error.cause) : new TransactionLost(bodyError(error));
    }
  }

  async #undo(client: pg.Client, error: unknown): Promise<void> {
    const { connection } = this.#options;
    if (error instanceof ConnectionLost) return connection.drop(client);
    await client.query("ROLLBACK").catch(() => connection.drop(client));
    if (error instanceof ServerReadOnly) connection.leave(client);
  }
}

/** Returns true for a failure of the connection, which says nothing about the job, so the job may run again. */
function isOfConnection(error: unknown): boolean {
  return error instanceof ConnectionLost || error instanceof ServerReadOnly;
}

/**
 * Thrown when a transaction waited too long for its turn to commit. No transaction that writes can commit then, so it
 * ends like one that could not begin.
 */
class CommitsHeld extends QueryFailed {}

function rethrowOfOrder(error: unknown): never {
  if (isLockTimeout(error)) throw new CommitsHeld(error);
  rethrow(error);
}

/**
 * Settles a job when it is unknown whether its transaction was committed. A failed job or a read keeps its result,
 * because it changed nothing.
 */
function settleUnknown(job: Job, result: Settled, unknown: StoreError): Settled {
  return !result.ok || isRead(job) ? result : { ok: false, error: unknown, index: 0 };
}
