// PostgreSQL: runs the same bodies with await, in READ COMMITTED, on one connection. Bodies lock what a rule spans; the driver supplies the
// lock clauses. No SQL error is thrown into a body, because a transaction is dead after one.

import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import type { DatabaseFacts } from "../context.ts";
import type { Driver, Group, Job, Runnable, Settled } from "../driver.ts";
import { StoreError } from "../errors.ts";
import { bill, type Query, type SqlValue, settleLedger } from "../sql.ts";
import { type PostgresConnection, withPlaceholders } from "./connection.ts";
import { isLost, isTransient, translate } from "./errors.ts";

interface PostgresDriverOptions {
  readonly connection: PostgresConnection;
  readonly epoch: number;
  /** While several calls share a transaction, how long one of them may wait for a row that another process holds, in milliseconds. */
  readonly groupLockMs: number;
  /** How long it may otherwise. */
  readonly lockMs: number;
  readonly clock: ServerClock;
  facts?(): DatabaseFacts;
}

/** The server's time, as this process knows it: read now and then by transactions on their way, and carried on by a clock that never jumps. */
export interface ServerClock {
  /** Whether the next transaction is to read it. */
  readonly due: boolean;
  /** What the server said, in milliseconds, and when it was asked, by performance.now(). */
  read(serverMs: number, askedAtMs: number): void;
  /** It was not read for long: a transaction waits for its reading. */
  readonly stale: boolean;
  now(): Date;
}

export function createPostgresDriver(options: PostgresDriverOptions): Driver {
  const transaction = new Transaction(options);
  return {
    epoch: options.epoch,
    transact: (jobs, budgetMs) => transaction.run(jobs, budgetMs),
    facts: options.facts ?? (() => ({})),
    close: () => options.connection.close(),
  };
}

/** "DSDB" in ASCII, the first half of our advisory locks; the second says what for. */
export const lockClass = 0x44534442;
export const migrationLock = 1;
const commitOrderLock = 2;

/** In milliseconds. */
export const askTime = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now";

/** All that the transaction did is undone. */
class Undone extends Error {
  readonly reason: StoreError;
  /** Which body of its job failed. */
  readonly index: number;
  /** Others were in the way: the same again may succeed. */
  readonly transient: boolean;
  constructor(reason: StoreError, index: number, transient: boolean) {
    super(reason.message);
    this.reason = reason;
    this.index = index;
    this.transient = transient;
  }
}

const triesMax = 8;

class Transaction {
  readonly #options: PostgresDriverOptions;
  /** By identity of the template: one prepared statement for each place in the code. */
  readonly #texts = new Map<readonly string[], Text>();

  constructor(options: PostgresDriverOptions) {
    this.#options = options;
  }

  /**
   * Optimistic at first: jobs share a transaction without savepoints (D-041). When one fails after it wrote, breaks a constraint, or waits too long
   * for a row that another process holds, all is undone and each runs alone: bodies are pure, and nothing was answered yet.
   */
  async run(jobs: readonly Job[], budgetMs: number): Promise<Group> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#attempt(jobs, budgetMs);
      } catch (error) {
        if (!(error instanceof Undone)) throw error;
        if (jobs.length > 1) return this.#oneByOne(jobs, budgetMs);
        if (!error.transient || tries === triesMax)
          return { settled: [{ ok: false, error: undone(error.reason), index: error.index }], wrote: false };
        await sleep(Math.random() * 2 ** tries);
      }
    }
  }

  async #oneByOne(jobs: readonly Job[], budgetMs: number): Promise<Group> {
    const overAt = performance.now() + budgetMs;
    const groups: Group[] = [];
    for (const job of jobs) {
      try {
        groups.push(await this.run([job], 0));
      } catch (error) {
        // What ran before is committed and must be answered; this one and the rest have not begun.
        if (groups.length === 0) throw error;
        break;
      }
      if (performance.now() > overAt) break;
    }
    return { settled: groups.flatMap(({ settled }) => settled), wrote: groups.some(({ wrote }) => wrote) };
  }

  async #attempt(jobs: readonly Job[], budgetMs: number): Promise<Group> {
    const { connection, clock } = this.#options;
    const client = await connection.get();
    try {
      const begun = this.#begin(client, jobs);
      begun.catch(() => undefined);
      const transaction: Open = { client, begun };
      if (clock.stale) await begun;
      const now = clock.now();
      const overAt = performance.now() + budgetMs;
      const settled: Settled[] = [];
      let wrote = false;
      for (const batch of batchesOf(jobs)) {
        const effects = batch.map((): Effect => ({ wrote: false }));
        const ended = await Promise.allSettled(
          batch.map((job, index) => this.#runJob(transaction, job, now, effects[index] as Effect)),
        );
        const failed = ended.flatMap((one) => (one.status === "rejected" ? [one.reason] : []));
        if (failed.length > 0) throw failed.find((error) => error instanceof ConnectionLost) ?? failed[0];
        for (const one of ended) settled.push((one as PromiseFulfilledResult<Settled>).value);
        wrote ||= effects.some((effect) => effect.wrote);
        if (performance.now() > overAt) break;
      }
      const xid = await this.#writeChanges(transaction, jobs, settled);
      await begun;
      const lost = await this.#commit(client, wrote, xid);
      return lost === undefined
        ? { settled, wrote }
        : { settled: settled.map((one, index) => unknown(jobs[index] as Job, one, lost)), wrote };
    } catch (error) {
      // Nothing of it can have been committed: COMMIT was not sent, or is known to have failed.
      if (error instanceof ConnectionLost) {
        connection.drop(client);
        throw translate(error.cause);
      }
      await client.query("ROLLBACK").catch(() => connection.drop(client));
      throw error instanceof SqlFailure ? translate(error.cause) : error;
    }
  }

  /** A group of reads sees one moment of the database, so that rows and a cursor of the feed belong together. */
  async #begin(client: pg.Client, jobs: readonly Job[]): Promise<void> {
    const { groupLockMs, clock } = this.#options;
    const begin = jobs.every(isRead) ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" : "BEGIN";
    const lock = jobs.length > 1 ? `; SET LOCAL lock_timeout = ${groupLockMs}` : "";
    const askedAtMs = performance.now();
    const begun = client.query(begin + lock);
    const reading = clock.due ? client.query<{ now: number }>({ name: "clock", text: askTime }) : undefined;
    const [one, other] = await Promise.allSettled([begun, reading]);
    if (one.status === "rejected") rethrow(one.reason);
    if (other.status === "rejected") rethrow(other.reason);
    if (other.value !== undefined) clock.read((other.value.rows[0] as { now: number }).now, askedAtMs);
  }

  async #runJob(transaction: Open, job: Job, now: Date, effect: Effect): Promise<Settled> {
    const results: unknown[] = [];
    for (let index = 0; index < job.length; index++) {
      const { access, startBody } = job[index] as Runnable;
      try {
        results.push(await this.#runBody(transaction, startBody(now), access, effect));
      } catch (error) {
        if (error instanceof ConnectionLost) throw error;
        if (error instanceof SqlFailure) throw undoneBy(error.cause, index);
        const failure = asFailure(error);
        if (effect.wrote) throw new Undone(failure, index, false);
        return { ok: false, error: failure, index };
      }
    }
    return { ok: true, results };
  }

  /** In the order of the commits: until this one is over, no other transaction can pass the lock (D-044). Resolves to the transaction's number. */
  async #writeChanges(
    transaction: Open,
    jobs: readonly Job[],
    settled: readonly Settled[],
  ): Promise<string | undefined> {
    const last = settled
      .flatMap(({ ok }, index) => (ok ? (jobs[index] as Job) : []))
      .flatMap(({ access, writeChanges }) => ({ access, body: writeChanges?.() }));
    if (last.every(({ body }) => body === undefined)) return undefined;
    try {
      // The short wait was for the calls' own locks; here others are just committing.
      if (jobs.length > 1)
        transaction.client.query(`SET LOCAL lock_timeout = ${this.#options.lockMs}`).catch(() => undefined);
      const text = `SELECT pg_advisory_xact_lock($1, $2), ${ownNumber}`;
      const { rows } = await transaction.client
        .query<{ xid: string }>({ name: "commit_order", text, values: [lockClass, commitOrderLock] })
        .catch(rethrow);
      for (const { access, body } of last)
        if (body !== undefined) await this.#runBody(transaction, body, access, { wrote: false });
      return rows[0]?.xid;
    } catch (error) {
      if (error instanceof ConnectionLost) throw error;
      throw error instanceof SqlFailure ? undoneBy(error.cause, 0) : new Undone(asFailure(error), 0, false);
    }
  }

  /** Resolves to a failure when nobody can say whether the transaction was committed. */
  async #commit(client: pg.Client, wrote: boolean, known: string | undefined): Promise<StoreError | undefined> {
    // Its number mostly arrives before COMMIT has run, and tells what became of it (D-046): https://www.postgresql.org/docs/current/functions-info.html
    const asking =
      wrote && known === undefined ? client.query({ name: "xid", text: `SELECT ${ownNumber}` }) : undefined;
    const commit = client.query("COMMIT");
    const [asked, committed] = await Promise.allSettled([asking, commit]);
    if (committed.status === "fulfilled") {
      // Of a transaction that has failed, COMMIT answers ROLLBACK.
      if (committed.value.command === "COMMIT") return undefined;
      throw new Undone(new StoreError("internal", `COMMIT was answered with ${committed.value.command}`), 0, false);
    }
    if (!isLost(committed.reason)) throw undoneBy(committed.reason, 0);
    if (!wrote) throw new ConnectionLost(committed.reason);
    this.#options.connection.drop(client);
    const xid = known ?? (asked.status === "fulfilled" ? (asked.value?.rows[0]?.xid as string) : undefined);
    const fate = xid === undefined ? "unknown" : await this.#fateOf(xid);
    if (fate === "committed") return undefined;
    if (fate === "aborted") throw new ConnectionLost(committed.reason);
    return new StoreError(
      "busy",
      "the connection was lost while the transaction was being committed, and the server does not say what became of it",
      {
        outcome: "unknown",
        cause: committed.reason,
      },
    );
  }

  /** Asks over a new connection, for a while. */
  async #fateOf(xid: string): Promise<"committed" | "aborted" | "unknown"> {
    const overAt = performance.now() + fateMs;
    while (performance.now() < overAt) {
      try {
        const client = await this.#options.connection.get();
        const { rows } = await client.query<{ status: string | null }>("SELECT pg_xact_status($1::xid8) AS status", [
          xid,
        ]);
        const status = rows[0]?.status;
        if (status === "committed" || status === "aborted") return status;
        if (status !== "in progress") return "unknown";
      } catch (error) {
        if (error instanceof StoreError && error.code !== "busy") return "unknown";
      }
      await sleep(20);
    }
    return "unknown";
  }

  async #runBody(
    transaction: Open,
    body: Generator<Query<unknown>, unknown, unknown>,
    access: Runnable["access"],
    effect: Effect,
  ): Promise<unknown> {
    const ledger = { made: 0, finished: 0 };
    bill(ledger);
    let next = body.next();
    while (!next.done) {
      const answer = await this.#answer(transaction, next.value, access, effect);
      // Others were billed meanwhile.
      bill(ledger);
      next = body.next(answer);
    }
    settleLedger(ledger);
    return next.value;
  }

  async #answer(
    { client, begun }: Open,
    { kind, statements }: Query<unknown>,
    access: Runnable["access"],
    effect: Effect,
  ): Promise<unknown> {
    const texts = statements.map(({ strings }) => this.#textOf(strings));
    if (!texts.every(({ readonly }) => readonly)) {
      if (access === "read") throw new StoreError("internal", "a read operation tried to write");
      // A read may share the round trip of BEGIN; a write must not happen should BEGIN have failed.
      await begun;
    }
    const questions = statements.map(({ values }, index) => {
      const { name, text } = texts[index] as Text;
      return { name, text, values: values.map(encode) };
    });
    const sent = questions.map((question) => client.query(question));
    // All are waited for, so that none fails unheard; the first that failed is the cause of the others' failures.
    const results = await Promise.allSettled(sent);
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) rethrow(failed.reason);
    let changes = 0;
    for (const [index, one] of results.entries()) {
      const { rowCount } = (one as PromiseFulfilledResult<pg.QueryResult>).value;
      if (texts[index]?.readonly === false) changes += rowCount ?? 0;
    }
    if (changes > 0) effect.wrote = true;
    if (kind === "change") return changes;
    const { rows } = (results[0] as PromiseFulfilledResult<pg.QueryResult>).value;
    return kind === "all" ? rows : rows[0];
  }

  #textOf(strings: readonly string[]): Text {
    const known = this.#texts.get(strings);
    if (known !== undefined) return known;
    const text = withPlaceholders(strings)
      // No body changes a key, and rows that refer to a locked one need not wait for it (D-042): https://www.postgresql.org/docs/current/explicit-locking.html
      .replace(/\/\*\+ FOR UPDATE( OF \w+)?( SKIP LOCKED)? \*\//g, "FOR NO KEY UPDATE$1$2")
      .trim();
    const made = { name: `s${this.#texts.size}`, text, readonly: /^SELECT\b/i.test(text) };
    this.#texts.set(strings, made);
    return made;
  }
}

const ownNumber = "pg_current_xact_id_if_assigned()::text AS xid";

/** How long to look for the fate of a transaction whose COMMIT was not answered. */
const fateMs = 3_000;

interface Text {
  readonly name: string;
  readonly text: string;
  readonly readonly: boolean;
}

/** A transaction that was begun, or is just being begun. */
interface Open {
  readonly client: pg.Client;
  readonly begun: Promise<void>;
}

/** What a job has done so far in its transaction. */
interface Effect {
  wrote: boolean;
}

/** The server refused a statement: the transaction is dead, and the body ends without hearing of it. */
class SqlFailure extends Error {
  constructor(cause: unknown) {
    super("a statement failed", { cause });
  }
}

class ConnectionLost extends Error {
  constructor(cause: unknown) {
    super("the connection is lost", { cause });
  }
}

function rethrow(error: unknown): never {
  throw isLost(error) ? new ConnectionLost(error) : new SqlFailure(error);
}

/** Neighbours that cannot meet, because they only read, or touch different things: their statements share round trips (D-043). */
function batchesOf(jobs: readonly Job[]): Job[][] {
  const batches: Job[][] = [];
  const names = new Set<string>();
  let reading = false;
  for (const job of jobs) {
    const batch = batches.at(-1);
    const read = isRead(job);
    const name = job.length === 1 ? job[0]?.touches : undefined;
    const joins = read ? reading : name !== undefined && names.size > 0 && !names.has(name);
    if (batch !== undefined && joins && batch.length < batchJobsMax) batch.push(job);
    else {
      batches.push([job]);
      names.clear();
    }
    reading = read;
    if (!read && name !== undefined) names.add(name);
  }
  return batches;
}

/** So that the time of a group can be kept. */
const batchJobsMax = 64;

function undoneBy(cause: unknown, index: number): Undone {
  return new Undone(translate(cause), index, isTransient(cause));
}

function encode(value: SqlValue): unknown {
  if (value instanceof Date) return value.toISOString();
  if (value === undefined) throw new StoreError("internal", "a statement was given undefined; NULL is null");
  return value;
}

/** What a body throws is a failure that its operation declares, or a fault of ours. */
function asFailure(error: unknown): StoreError {
  return undone(
    error instanceof StoreError
      ? error
      : new StoreError("internal", "an operation failed unexpectedly", { cause: error }),
  );
}

function undone({ code, message, details, cause }: StoreError): StoreError {
  return new StoreError(code, message, { details, cause, outcome: "rolled_back" });
}

function isRead(job: Job): boolean {
  return job.every(({ access }) => access === "read");
}

/** A failure that was found is true whatever became of the others: it changed nothing. */
function unknown(job: Job, settled: Settled, reason: StoreError): Settled {
  if (!settled.ok || isRead(job)) return settled;
  return { ok: false, error: reason, index: 0 };
}
