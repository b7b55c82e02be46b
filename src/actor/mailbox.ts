// Everybody's calls in front of one database: fair queues, lanes, groups that share a transaction, and calls that wait for something to
// happen. Knows no thread and no database; time and the next turn of the event loop are all it takes from outside.

import { anonymous, checkCaller, type EnvelopeKey } from "../caller.ts";
import type { Clock } from "../clock.ts";
import type { Dispatched, Dispatcher } from "../dispatch.ts";
import { type ErrorCode, StoreError, toWireFailure } from "../errors.ts";
import type { Limits } from "../limits.ts";
import type { Call, Lane } from "../operation.ts";
import { type Answer, callWidth, type Envelope, type Reply, type WireCaller } from "../wire.ts";
import { createClockWatch } from "./clockWatch.ts";
import { Parking } from "./parking.ts";
import { type Client, count, type Entry, laneOf, type Pending, Queues, uncount } from "./queues.ts";
import { sizeOf } from "./size.ts";

export interface MailboxOptions {
  readonly dispatcher: Dispatcher;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly epoch: number;
  /** Changes when another process has committed; undefined when no other process can. */
  readonly dataVersion: (() => number | Promise<number>) | undefined;
  /** Told what each commit has touched, to wake calls that wait elsewhere. */
  onCommit?(topics: ReadonlySet<string>): void;
  /** Told of a failure of a whole group that is a fault of ours, or damage. */
  onFault(error: StoreError): void;
  /** Told when rows were written and committed, or could not be, and why. */
  onWrite?(failed: ErrorCode | undefined): void;
}

/** One client's way in. */
export interface Inbox {
  /** Never rejects; what is wrong with a call is its answer. */
  post(envelope: Envelope): Promise<Reply>;
  /** A call of this envelope that has not run is answered aborted; 0 stands for all of an atomic one. */
  cancel(envelopeId: number, slot: number): void;
  /** Forgets the client and what it still had in the queue: nobody would read the answers. */
  disconnect(): void;
}

export class Mailbox {
  readonly #options: MailboxOptions;
  readonly #queues = new Queues();
  readonly #parking: Parking;
  readonly #clockWatch: ReturnType<typeof createClockWatch>;
  #commitSeq = 0;
  #running = false;
  /** What others have touched since the running group began: its calls may not have seen it. */
  readonly #touchedMeanwhile = new Set<string>();
  #allTouchedMeanwhile = false;
  #scheduled: "no" | "soon" | "later" = "no";
  #closing = false;
  #onIdle: (() => void) | undefined;
  readonly #figures = {
    groups: 0,
    calls: 0,
    groupCallsMax: 0,
    waitMsTotal: 0,
    waitMsMax: 0,
    busyRetries: 0,
    clockJumps: 0,
  };
  readonly #lanes = { urgent: newLane(), normal: newLane(), background: newLane() };

  constructor(options: MailboxOptions) {
    this.#options = options;
    this.#clockWatch = createClockWatch(options.clock, options.limits);
    this.#parking = new Parking({
      pollMs: options.limits.dataVersionPollMs,
      dataVersion: options.dataVersion,
      wake: (entry) => this.#requeue(entry),
      giveUp: (entry, answer) => this.#settle(entry, answer),
    });
  }

  connect(mayCall: (name: string) => boolean): Inbox {
    const client = this.#queues.connect(mayCall);
    return {
      post: (envelope) => this.#post(client, envelope),
      cancel: (envelopeId, slot) => this.#cancel(client, envelopeId, slot),
      disconnect: () => this.#disconnect(client),
    };
  }

  /** By lane: how many wait, and how long those that ran had waited. */
  lanes(): Record<Lane, Record<string, number>> {
    const { urgent, normal, background } = this.#lanes;
    const queued = this.#queues.waiting;
    return {
      urgent: { queued: queued.urgent, ...urgent },
      normal: { queued: queued.normal, ...normal },
      background: { queued: queued.background, ...background },
    };
  }

  /** How full the fullest queue is, of 1. */
  get fullness(): number {
    return this.#queues.fullness(this.#options.limits);
  }

  figures(): Record<string, number> {
    const { clients, calls } = this.#queues;
    return { ...this.#figures, commits: this.#commitSeq, clients, queued: calls, parked: this.#parking.size };
  }

  /** Somebody else has committed: calls that wait for it run again. */
  touch(topics: Iterable<string> | "all"): void {
    if (topics === "all") {
      this.#allTouchedMeanwhile = this.#running;
      this.#parking.touchAll();
      return;
    }
    if (this.#running) for (const topic of topics) this.#touchedMeanwhile.add(topic);
    this.#parking.touch(topics);
  }

  /** Takes nothing more in, ends waiting calls, runs what is queued. */
  close(): Promise<void> {
    this.#closing = true;
    for (const entry of this.#parking.clear()) this.#settle(entry, failure("closed", "the store is closing"));
    return new Promise((resolve) => {
      this.#onIdle = resolve;
      this.#schedule();
    });
  }

  #post(client: Client, envelope: Envelope): Promise<Reply> {
    return new Promise((resolve) => {
      const [id, atomic, calls] = envelope;
      const count = calls.length / callWidth;
      const pending: Pending = { id, answers: new Array(count * 2), entries: [], missing: 0, resolve };
      const bytes = sizeOf(calls, this.#options.limits.envelopeBytes);
      const refusal = this.#refusal(client, id, count, bytes);
      if (refusal !== undefined) return this.#refuse(pending, count, refusal);
      if (atomic) this.#admitTogether(client, pending, calls, bytes);
      else for (let index = 0; index < count; index++) this.#admitOne(client, pending, calls, index);
      if (pending.missing === 0) return resolve([this.#options.epoch, this.#commitSeq, pending.answers]);
      client.pending.set(id, pending);
      this.#schedule();
    });
  }

  #refusal(client: Client, id: number, count: number, bytes: number): Answer | undefined {
    const { limits } = this.#options;
    if (this.#closing) return failure("closed", "the store is closing");
    // Its calls would be forgotten when the client goes, and run for nobody.
    if (client.pending.has(id)) return failure("invalid_input", `envelope ${id} is not answered yet`);
    if (bytes > limits.envelopeBytes)
      return failure("invalid_input", `one message may hold ${limits.envelopeBytes} bytes`);
    if (client.calls + count <= limits.queueCalls && client.bytes + bytes <= limits.queueBytes) return undefined;
    const retryAfterMs = Math.ceil((client.calls / limits.groupCalls + 1) * limits.groupMs);
    return [
      false,
      toWireFailure(
        new StoreError("overloaded", undefined, {
          details: { retryAfterMs, queuedCalls: client.calls, queuedBytes: client.bytes },
        }),
      ),
    ];
  }

  #refuse(pending: Pending, count: number, answer: Answer): void {
    const answers = Array.from({ length: count }, () => answer).flat();
    pending.resolve([this.#options.epoch, this.#commitSeq, answers]);
  }

  #admit(client: Client, calls: readonly unknown[], index: number): Call {
    const at = index * callWidth;
    const name = calls[at];
    if (typeof name !== "string" || !client.mayCall(name))
      throw new StoreError(
        "unknown_operation",
        `no operation ${typeof name === "string" ? name.slice(0, 100) : typeof name} for this port`,
      );
    const [actor, requestId, key, request] = (calls[at + 2] ?? []) as NonNullable<WireCaller>;
    const idempotency = key === undefined ? undefined : { key, request: request as string };
    return this.#options.dispatcher.decodeCall(name, calls[at + 1], { actor, requestId, idempotency });
  }

  /** Fails overloaded when the client has too many results under way: they are kept until their whole message is answered. */
  #resultBytesOf(client: Client, calls: readonly Call[]): number {
    const { limits } = this.#options;
    const bytes = calls.reduce((sum, { operation, input }) => sum + operation.resultBytes(input), 0);
    if (client.resultBytes > 0 && client.resultBytes + bytes > limits.resultBytes) {
      throw new StoreError("overloaded", undefined, {
        details: { retryAfterMs: limits.groupMs, resultBytes: client.resultBytes },
      });
    }
    return bytes;
  }

  #admitOne(client: Client, pending: Pending, calls: readonly unknown[], index: number): void {
    try {
      const call = this.#admit(client, calls, index);
      const bytes = sizeOf(calls[index * callWidth + 1], Number.POSITIVE_INFINITY);
      this.#enqueue({
        ...newEntry,
        client,
        pending,
        slot: index,
        calls: [call],
        bytes,
        resultBytes: this.#resultBytesOf(client, [call]),
      });
    } catch (error) {
      const [ok, wire] = refused(error);
      pending.answers[index * 2] = ok;
      pending.answers[index * 2 + 1] = wire;
    }
  }

  #admitTogether(client: Client, pending: Pending, calls: readonly unknown[], bytes: number): void {
    const admitted: Call[] = [];
    let resultBytes: number;
    try {
      for (let index = 0; index < calls.length / callWidth; index++) {
        const call = this.#admit(client, calls, index);
        if (call.waitMs > 0)
          throw new StoreError("invalid_input", `${call.name} waits, and nothing inside atomically may wait`);
        admitted.push(call);
      }
      const key = envelopeKeyOf(calls[2] as WireCaller);
      if (key !== undefined) admitted[0] = { ...(admitted[0] as Call), envelopeKey: key };
      resultBytes = this.#resultBytesOf(client, admitted);
    } catch (error) {
      const [, [code, message, outcome, details]] = refused(error);
      pending.answers.splice(0, pending.answers.length, false, [
        code,
        message,
        outcome,
        { ...details, index: admitted.length },
      ]);
      return;
    }
    this.#enqueue({ ...newEntry, client, pending, slot: 0, calls: admitted, bytes, resultBytes });
  }

  #enqueue(entry: Entry): void {
    entry.pending.entries.push(entry);
    entry.pending.missing++;
    entry.queuedAtMs = performance.now();
    count(entry);
    this.#queues.push(entry);
  }

  #requeue(entry: Entry): void {
    entry.client.parked--;
    entry.queuedAtMs = performance.now();
    this.#queues.push(entry);
    this.#schedule();
  }

  #cancel(client: Client, envelopeId: number, slot: number): void {
    const entry = client.pending.get(envelopeId)?.entries.find((one) => one.slot === slot);
    if (entry === undefined || entry.done || this.#inGroup.has(entry)) return;
    if (this.#parking.remove(entry)) client.parked--;
    this.#settle(entry, failure("aborted", "cancelled before it ran"));
  }

  #disconnect(client: Client): void {
    this.#queues.disconnect(client);
    for (const pending of client.pending.values()) {
      for (const entry of pending.entries) {
        this.#parking.remove(entry);
        entry.done = true;
      }
    }
    client.pending.clear();
  }

  /**
   * The event loop turns once before a group starts, so that what has arrived meanwhile shares its transaction (D-003).
   */
  #schedule(delayMs = 0): void {
    if (this.#running || this.#scheduled === "soon" || (this.#scheduled === "later" && delayMs > 0)) return;
    this.#scheduled = delayMs > 0 ? "later" : "soon";
    const run = () => void this.#runGroup();
    if (delayMs > 0) setTimeout(run, delayMs);
    else setImmediate(run);
  }

  readonly #inGroup = new Set<Entry>();

  async #runGroup(): Promise<void> {
    if (this.#running) return;
    this.#scheduled = "no";
    this.#running = true;
    const entries = this.#queues.take(this.#options.limits.groupCalls);
    let delayMs = 0;
    try {
      if (entries.length > 0) await this.#run(entries);
    } catch (error) {
      if (error instanceof StoreError && error.code === "busy") delayMs = await this.#runReadsOf(entries, error);
      else this.#settleAll(entries, error);
    } finally {
      this.#inGroup.clear();
      this.#touchedMeanwhile.clear();
      this.#allTouchedMeanwhile = false;
      this.#running = false;
    }
    if (this.#queues.hasWork()) this.#schedule(delayMs);
    else this.#onIdle?.();
  }

  async #run(entries: readonly Entry[]): Promise<void> {
    for (const entry of entries) this.#inGroup.add(entry);
    const grace = entries.some(writes) ? this.#clockWatch.afterJump() : undefined;
    const startedAtMs = performance.now();
    const jobs = entries.map(({ calls }) => calls);
    const { dispatcher, limits } = this.#options;
    const { outcomes, topics, wrote } = await dispatcher.runTransaction(
      grace === undefined ? jobs : [[grace], ...jobs],
      limits.groupMs,
    );
    const extended = grace !== undefined && outcomes[0]?.answers[0]?.[0] === true;
    if (extended) this.#figures.clockJumps++;
    this.#clockWatch.settled(extended);
    if (wrote) this.#commitSeq++;
    const own = grace === undefined ? outcomes : outcomes.slice(1);
    const unwritten = unwrittenOf(entries, own);
    if (wrote || unwritten !== undefined) this.#options.onWrite?.(unwritten);
    this.#finish(entries, own, startedAtMs);
    this.#parking.touch(topics);
    if (topics.size > 0) this.#options.onCommit?.(topics);
  }

  #finish(entries: readonly Entry[], outcomes: Dispatched["outcomes"], startedAtMs: number): void {
    const figures = this.#figures;
    figures.groups++;
    figures.calls += outcomes.length;
    figures.groupCallsMax = Math.max(figures.groupCallsMax, outcomes.length);
    for (let index = 0; index < outcomes.length; index++) {
      const entry = entries[index] as Entry;
      const { answers, parkOn } = outcomes[index] as Dispatched["outcomes"][number];
      const waitMs = startedAtMs - entry.queuedAtMs;
      if (parkOn !== undefined && this.#park(entry, parkOn, answers[0] as Answer)) continue;
      figures.waitMsTotal += waitMs;
      if (waitMs > figures.waitMsMax) figures.waitMsMax = waitMs;
      const lane = this.#lanes[laneOf(entry)];
      lane.calls++;
      lane.waitMsTotal += waitMs;
      if (waitMs > lane.waitMsMax) lane.waitMsMax = waitMs;
      this.#settle(entry, ...answers);
    }
    this.#queues.putBack(entries.slice(outcomes.length));
  }

  /** False when its time is over, so that what it found is its answer. */
  #park(entry: Entry, topics: readonly string[], atTimeout: Answer): boolean {
    const { client, calls, queuedAtMs } = entry;
    entry.parkUntilMs ??= queuedAtMs + (calls[0] as Call).waitMs;
    const leftMs = entry.parkUntilMs - performance.now();
    if (leftMs <= 0 || this.#closing || !this.#queues.has(client)) return false;
    if (client.parked >= this.#options.limits.parkedCalls) {
      this.#settle(entry, failure("overloaded", `${client.parked} calls of this client are waiting already`));
      return true;
    }
    if (this.#allTouchedMeanwhile || topics.some((topic) => this.#touchedMeanwhile.has(topic))) {
      entry.queuedAtMs = performance.now();
      this.#queues.push(entry);
      return true;
    }
    client.parked++;
    this.#parking.add(entry, topics, atTimeout, leftMs);
    return true;
  }

  /**
   * Another process holds the write lock: reads that do not come after a write of the same client go on meanwhile
   * (D-015).
   */
  async #runReadsOf(entries: readonly Entry[], error: StoreError): Promise<number> {
    const blocked = new Set<Client>();
    const reads: Entry[] = [];
    const waiting: Entry[] = [];
    this.#figures.busyRetries++;
    for (const entry of entries) {
      if (!blocked.has(entry.client) && entry.calls.every(({ operation }) => operation.access === "read"))
        reads.push(entry);
      else {
        blocked.add(entry.client);
        waiting.push(entry);
      }
    }
    try {
      if (reads.length > 0) await this.#run(reads);
    } catch (readError) {
      if (readError instanceof StoreError && readError.code === "busy") waiting.unshift(...reads);
      else this.#settleAll(reads, readError);
    }
    for (const entry of waiting) {
      if (performance.now() - entry.queuedAtMs <= this.#options.limits.busyGiveUpMs) continue;
      this.#settle(entry, [false, toWireFailure(error)]);
      this.#options.onWrite?.(error.code);
    }
    this.#queues.putBack(waiting);
    return 5;
  }

  #settleAll(entries: readonly Entry[], error: unknown): void {
    const fault =
      error instanceof StoreError
        ? error
        : new StoreError("internal", String(error), { outcome: "unknown", cause: error });
    if (fault.code === "internal" || fault.code === "corrupt") this.#options.onFault(fault);
    if (entries.some(writes)) this.#options.onWrite?.(fault.code);
    for (const entry of entries) this.#settle(entry, [false, toWireFailure(fault)]);
  }

  #settle(entry: Entry, ...answers: readonly Answer[]): void {
    if (entry.done) return;
    entry.done = true;
    const { client, pending, slot, calls } = entry;
    if (!entry.queued) uncount(entry);
    // One failure stands for all calls of an atomic envelope.
    if (answers.length < calls.length) pending.answers.length = 2;
    for (let index = 0; index < answers.length; index++) {
      const [ok, wire] = answers[index] as Answer;
      pending.answers[(slot + index) * 2] = ok;
      pending.answers[(slot + index) * 2 + 1] = wire;
    }
    if (--pending.missing > 0) return;
    client.pending.delete(pending.id);
    pending.resolve([this.#options.epoch, this.#commitSeq, pending.answers]);
  }
}

/** What every entry is at first. */
const newEntry = { queuedAtMs: 0, parkUntilMs: undefined, queued: false, done: false } as const;

function newLane() {
  return { calls: 0, waitMsTotal: 0, waitMsMax: 0 };
}

/** Not the caller's doing: the database could not store what it was given. */
const unwrittenCodes: readonly ErrorCode[] = ["storage_full", "corrupt", "busy"];

function unwrittenOf(entries: readonly Entry[], outcomes: Dispatched["outcomes"]): ErrorCode | undefined {
  for (const [index, { answers }] of outcomes.entries()) {
    const [ok, wire] = answers[0] as Answer;
    if (!ok && unwrittenCodes.includes(wire[0]) && writes(entries[index] as Entry)) return wire[0];
  }
  return undefined;
}

function writes({ calls }: Entry): boolean {
  return calls.some(({ operation }) => operation.access === "write");
}

function failure(code: ErrorCode, message: string): Answer {
  return [false, [code, message, "not_run", {}]];
}

function refused(error: unknown): Extract<Answer, readonly [false, unknown]> {
  return [
    false,
    toWireFailure(error instanceof StoreError ? error : new StoreError("internal", String(error), { cause: error })),
  ];
}

/** The key that stands for all calls of an atomic envelope. Fails invalid_input. */
function envelopeKeyOf(caller: WireCaller): EnvelopeKey | undefined {
  const envelope = caller?.[4] as unknown;
  if (envelope === undefined) return undefined;
  const [actor, key, request] = Array.isArray(envelope) ? envelope : [];
  checkCaller({ ...anonymous, actor, idempotency: { key, request } });
  return { actor, key, request };
}
