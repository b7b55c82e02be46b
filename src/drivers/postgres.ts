// PostgreSQL: runs the same bodies with await, in READ COMMITTED, on one connection. Bodies lock what a rule spans; the driver supplies the
// lock clauses. No SQL error is thrown into a body, because a transaction is dead after one.
import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import { StoreError } from "../errors.ts";
import { bill, type Query, type SqlValue, type Statement, settleLedger } from "../sql.ts";
import type { Driver, Group, Job, Runnable, Settled } from "./driver.ts";
import { isLost, isTransient, numbered, type PostgresConnection, translate } from "./postgresConnection.ts";

interface PostgresDriverOptions {
  readonly connection: PostgresConnection;
  readonly epoch: number;
  /** While several calls share a transaction, how long one of them may wait for a row that another process holds, in milliseconds. */
  readonly groupLockMs: number;
  /** The server's time, as read when a transaction began, to the store's time, in milliseconds. */
  toStoreTime(serverMs: number): number;
  dataVersion(): number;
}

export function createPostgresDriver(options: PostgresDriverOptions): Driver {
  const transaction = new Transaction(options);
  return {
    epoch: options.epoch,
    transact: (jobs, budgetMs) => transaction.run(jobs, budgetMs),
    dataVersion: options.dataVersion,
    close: () => options.connection.close(),
  };
}

/** "DSDB" in ASCII, the first half of our advisory locks; the second says what for. */
export const lockClass = 0x44534442;
export const migrationLock = 1;
const commitOrderLock = 2;

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
   * Optimistic at first: jobs share a transaction without savepoints. When one fails after it wrote, breaks a constraint, or waits too long
   * for a row that another process holds, all is undone and each runs alone: bodies are pure, and nothing was answered yet.
   */
  async run(jobs: readonly Job[], budgetMs: number): Promise<Group> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#attempt(jobs, budgetMs);
      } catch (error) {
        if (!(error instanceof Undone)) throw error;
        if (jobs.length > 1) return this.#oneByOne(jobs, budgetMs);
        if (!error.transient || tries === triesMax) return { settled: [{ ok: false, error: undone(error.reason), index: error.index }], wrote: false };
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
    const { connection } = this.#options;
    const client = await connection.get();
    try {
      const now = await this.#begin(client, jobs);
      const overAt = performance.now() + budgetMs;
      const settled: Settled[] = [];
      let wrote = false;
      for (const job of jobs) {
        const effect = { wrote: false };
        settled.push(await this.#runJob(client, job, now, effect));
        wrote ||= effect.wrote;
        if (performance.now() > overAt) break;
      }
      await this.#finish(client, jobs, settled);
      const lost = await this.#commit(client, wrote);
      return lost === undefined ? { settled, wrote } : { settled: settled.map((one, index) => unknown(jobs[index] as Job, one, lost)), wrote };
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

  /** One round trip. A group of reads sees one moment of the database, so that rows and a cursor of the feed belong together. */
  async #begin(client: pg.Client, jobs: readonly Job[]): Promise<Date> {
    const { groupLockMs, toStoreTime } = this.#options;
    const begin = jobs.every(isRead) ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" : "BEGIN";
    const lock = jobs.length > 1 ? `SET LOCAL lock_timeout = ${groupLockMs};` : "";
    const text = `${begin}; ${lock} SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now`;
    const results = (await client.query(text).catch(rethrow)) as unknown as pg.QueryResult<{ now: number }>[];
    const [row] = results.at(-1)?.rows ?? [];
    return new Date(toStoreTime((row as { now: number }).now));
  }

  async #runJob(client: pg.Client, job: Job, now: Date, effect: Effect): Promise<Settled> {
    const results: unknown[] = [];
    for (let index = 0; index < job.length; index++) {
      const { access, start } = job[index] as Runnable;
      try {
        results.push(await this.#runBody(client, start(now), access, effect));
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

  /** In the order of the commits: until this one is over, no other transaction can pass the lock. */
  async #finish(client: pg.Client, jobs: readonly Job[], settled: readonly Settled[]): Promise<void> {
    const last = settled.flatMap(({ ok }, index) => (ok ? (jobs[index] as Job) : [])).flatMap(({ access, finish }) => ({ access, body: finish?.() }));
    if (last.every(({ body }) => body === undefined)) return;
    try {
      await client.query({ name: "commit_order", text: "SELECT pg_advisory_xact_lock($1, $2)", values: [lockClass, commitOrderLock] }).catch(rethrow);
      for (const { access, body } of last) if (body !== undefined) await this.#runBody(client, body, access, { wrote: false });
    } catch (error) {
      if (error instanceof ConnectionLost) throw error;
      throw error instanceof SqlFailure ? undoneBy(error.cause, 0) : new Undone(asFailure(error), 0, false);
    }
  }

  /** Resolves to a failure when nobody can say whether the transaction was committed. */
  async #commit(client: pg.Client, wrote: boolean): Promise<StoreError | undefined> {
    // Its number arrives before COMMIT has run, and tells later what became of it: https://www.postgresql.org/docs/current/functions-info.html
    const asking = wrote ? client.query({ name: "xid", text: "SELECT pg_current_xact_id_if_assigned()::text AS xid" }) : undefined;
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
    const xid = asked.status === "fulfilled" ? (asked.value?.rows[0]?.xid as string) : undefined;
    const fate = xid === undefined ? "unknown" : await this.#fateOf(xid);
    if (fate === "committed") return undefined;
    if (fate === "aborted") throw new ConnectionLost(committed.reason);
    return new StoreError("busy", "the connection was lost while the transaction was being committed, and the server does not say what became of it", {
      outcome: "unknown",
      cause: committed.reason,
    });
  }

  /** Asks over a new connection, for a while. */
  async #fateOf(xid: string): Promise<"committed" | "aborted" | "unknown"> {
    const overAt = performance.now() + fateMs;
    while (performance.now() < overAt) {
      try {
        const client = await this.#options.connection.get();
        const { rows } = await client.query<{ status: string | null }>("SELECT pg_xact_status($1::xid8) AS status", [xid]);
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

  async #runBody(client: pg.Client, body: Generator<Query<unknown>, unknown, unknown>, access: Runnable["access"], effect: Effect): Promise<unknown> {
    const ledger = { made: 0, finished: 0 };
    bill(ledger);
    let next = body.next();
    while (!next.done) {
      const answer = await this.#answer(client, next.value, access, effect);
      // Others were billed meanwhile.
      bill(ledger);
      next = body.next(answer);
    }
    settleLedger(ledger);
    return next.value;
  }

  async #answer(client: pg.Client, { kind, statements }: Query<unknown>, access: Runnable["access"], effect: Effect): Promise<unknown> {
    const sent = statements.map((statement) => this.#send(client, statement, access));
    // All are waited for, so that none fails unheard; the first that failed is the cause of the others' failures.
    const results = await Promise.allSettled(sent.map(({ result }) => result));
    const failed = results.find((result) => result.status === "rejected");
    if (failed !== undefined) rethrow(failed.reason);
    let changes = 0;
    for (const [index, one] of results.entries()) {
      const { rowCount } = (one as PromiseFulfilledResult<pg.QueryResult>).value;
      if (sent[index]?.readonly === false) changes += rowCount ?? 0;
    }
    if (changes > 0) effect.wrote = true;
    if (kind === "change") return changes;
    const { rows } = (results[0] as PromiseFulfilledResult<pg.QueryResult>).value;
    return kind === "all" ? rows : rows[0];
  }

  #send(client: pg.Client, { strings, values }: Statement, access: Runnable["access"]): { result: Promise<pg.QueryResult>; readonly: boolean } {
    const { name, text, readonly } = this.#textOf(strings);
    if (!readonly && access === "read") throw new StoreError("internal", "a read operation tried to write");
    return { result: client.query({ name, text, values: values.map(encode) }), readonly };
  }

  #textOf(strings: readonly string[]): Text {
    const known = this.#texts.get(strings);
    if (known !== undefined) return known;
    const text = numbered(strings)
      .replace(/\/\*\+ (FOR UPDATE(?: SKIP LOCKED)?) \*\//g, "$1")
      .trim();
    const made = { name: `s${this.#texts.size}`, text, readonly: /^SELECT\b/i.test(text) };
    this.#texts.set(strings, made);
    return made;
  }
}

/** How long to look for the fate of a transaction whose COMMIT was not answered. */
const fateMs = 3_000;

interface Text {
  readonly name: string;
  readonly text: string;
  readonly readonly: boolean;
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
  return undone(error instanceof StoreError ? error : new StoreError("internal", "an operation failed unexpectedly", { cause: error }));
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
