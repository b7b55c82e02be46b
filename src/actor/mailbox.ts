// Runs the calls of all clients of one database, in groups that share a transaction, and answers them. Knows no thread
// and no database; all that it needs from outside is time and the event loop.

import type { Clock } from "../clock.ts";
import type { Dispatcher, JobOutcome, TransactionOutcome } from "../dispatch.ts";
import type { Engine } from "../driver.ts";
import { type Details, type ErrorCode, faults, StoreError, toWireFailure, type WireFailure } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { BlocksNeeded, Call, Lane } from "../operation.ts";
import { kindOf, serves, servesOthers } from "../operations/topics.ts";
import { realTime } from "../realTime.ts";
import { GroupTracing, isServeTraced, traceAnswer } from "../tracing.ts";
import { type Answer, callWidth, type Envelope, type Reply } from "../wire.ts";
import { Admission, failure, refuse } from "./admission.ts";
import type { ClockWatch } from "./clockWatch.ts";
import { type Client, drop, type Entry, noteWaits, type OpenEnvelope, settle, writes } from "./entry.ts";
import { type Blocks, Fetching } from "./fetching.ts";
import { Figures } from "./figures.ts";
import { extentOf, type LongReads, type ReadOwner } from "./longReads.ts";
import { Outbox } from "./outbox.ts";
import { Parking } from "./parking.ts";
import { Queues } from "./queues.ts";
import { writeFailureOf } from "./writeFailure.ts";

interface MailboxOptions {
  readonly dispatcher: Dispatcher;
  readonly engine: Engine;
  readonly limits: Limits;
  /** Says how long calls wait. */
  readonly clock: Clock;
  /** Shared by the mailboxes of a server. Without it, the time of transactions is not watched. */
  readonly clockWatch?: ClockWatch;
  readonly epoch: number;
  /** Returns a number that changes when another process has committed; undefined when no other process can. */
  readonly dataVersion: (() => number | Promise<number>) | undefined;
  /** Runs long reads beside the groups. Without it, they run in groups. */
  readonly longReads?: LongReads | undefined;
  /** Reads the blocks of archived logs. Without it, calls that need them fail. */
  readonly blocks?: Blocks | undefined;
  /** Receives the topics that each commit has touched, to wake calls that wait elsewhere. */
  onCommit?(topics: ReadonlySet<string>): void;
  /** Wakes a call that waits for a kind of topic in another mailbox, when none waits in this one. */
  wakeElsewhere?(kind: string): void;
  /** Receives the failure of a whole group that means a bug in this package or a damaged database. */
  onFault(error: StoreError): void;
  /** Called after each attempt to commit rows: with undefined when they were committed, else with the reason. */
  onWrite?(failed: ErrorCode | undefined): void;
}

/** The access of one client to the mailbox. */
export interface Inbox {
  /**
   * Resolves to the last answers. `onPart` receives the earlier ones, after each group that answered some of the calls
   * but not all. Never rejects: the failure of a call is its answer.
   */
  post(envelope: Envelope, onPart?: (part: Reply) => void): Promise<Reply>;
  /**
   * Answers a call of this envelope with `aborted`, unless it has run or is running. Slot 0 stands for all calls of an
   * atomic envelope.
   */
  cancel(envelopeId: number, slot: number): void;
  /** Removes the client and drops its calls, because their answers would have no reader. */
  disconnect(): void;
}

// entry.ts describes the life of an entry. The mailbox itself is a loop: as long as the queues hold entries, it takes a
// group, runs it, and schedules the next one. One group runs at a time (`#running`), and the next one is scheduled at
// most once (`#scheduled`): `soon` when the event loop has turned, so that calls that arrive meanwhile share the
// transaction (D-003), or `later`, after a pause, when another process holds the write lock. A call that arrives during
// the pause turns `later` into `soon`; the timer then finds nothing to do, or begins a group early. While closing, the
// mailbox admits and parks nothing more, and the loop runs until the queues are empty.
export class Mailbox {
  readonly #options: MailboxOptions;
  readonly #queues = new Queues();
  readonly #parking: Parking;
  readonly #fetching: Fetching | undefined;
  readonly #admission: Admission;
  readonly #figures = new Figures();
  readonly #outbox: Outbox;
  #scheduled: "no" | "soon" | "later" = "no";
  #running = false;
  /** The topics that were touched elsewhere since the running group began; its calls may not have seen the commits. */
  readonly #touchedTopics = new Set<string>();
  /** True when any topic may have been touched since then. */
  #allTouched = false;
  readonly #stopWatching: (() => void) | undefined;
  /** The entries that readers have. */
  readonly #reads = new Set<Entry>();
  readonly #readOwner: ReadOwner = {
    onRead: (entry, outcome) => {
      this.#figures.countAnswer(entry.lane, realTime.elapsed() - outcome.usedMs - entry.queuedAtMs);
      this.#answer(entry, ...outcome.answers);
    },
    onReturned: (entry) => {
      this.#reads.delete(entry);
      entry.stays = true;
      this.#queues.push(entry);
      this.#schedule();
    },
    onFailed: (entry, answer) => this.#answer(entry, answer),
    onReadsDone: () => {
      this.#outbox.sendAnswered();
      this.#noteIdle();
    },
  };
  #closing = false;
  #onIdle: (() => void) | undefined;

  constructor(options: MailboxOptions) {
    this.#options = options;
    this.#outbox = new Outbox(options.epoch, options.limits.resultBytes);
    this.#admission = new Admission(options.dispatcher, options.limits, this.#queues);
    this.#parking = new Parking({
      pollMs: options.limits.dataVersionPollMs,
      dataVersion: options.dataVersion,
      wake: (entry) => {
        this.#queues.push(entry);
        this.#schedule();
      },
      giveUp: (entry, answer) => {
        this.#answer(entry, answer);
        this.#outbox.sendAnswered();
      },
    });
    this.#fetching =
      options.blocks &&
      new Fetching({
        blocks: options.blocks,
        onFetched: (entry) => {
          this.#queues.push(entry);
          this.#schedule();
        },
        onFailed: (entry, error, [, without]) => {
          if (faults.has(error.code)) options.onFault(error);
          // The details of an atomic envelope say which of its calls has failed.
          const { index, operation } = (without as WireFailure)[3] as Details;
          const details = entry.width > 1 ? { ...error.details, index, operation } : error.details;
          this.#answer(entry, [false, toWireFailure(error, "not_run", details)]);
          this.#outbox.sendAnswered();
        },
      });
    // A test may move the clock, beside which timers go on as before. All parked calls run again then, because what they
    // wait for may depend on time too, such as the end of a lease. Those whose own time is over are not parked again.
    this.#stopWatching = options.clock.onMoved?.(() => {
      this.touch("all");
      this.#parking.wakeAll();
    });
  }

  connect(mayCall: (name: string) => boolean): Inbox {
    const client = this.#queues.connect(mayCall);
    return {
      post: (envelope, onPart) => this.#post(client, envelope, onPart),
      cancel: (envelopeId, slot) => this.#cancel(client, envelopeId, slot),
      disconnect: () => this.#disconnect(client),
    };
  }

  /**
   * Returns the figures of each lane: the entries that wait in it, those that were answered, and how long they waited.
   */
  lanes(): Record<Lane, Record<string, number>> {
    return this.#figures.lanes(this.#queues.lengths);
  }

  /** The number of entries that wait for their turn. */
  get queued(): number {
    return Object.values(this.#queues.lengths).reduce((sum, length) => sum + length, 0);
  }

  /** The fill level of the fullest client's queue, from 0 to 1. */
  get fullness(): number {
    return this.#queues.fullness(this.#options.limits);
  }

  distributions(): ReturnType<Figures["distributions"]> {
    return this.#figures.distributions();
  }

  figures(): Record<string, number> {
    const { clients, calls } = this.#queues;
    return {
      ...this.#figures.totals(),
      commits: this.#outbox.commitSeq,
      clients,
      queued: calls,
      parked: this.#parking.size,
    };
  }

  /**
   * Runs the calls again that wait for one of these topics, after a commit elsewhere touched it. Of those that wait for
   * the kind of a topic, `wakeOne` runs one.
   */
  touch(topics: Iterable<string> | "all"): void {
    if (topics === "all") this.#allTouched = this.#running;
    else if (this.#running) for (const topic of topics) this.#touchedTopics.add(topic).add(kindOf(topic));
    this.#parking.touch(topics);
  }

  /** Runs one of the calls that wait for a kind of topic. Returns false when there is none. */
  wakeOne(kind: string): boolean {
    return this.#parking.wakeOne(kind);
  }

  /** Admits no further calls, answers the parked ones, and resolves when the queued ones and the reads have run. */
  close(): Promise<void> {
    this.#closing = true;
    this.#stopWatching?.();
    for (const entry of [...this.#parking.clear(), ...(this.#fetching?.clear() ?? [])])
      this.#answer(entry, closingAnswer);
    this.#outbox.sendAnswered();
    return new Promise((resolve) => {
      this.#onIdle = resolve;
      this.#schedule();
    });
  }

  /** Answers the reads that readers still have. */
  endReads(): void {
    for (const entry of this.#reads) this.#answer(entry, closingAnswer);
    this.#outbox.sendAnswered();
  }

  #post(client: Client, [id, isAtomic, calls]: Envelope, onPart: OpenEnvelope["onPart"]): Promise<Reply> {
    return new Promise((resolve) => {
      const envelope: OpenEnvelope = {
        client,
        id,
        isAtomic,
        entries: [],
        answers: [],
        slots: [],
        resultBytes: 0,
        unanswered: 0,
        inParts: false,
        onPart,
        resolve,
      };
      if (this.#closing) refuse(envelope, calls.length / callWidth, closingAnswer);
      else this.#admission.admit(client, envelope, isAtomic, calls, this.#options.clock.elapsed());
      if (envelope.unanswered === 0) return this.#outbox.send(envelope);
      client.envelopes.set(id, envelope);
      this.#schedule();
    });
  }

  #cancel(client: Client, envelopeId: number, slot: number): void {
    const entry = client.envelopes.get(envelopeId)?.entries.find((one) => one.slot === slot);
    if (entry === undefined) return;
    if (entry.done) {
      // Its answer may still wait for others. The client needs it now, to know whether the call has run.
      this.#outbox.sendWaiting(entry.envelope);
      return;
    }
    if (entry.place === "group") {
      entry.cancelled = true;
      return;
    }
    this.#parking.remove(entry);
    this.#answer(entry, cancelledAnswer);
    this.#outbox.sendAnswered();
    this.#noteIdle();
  }

  #disconnect(client: Client): void {
    this.#queues.disconnect(client);
    for (const { entries } of client.envelopes.values()) {
      for (const entry of entries) {
        this.#parking.remove(entry);
        this.#forgetRead(entry);
        traceDropped(entry);
        drop(entry);
        this.#fetching?.release(entry);
      }
    }
    // Only now, so that it wakes no entry of this client.
    for (const { entries } of client.envelopes.values()) for (const entry of entries) this.#passWake(entry);
    client.envelopes.clear();
    this.#noteIdle();
  }

  #schedule(delayMs = 0): void {
    if (this.#running || this.#scheduled === "soon" || (this.#scheduled === "later" && delayMs > 0)) return;
    this.#scheduled = delayMs > 0 ? "later" : "soon";
    const run = () => void this.#runGroup();
    if (delayMs > 0) realTime.setTimeout(run, delayMs);
    else realTime.setImmediate(run);
  }

  async #runGroup(): Promise<void> {
    if (this.#running) return;
    this.#scheduled = "no";
    this.#running = true;
    const taken = this.#queues.take(this.#options.limits, (entry) => this.#prepare(entry));
    const [group, following] = this.#passOn(taken);
    let unrun: readonly Entry[] = [];
    let delayMs = 0;
    try {
      if (group.length > 0) unrun = await this.#run(group);
    } catch (error) {
      if (passes(error)) {
        unrun = await this.#runReadsOf(group, error);
        delayMs = pauseAfter(error);
      } else this.#failAll(group, error);
    } finally {
      this.#touchedTopics.clear();
      this.#allTouched = false;
      this.#running = false;
    }
    this.#putBack(following.length === 0 ? unrun : this.#passOnCommitted(taken, unrun, following));
    this.#outbox.sendAnswered();
    if (this.#queues.hasWork()) this.#schedule(delayMs);
    else this.#noteIdle();
  }

  #noteIdle(): void {
    if (!this.#running && this.#reads.size === 0 && !this.#queues.hasWork()) this.#onIdle?.();
  }

  /**
   * Passes long reads on to the readers. Returns the other entries, and the reads that follow a write of their client,
   * which must be committed first (D-115).
   */
  #passOn(taken: readonly Entry[]): readonly [group: readonly Entry[], following: readonly Entry[]] {
    const { longReads } = this.#options;
    if (longReads === undefined || !taken.some((entry) => extentOf(entry) !== "rows")) return [taken, []];
    const writers = new Set<Client>();
    const [group, following]: [Entry[], Entry[]] = [[], []];
    for (const entry of taken) {
      if (!longReads.accepts(extentOf(entry))) {
        if (writes(entry)) writers.add(entry.client);
        group.push(entry);
      } else if (writers.has(entry.client)) following.push(entry);
      else this.#read(longReads, entry);
    }
    return [group, following];
  }

  /** Passes on the reads whose client's writes are committed. Returns the others with those that did not run, in order. */
  #passOnCommitted(taken: readonly Entry[], unrun: readonly Entry[], following: readonly Entry[]): readonly Entry[] {
    const blocked = new Set(unrun.filter(writes).map(({ client }) => client));
    const kept = new Set(unrun);
    for (const entry of following) {
      if (blocked.has(entry.client)) kept.add(entry);
      else this.#read(this.#options.longReads as LongReads, entry);
    }
    return taken.filter((entry) => kept.has(entry));
  }

  #read(longReads: LongReads, entry: Entry): void {
    this.#queues.settleCost(entry, 0);
    if (entry.cancelled) this.#answer(entry, cancelledAnswer);
    if (entry.done) return;
    noteWaits(entry, -1);
    entry.place = "reader";
    this.#reads.add(entry);
    longReads.add(entry, extentOf(entry), this.#readOwner);
  }

  #forgetRead(entry: Entry): void {
    if (this.#reads.delete(entry)) this.#options.longReads?.remove(entry);
  }

  /** Decodes the calls of an entry. Returns false after answering it with the reason why it is refused. */
  #prepare(entry: Entry): boolean {
    const failed = this.#admission.prepare(entry);
    if (failed !== undefined) this.#answer(entry, failed);
    return failed === undefined;
  }

  /** Runs entries in one transaction, and returns those that it did not begin. Throws when it cannot begin. */
  async #run(group: readonly Entry[]): Promise<readonly Entry[]> {
    const watch = group.some(writes) ? this.#options.clockWatch : undefined;
    const isFollowed = watch !== undefined && (await this.#followClock(watch));
    const startedAtMs = realTime.elapsed();
    const { dispatcher, engine, limits, clockWatch, onWrite, onCommit } = this.#options;
    const tracing = isServeTraced() ? new GroupTracing(engine, false) : undefined;
    let rest = group;
    const settleFirst = ({ outcomes, topics, wrote }: TransactionOutcome): void => {
      clockWatch?.settled();
      // The transaction may have found that the clock has moved. Then the next group begins by following it.
      const begun = outcomes.filter(({ refused }) => refused !== true);
      if (wrote) this.#outbox.commitSeq++;
      tracing?.end(
        rest.filter((_, index) => (begun[index]?.answers.length ?? 0) > 0),
        wrote,
      );
      const failed = writeFailureOf(rest, begun);
      if (wrote || failed !== undefined) onWrite?.(failed);
      this.#answerGroup(rest, begun, startedAtMs);
      this.#parking.touch(topics);
      if (topics.size > 0) onCommit?.(topics);
      for (const topic of topics) this.#wakeNext(kindOf(topic));
      rest = rest.slice(begun.length);
    };
    const running = dispatcher.runTransaction(
      group.map(({ calls }) => calls),
      limits.groupMs,
      {
        isDropped: (index) => (group[index] as Entry).cancelled,
        ...(isFollowed ? { mayBegin: (now) => watch.isSteady(now) } : {}),
        onCommitted: (ms) => {
          this.#figures.countCommit(ms);
          tracing?.committed(ms);
        },
        onPart: (part) => {
          settleFirst(part);
          this.#outbox.sendAnswered();
        },
      },
    );
    if (tracing !== undefined) running.catch((error: unknown) => tracing.end(rest, false, codeOf(error)));
    settleFirst(await running);
    return rest;
  }

  /**
   * Follows the clock before a write, in a transaction of its own, when it has moved or when the server is new. Returns
   * false when that failed for a reason that the group must not wait for, such as a full disk. Fails with `busy` when it
   * took too long: without it, the group could take the leases of living holders.
   */
  async #followClock(watch: ClockWatch): Promise<boolean> {
    const call = watch.due();
    if (call === undefined) return true;
    const { outcomes } = await this.#options.dispatcher.runTransaction([[call]], 0);
    const [ok, result] = (outcomes[0] as TransactionOutcome["outcomes"][number]).answers[0] as Answer;
    if (!ok) {
      const [code, message] = result;
      if (code === "busy" || code === "deadline_exceeded") throw new StoreError("busy", message);
      return false;
    }
    if (watch.followed(result)) this.#figures.countClockJump();
    return true;
  }

  /** Answers or parks the entries that ran. */
  #answerGroup(group: readonly Entry[], outcomes: TransactionOutcome["outcomes"], startedAtMs: number): void {
    const { longReads } = this.#options;
    this.#figures.countGroup(outcomes.length);
    for (let index = 0; index < outcomes.length; index++) {
      const entry = group[index] as Entry;
      const outcome = outcomes[index] as JobOutcome;
      const { answers, parkOn, blocksNeeded, usedMs } = outcome;
      this.#queues.settleCost(entry, usedMs);
      const waitMs = startedAtMs - entry.queuedAtMs;
      if (longReads !== undefined && extentOf(entry) === "page") longReads.noteInGroup(usedMs);
      if (blocksNeeded !== undefined && this.#fetch(entry, blocksNeeded, answers[0] as Answer)) continue;
      if (parkOn !== undefined && this.#park(entry, parkOn, answers[0] as Answer, outcome)) continue;
      this.#figures.countAnswer(entry.lane, waitMs);
      // A call that was cancelled before it began has no answer.
      if (answers.length === 0) this.#answer(entry, cancelledAnswer);
      else this.#answer(entry, ...answers);
    }
  }

  /** Gets blocks for an entry that needs them. Returns false when that is not possible: then it has its answer. */
  #fetch(entry: Entry, needed: BlocksNeeded, without: Answer): boolean {
    if (entry.done || (this.#fetching === undefined && needed.depth === undefined)) return false;
    if (entry.cancelled || this.#closing) this.#answer(entry, entry.cancelled ? cancelledAnswer : closingAnswer);
    else {
      noteWaits(entry, -1);
      if (this.#fetching === undefined) {
        entry.calls = entry.calls.map((call) => ({ ...call, examined: "no archive" }));
        this.#queues.push(entry);
      } else {
        entry.place = "fetching";
        this.#fetching.add(entry, { ...needed, without });
      }
    }
    return true;
  }

  /** Puts entries that did not run back into their queues, except those that were cancelled meanwhile. */
  #putBack(entries: readonly Entry[]): void {
    for (const entry of entries) if (entry.cancelled) this.#answer(entry, cancelledAnswer);
    this.#queues.endGroup(entries);
  }

  /**
   * Parks an entry, or queues it again when a topic was touched meanwhile. Returns false when it may not wait any
   * longer, so that `atTimeout` is its answer.
   */
  #park(entry: Entry, topics: readonly string[], atTimeout: Answer, outcome: JobOutcome): boolean {
    const { againMs, kinds = [], isHeld } = outcome;
    const { client, calls, arrivedAtMs } = entry;
    // It has looked, and there is nothing. One that found only locked rows looks again soon.
    if (isHeld !== true) entry.wokenFor = undefined;
    this.#fetching?.release(entry);
    if (entry.cancelled) {
      this.#answer(entry, cancelledAnswer);
      return true;
    }
    const { clock, limits } = this.#options;
    const { waitMs } = calls[0] as Call;
    entry.parkUntilMs = arrivedAtMs + (isHeld === true ? Math.max(waitMs, limits.lockMs) : waitMs);
    const leftMs = entry.parkUntilMs - clock.elapsed();
    if (leftMs <= 0 || this.#closing || !this.#queues.has(client)) return false;
    if (client.parked >= limits.parkedCalls)
      this.#answer(
        entry,
        failure(
          "overloaded",
          `${client.parked} calls of this client are parked, and limits.parkedCalls allows no more`,
        ),
      );
    else {
      // From now on it is an ordinary call of its client.
      noteWaits(entry, -1);
      entry.lane = "normal";
      const isTouched = (topic: string) => this.#touchedTopics.has(topic);
      const isServed = (kind: string) =>
        isTouched(kind) || (servesOthers(kind) && [...this.#touchedTopics].some((touched) => serves(kind, touched)));
      if (this.#allTouched || topics.some(isTouched) || kinds.some(isServed)) this.#queues.push(entry);
      else {
        const againIn = isHeld === true ? heldAgainMs(entry, clock) : againMs;
        this.#parking.add(entry, { topics, kinds, againMs: againIn }, atTimeout, leftMs);
      }
    }
    return true;
  }

  /**
   * Runs the reads of a group that found the write lock taken by another process, or a server that does not write, except
   * those that follow a write of the same client (D-015). Returns the other entries in the order of the group, without those that have waited for too
   * long, which fail.
   */
  async #runReadsOf(group: readonly Entry[], busy: StoreError): Promise<readonly Entry[]> {
    const blocked = new Set<Client>();
    const reads: Entry[] = [];
    const unrun = new Set<Entry>();
    this.#figures.countBusyRetry();
    if (busy.code === "read_only" && group.some(writes)) this.#options.onWrite?.(busy.code);
    for (const entry of group) {
      if (writes(entry)) blocked.add(entry.client);
      if (blocked.has(entry.client)) unrun.add(entry);
      else reads.push(entry);
    }
    try {
      if (reads.length > 0) for (const entry of await this.#run(reads)) unrun.add(entry);
    } catch (error) {
      if (passes(error)) for (const entry of reads) unrun.add(entry);
      else this.#failAll(reads, error);
    }
    for (const entry of unrun) {
      if (realTime.elapsed() - entry.queuedAtMs <= this.#options.limits.busyGiveUpMs) continue;
      this.#answer(entry, [false, toWireFailure(busy)]);
      this.#options.onWrite?.(busy.code);
    }
    return group.filter((entry) => unrun.has(entry));
  }

  #failAll(group: readonly Entry[], error: unknown): void {
    const fault =
      error instanceof StoreError
        ? error
        : new StoreError("internal", String(error), { outcome: "unknown", cause: error });
    if (faults.has(fault.code)) this.#options.onFault(fault);
    if (group.some(writes)) this.#options.onWrite?.(fault.code);
    for (const entry of group) {
      this.#queues.settleCost(entry, 0);
      this.#answer(entry, [false, toWireFailure(fault)]);
    }
  }

  /** Answers an entry. The answer is sent with the others of its group, by the outbox. */
  #answer(entry: Entry, ...answers: readonly Answer[]): void {
    if (!settle(entry, answers)) return;
    this.#forgetRead(entry);
    this.#fetching?.release(entry);
    this.#outbox.add(entry.envelope);
    this.#passWake(entry);
  }

  /**
   * Wakes another entry after one that was woken alone: that one may have failed, or found something else than what woke
   * it. One that looked and found nothing is not `wokenFor` anything by now.
   */
  #passWake(entry: Entry): void {
    const kind = entry.wokenFor;
    entry.wokenFor = undefined;
    if (kind !== undefined) this.#wakeNext(kind);
  }

  /** Wakes an entry that waits for a kind of topic, here or in another mailbox of the server. */
  #wakeNext(kind: string): void {
    if (kind !== "" && !this.#closing && !this.#parking.wakeOne(kind)) this.#options.wakeElsewhere?.(kind);
  }
}

/** Checks whether a transaction could not begin for a reason that passes, so its calls wait. */
function passes(error: unknown): error is StoreError {
  return error instanceof StoreError && (error.code === "busy" || (error.code === "read_only" && error.retryable));
}

function pauseAfter({ code }: StoreError): number {
  return code === "busy" ? busyPauseMs : readOnlyPauseMs;
}

/** Returns the code of a transaction that failed as a whole. */
function codeOf(error: unknown): ErrorCode {
  return error instanceof StoreError ? error.code : "internal";
}

/** Publishes the end of an entry whose client is gone. One that is in a group keeps its effect. */
function traceDropped({ trace, done, place, calls }: Entry): void {
  if (trace === undefined || done) return;
  const mayRun = place === "group" && calls.some(({ operation }) => operation.access === "write");
  traceAnswer(trace, { code: "closed", outcome: mayRun ? "unknown" : "not_run" });
}

const closingAnswer = failure("closed", "the store is closing");
const cancelledAnswer = failure("aborted", "cancelled before it ran");

/** The time after which a call that found only locked rows runs again: it grows with the time that the call has waited. */
function heldAgainMs({ arrivedAtMs }: Entry, clock: Clock): number {
  return Math.min(100, Math.max(5, (clock.elapsed() - arrivedAtMs) / 4));
}

/** The pause before the next group, after one that found the write lock taken. */
const busyPauseMs = 5;

/** The pause before the next group, after one that found a server that does not write. A failover takes seconds. */
const readOnlyPauseMs = 100;
