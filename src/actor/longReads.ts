// Shares out long reads among readers, which run them beside the writes (D-115). Starts a reader when reads need one, and
// ends it when it has had nothing to do for a while. Knows no thread and no database.
import type { JobOutcome } from "../dispatch.ts";
import type { Engine } from "../driver.ts";
import type { ErrorCode } from "../errors.ts";
import type { StoreEvent } from "../events.ts";
import type { Limits } from "../limits.ts";
import type { Call, Extent } from "../operation.ts";
import { realTime } from "../realTime.ts";
import { GroupTracing, isServeTraced } from "../tracing.ts";
import type { Answer } from "../wire.ts";
import { failure } from "./admission.ts";
import type { Client, Entry } from "./entry.ts";

/** One connection that only reads. */
export interface Reader {
  /**
   * Runs calls in one transaction. The outcomes are those of the first calls; the others were not begun. Rejects when the
   * reader has ended, or when the transaction failed as a whole.
   */
  run(calls: readonly Call[]): Promise<readonly JobOutcome[]>;
  /** Ends the reader. One that runs calls is not waited for. */
  close(isRunning: boolean): Promise<void>;
}

/** Starts a reader. `onDeath` is called once, with the reason, when it ends by itself. */
export type StartReader = (onDeath: (reason: string) => void) => Promise<Reader>;

/** The mailbox that has passed on a read. */
export interface ReadOwner {
  /** Receives the outcome of a read. */
  onRead(entry: Entry, outcome: JobOutcome): void;
  /** Receives a read that no reader has run, or that has to wait for something. It runs in a group. */
  onReturned(entry: Entry): void;
  /** Receives the failure of a read that cannot run. */
  onFailed(entry: Entry, answer: Answer): void;
  /** Called when the outcomes of a transaction have been received. */
  onReadsDone(): void;
}

interface LongReadsOptions {
  /** The largest number of readers. */
  readonly readers: number;
  readonly engine: Engine;
  readonly limits: Limits;
  readonly start: StartReader;
  onEvent(event: StoreEvent): void;
}

interface Read {
  readonly entry: Entry;
  readonly owner: ReadOwner;
  readonly extent: Extent;
  /** The number of readers that have died while they ran it. */
  deaths: number;
}

/** The place of a reader. It is empty while the reader is being started. */
interface Place {
  reader: Reader | undefined;
  /** Resolves when the reader has been started, or could not be; and has ended, if its place was given up meanwhile. */
  started: Promise<void>;
  /** The reads that run now. */
  running: readonly Read[];
  startedAtMs: number;
  /** True when the last reads were pages: then a read of the whole store is next. */
  readPages: boolean;
  /** Publishes the transaction of the reads that run, if anybody listened when it began. */
  tracing: GroupTracing | undefined;
  idleTimer: NodeJS.Timeout | undefined;
}

// A page never waits for a read of the whole store, which may take seconds: when no reader is free of those, pages run in
// a group, as they do without readers. So one reader is enough to keep long reads from holding up writes.
export class LongReads {
  readonly #options: LongReadsOptions;
  readonly #places = new Set<Place>();
  readonly #pages = new Turns();
  readonly #whole = new Turns();
  /** The time that pages have taken in groups of late. */
  #spentMs = 0;
  #spentSinceMs = 0;
  /** The time before which no reader is started, after one that could not be. */
  #retryAtMs = 0;
  #retryMs = retryMsMin;
  #closed = false;
  readonly #totals = { reads: 0, readMsTotal: 0, readMsMax: 0 };

  constructor(options: LongReadsOptions) {
    this.#options = options;
  }

  /** Returns the number of readers, the reads that wait for them, and what they have read. */
  figures(): Record<string, number> {
    const runningMs = [...this.#places].map(({ running, startedAtMs }) =>
      running.length === 0 ? 0 : realTime.elapsed() - startedAtMs,
    );
    return {
      readers: [...this.#places].filter(({ reader }) => reader !== undefined).length,
      readsQueued: this.#pages.size + this.#whole.size,
      ...this.#totals,
      readingMsMax: Math.round(Math.max(0, ...runningMs)),
    };
  }

  /** Checks whether a reader takes a read now. If not, it runs in a group. */
  accepts(extent: Extent): boolean {
    if (this.#closed || extent === "rows") return false;
    if (extent === "whole") return this.#places.size > 0 || this.#mayStart();
    const ready = [...this.#places].filter(({ reader }) => reader !== undefined);
    if (ready.some((place) => !readsWhole(place))) return true;
    if (ready.length > 0 && ready.length === this.#places.size) this.#start();
    return false;
  }

  /** Adds a read. Its mailbox has committed all that its client wrote before, so that the reader sees it. */
  add(entry: Entry, extent: Extent, owner: ReadOwner): void {
    (extent === "whole" ? this.#whole : this.#pages).push({ entry, owner, extent, deaths: 0 });
    this.#share();
  }

  /** Removes a read that is done. One that runs already runs to its end. */
  remove(entry: Entry): void {
    this.#pages.remove(entry);
    this.#whole.remove(entry);
  }

  /** Counts the time that a page has taken in a group, and starts a reader when they have taken much. */
  noteInGroup(usedMs: number): void {
    const nowMs = realTime.elapsed();
    if (nowMs - this.#spentSinceMs > this.#options.limits.readerIdleMs) {
      this.#spentSinceMs = nowMs;
      this.#spentMs = 0;
    }
    this.#spentMs += usedMs;
    if (this.#spentMs >= this.#options.limits.readerAfterMs && this.#places.size === 0) this.#start();
  }

  /** Ends the readers. The mailboxes have answered all reads. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#places].map((place) => this.#end(place)));
  }

  #mayStart(): boolean {
    return !this.#closed && this.#places.size < this.#options.readers && realTime.elapsed() >= this.#retryAtMs;
  }

  #start(): void {
    if (!this.#mayStart()) return;
    const place: Place = {
      reader: undefined,
      started: Promise.resolve(),
      running: [],
      startedAtMs: 0,
      readPages: false,
      tracing: undefined,
      idleTimer: undefined,
    };
    this.#places.add(place);
    place.started = this.#options
      .start((reason) => this.#onDeath(place, reason))
      .then(
        async (reader) => {
          this.#spentMs = 0;
          this.#retryMs = retryMsMin;
          place.reader = reader;
          if (this.#places.has(place)) this.#share();
          else await reader.close(false);
        },
        (error: unknown) => this.#onFailedStart(place, error),
      );
  }

  #onFailedStart(place: Place, error: unknown): void {
    this.#places.delete(place);
    this.#retryAtMs = realTime.elapsed() + this.#retryMs;
    this.#retryMs = Math.min(this.#retryMs * 2, retryMsMax);
    if (this.#closed) return;
    const { code = "internal", message } = error as { readonly code?: ErrorCode; readonly message: string };
    const report = `a reader could not be started, and long reads run beside the writes: ${message}`;
    this.#options.onEvent({ type: "fault", code, message: report, cause: undefined });
    if (this.#places.size === 0) for (const turns of [this.#pages, this.#whole]) returnAll(turns);
  }

  /** Runs the reads of a dead reader again, on another one. A read that has ended two readers does not get a third. */
  #onDeath(place: Place, reason: string): void {
    realTime.clearTimeout(place.idleTimer);
    if (!this.#places.delete(place) || this.#closed) return;
    this.#options.onEvent({ type: "reader_died", message: reason });
    endTracing(place, place.running, "internal");
    for (const read of place.running) {
      if (read.entry.done) continue;
      read.deaths++;
      if (read.deaths < deathsMax) (read.extent === "whole" ? this.#whole : this.#pages).push(read);
      else read.owner.onFailed(read.entry, failure("internal", `${deathsMax} readers died while they ran this call`));
    }
    for (const owner of ownersOf(place.running)) owner.onReadsDone();
    if (this.#pages.size > 0 && this.#places.size === 0) this.#start();
    this.#share();
  }

  /** Gives reads to the readers that are free, and starts another one when reads of the whole store need it. */
  #share(): void {
    for (const place of this.#places) if (place.reader !== undefined && place.running.length === 0) this.#give(place);
    if (this.#whole.size > 0) this.#start();
    const waits = this.#pages.size + this.#whole.size > 0;
    if (waits && this.#places.size === 0) for (const turns of [this.#pages, this.#whole]) returnAll(turns);
    else if (this.#pages.size > 0 && [...this.#places].every(readsWhole)) returnAll(this.#pages);
  }

  #give(place: Place): void {
    const isWhole = this.#whole.size > 0 && (place.readPages || this.#pages.size === 0);
    const reads = isWhole ? this.#whole.take(1, Number.POSITIVE_INFINITY) : this.#takePages();
    if (reads.length === 0) {
      place.idleTimer ??= realTime.setTimeout(() => void this.#end(place), this.#options.limits.readerIdleMs).unref();
      return;
    }
    realTime.clearTimeout(place.idleTimer);
    place.idleTimer = undefined;
    place.running = reads;
    place.readPages = !isWhole;
    place.startedAtMs = realTime.elapsed();
    place.tracing = isServeTraced() ? new GroupTracing(this.#options.engine, true) : undefined;
    (place.reader as Reader).run(reads.map(({ entry }) => entry.calls[0] as Call)).then(
      (outcomes) => this.#settle(place, outcomes),
      // A reader that has died has returned its reads already. Otherwise the writing connection has the same trouble,
      // and reports it.
      () => this.#settle(place, []),
    );
  }

  #takePages(): readonly Read[] {
    return this.#pages.take(pagesMax, this.#options.limits.resultBytes);
  }

  #settle(place: Place, outcomes: readonly JobOutcome[]): void {
    if (!this.#places.has(place)) return;
    const { running, startedAtMs } = place;
    const usedMs = realTime.elapsed() - startedAtMs;
    place.running = [];
    endTracing(place, running.slice(0, outcomes.length));
    this.#totals.reads += outcomes.length;
    this.#totals.readMsTotal += usedMs;
    this.#totals.readMsMax = Math.max(this.#totals.readMsMax, usedMs);
    for (const [index, read] of running.entries()) {
      const { entry, owner } = read;
      const outcome = outcomes[index];
      if (entry.done) continue;
      // One that waits, or needs blocks of archived logs, goes on in the mailbox, which knows how.
      const isDone = outcome?.parkOn === undefined && outcome?.blocksNeeded === undefined;
      if (outcome !== undefined && isDone) owner.onRead(entry, outcome);
      // The time of the transaction was over before its turn came.
      else if (outcome === undefined && outcomes.length > 0) this.#pages.push(read);
      else owner.onReturned(entry);
    }
    for (const owner of ownersOf(running)) owner.onReadsDone();
    this.#share();
  }

  async #end(place: Place): Promise<void> {
    realTime.clearTimeout(place.idleTimer);
    this.#places.delete(place);
    // A thread that ends while another one below it loads SQLite would abort the process.
    if (place.reader === undefined) await place.started;
    else await place.reader.close(place.running.length > 0);
  }
}

/** Reads that wait. Their clients take turns. */
class Turns {
  readonly #clients = new Map<Client, Map<Entry, Read>>();
  size = 0;

  push(read: Read): void {
    const { client } = read.entry;
    const own = this.#clients.get(client);
    if (own === undefined) this.#clients.set(client, new Map([[read.entry, read]]));
    else own.set(read.entry, read);
    this.size++;
  }

  remove(entry: Entry): void {
    const own = this.#clients.get(entry.client);
    if (own?.delete(entry) !== true) return;
    if (own.size === 0) this.#clients.delete(entry.client);
    this.size--;
  }

  /** Takes at most `count` reads, whose results have at most `bytesMax` unless it is one read. */
  take(count: number, bytesMax: number): readonly Read[] {
    const taken: Read[] = [];
    let bytes = 0;
    while (taken.length < count) {
      const [first] = this.#clients;
      if (first === undefined) break;
      const [client, own] = first;
      const read = own.values().next().value as Read;
      const { entry } = read;
      bytes += entry.resultBytes;
      if (taken.length > 0 && bytes > bytesMax) break;
      taken.push(read);
      this.remove(entry);
      // Its client goes behind the others.
      if (this.#clients.delete(client)) this.#clients.set(client, own);
    }
    return taken;
  }

  takeAll(): readonly Read[] {
    return this.take(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
  }
}

/** Returns the most that an entry reads, or "rows" when it has to run in a group whatever it reads. */
export function extentOf({ calls, envelope, stays }: Entry): Extent {
  const [call] = calls as readonly [Call];
  if (call.operation.access === "write" || stays || envelope.isAtomic) return "rows";
  return call.operation.extent(call.input);
}

function endTracing(place: Place, ran: readonly Read[], code?: ErrorCode): void {
  place.tracing?.end(
    ran.map(({ entry }) => entry),
    false,
    code,
  );
  place.tracing = undefined;
}

function returnAll(turns: Turns): void {
  for (const { entry, owner } of turns.takeAll()) owner.onReturned(entry);
}

function readsWhole({ running }: Place): boolean {
  return running.some(({ extent }) => extent === "whole");
}

function ownersOf(reads: readonly Read[]): ReadonlySet<ReadOwner> {
  return new Set(reads.map(({ owner }) => owner));
}

/**
 * The number of pages that share a transaction and a message. A page takes about a millisecond, so that none waits long
 * for the others.
 */
const pagesMax = 16;
/** The number of readers that may die while they run one read. */
const deathsMax = 2;
/** The pause after a reader that could not be started. It doubles with each one. */
const [retryMsMin, retryMsMax] = [1_000, 60_000];
