// Carries envelopes to the server of a remote store and their answers back, through cuts and restarts: in their order, each
// once, and what may have run and cannot be known is reported as unknown, and only that.
import { randomUUID } from "node:crypto";
import type { Socket } from "node:net";
import { StoreError, type WireFailure } from "../errors.ts";
import { defaultLimits, type Limits } from "../limits.ts";
import { realTime, sleep } from "../realTime.ts";
import type { Backend, Envelope, Receiver } from "../wire.ts";
import { type Connection, Refused, Unreachable } from "./connection.ts";
import { encodeFrame } from "./frames.ts";
import { OpenEnvelope } from "./openEnvelope.ts";
import { Outbox, type Parcel } from "./outbox.ts";
import { beatMs, type OverReason, protocolVersion, type RequestFrame, type ServerFrame } from "./protocol.ts";
import { namesIn, withKeys } from "./repeatable.ts";

/** The pauses between attempts to reach a server, in milliseconds: the first, and the longest. */
const [pauseMsMin, pauseMsMax] = [20, 1_000];
/** The times without a byte after which a request, or the stream of answers, counts as cut, in milliseconds. */
const [askSilenceMs, answersSilenceMs] = [10_000, 4 * beatMs];
/** The time after which the server hears of answers, or the number of them, when no message tells it earlier. */
const [confirmMs, confirmAnswers] = [500, 16];
/** The number of sessions, one after the other, that were over before they were of any use. */
const uselessSessionsMax = 5;
/** The time by which a key is taken to last less long than the server says, in milliseconds. */
const keyMarginMs = 60_000;

/** The end of a session, as the server tells it. */
class Over extends Error {
  readonly reason: OverReason;
  constructor(reason: OverReason) {
    super(reason);
    this.reason = reason;
  }
}

interface Session {
  readonly id: string;
  /** The largest request that the server takes. */
  bytesMax: number;
  /** The number of the last answer that was received, and of the last one of which the server knows that it was. */
  heard: number;
  confirmed: number;
  /** True once the server has taken a message or sent an answer. */
  isUseful: boolean;
}

/** The client's end of a remote store. */
export class Exchange implements Backend {
  readonly #connection: Connection;
  readonly #mayCall: (name: string) => boolean;
  readonly #clientId = randomUUID();
  readonly #lost = Promise.withResolvers<string>();
  readonly #closed = new AbortController();
  /** The envelopes that are not answered, by their ids. */
  readonly #open = new Map<number, OpenEnvelope>();
  /** The calls that were sent in this session and are not answered, by the ids under which they were. */
  readonly #parcels = new Map<number, Parcel>();
  readonly #outbox = new Outbox();
  #session: Session | undefined;
  #uselessSessions = 0;
  #attempts = 0;
  #isRunning = false;
  #news = Promise.withResolvers<void>();
  #confirmTimer: NodeJS.Timeout | undefined;
  #socket: Socket | undefined;
  /** The limits of the server, once it was reached. */
  serverLimits: Partial<Limits> = {};
  /** The time of the last frame of the server. */
  heardAtMs: number = realTime.elapsed();

  /** `mayCall` says which operations the server is asked for; the others are refused here. */
  constructor(connection: Connection, mayCall: (name: string) => boolean = () => true) {
    this.#connection = connection;
    this.#mayCall = mayCall;
  }

  /** True while calls wait for an answer. */
  get isBusy(): boolean {
    return this.#open.size > 0;
  }

  /** Reaches the server for the first time. Fails as the server refuses it, or with Unreachable. */
  async begin(): Promise<void> {
    await this.#begin();
  }

  send(given: Envelope, receiver: Receiver): void {
    const open = new OpenEnvelope(withKeys(given), receiver);
    if (this.#closed.signal.aborted) open.fail(open.slots, "closed");
    if (open.isAnswered) return;
    const refused = namesIn(given).flatMap((name, index) => (this.#mayCall(name) ? [] : [index]));
    const [, isAtomic] = given;
    if (refused.length > 0)
      open.refuse(isAtomic ? [0] : refused, unknownOperation(isAtomic ? { index: refused[0] as number } : {}));
    if (open.isAnswered) return;
    this.#open.set(given[0], open);
    this.#outbox.add(open, open.slots);
    this.#hold();
    this.#wake();
  }

  cancel(envelopeId: number, slot: number): void {
    const open = this.#open.get(envelopeId);
    if (open === undefined || !open.isOpen(slot)) return;
    open.giveUp(slot);
    if (this.#outbox.withdraw(open, slot)) {
      open.fail([slot], "aborted");
      this.#settled(open);
      return;
    }
    const parcel = [...this.#parcels.values()].find((one) => one.open === open && one.slots.includes(slot));
    if (parcel === undefined) return;
    this.#outbox.cancel(parcel, slot);
    this.#wake();
  }

  hold(): void {
    // The stream of answers keeps the process alive while calls are open; see #hold.
  }

  onLost(listener: (reason: string) => void): void {
    void this.#lost.promise.then(listener);
  }

  async close(): Promise<void> {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort();
    realTime.clearTimeout(this.#confirmTimer);
    this.#failAll("closed");
    this.#lost.resolve("the remote store is closed");
    // Frees what the server keeps for this client; by itself it does so after a minute.
    if (this.#session !== undefined)
      await this.#connection
        .ask(() => encodeFrame(["bye", this.#clientId]), { signal: new AbortController().signal, silenceMs: byeMs })
        .catch(() => undefined);
    this.#connection.close();
  }

  #wake(): void {
    this.#news.resolve();
    if (this.#isRunning) return;
    this.#isRunning = true;
    void this.#run();
  }

  /** Serves the open calls until there are none and the connection is cut, or until the exchange is closed. */
  async #run(): Promise<void> {
    const { signal } = this.#closed;
    while (!signal.aborted && this.#open.size > 0) {
      try {
        await this.#serve(this.#session ?? (await this.#begin()));
      } catch (error) {
        if (error instanceof Over) this.#end(error.reason);
        else if (error instanceof Unreachable) {
          // Without a call to carry, the next one connects again.
          if (signal.aborted || this.#open.size === 0) continue;
          const pauseMs = Math.max(pauseAfter(this.#attempts++), error.retryAfterMs);
          await sleep(pauseMs, { signal });
        } else this.#refuse(error);
      }
    }
    // In the same step as the check: a call that comes later starts the next run.
    this.#isRunning = false;
  }

  /** Begins a session, in which everything that is open is sent that can be. */
  async #begin(): Promise<Session> {
    const hello: RequestFrame = ["hello", protocolVersion, this.#clientId];
    const asking = { signal: this.#closed.signal, silenceMs: askSilenceMs };
    const frame = await this.#connection.ask(() => encodeFrame(hello), asking);
    if (frame?.[0] !== "session") throw new Unreachable("the server has answered nothing");
    const [, id, limits, bytesMax] = frame;
    // A newer server may have limits that this client does not know.
    this.serverLimits = Object.fromEntries(Object.entries(limits).filter(([name]) => name in defaultLimits));
    this.#session = { id, bytesMax, heard: 0, confirmed: 0, isUseful: false };
    this.#outbox.clear();
    for (const open of this.#open.values()) this.#outbox.add(open, open.slots);
    return this.#session;
  }

  /** Posts and listens until one of them fails. What is not confirmed is posted again by the next call of this. */
  async #serve(session: Session): Promise<never> {
    const stop = new AbortController();
    const signal = AbortSignal.any([stop.signal, this.#closed.signal]);
    const listening = this.#listen(session, signal);
    try {
      // A server that ends takes nothing more, and still has answers.
      return await Promise.race([listening, this.#post(session, signal).then(() => listening)]);
    } finally {
      stop.abort();
      await listening.catch(() => undefined);
    }
  }

  /** Posts messages, one request after the other. Returns when the server ends. */
  async #post(session: Session, signal: AbortSignal): Promise<void> {
    for (;;) {
      while (this.#outbox.isEmpty && !this.#wantsToConfirm(session)) {
        this.#news = Promise.withResolvers();
        await untilAborted(this.#news.promise, signal);
      }
      const confirms = session.heard;
      try {
        const body = () => this.#body(session);
        const frame = await this.#connection.ask(body, { signal, silenceMs: askSilenceMs });
        if (frame?.[0] === "over" && frame[1] === "ending") return;
        if (frame?.[0] === "over") throw new Over(frame[1]);
        if (frame?.[0] !== "taken") throw new Unreachable("the server has answered nothing");
        this.#heard(session);
        this.#outbox.confirm(frame[1]);
        session.confirmed = Math.max(session.confirmed, confirms);
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        this.#outbox.takeBackRefused();
        // A proxy may take less than the server.
        if (error.status !== 413 || session.bytesMax < bytesMaxMin) throw error;
        session.bytesMax = Math.floor(session.bytesMax / 2);
      }
    }
  }

  #body(session: Session): Uint8Array {
    const { first } = this.#outbox;
    const { frames, parcels } = this.#outbox.take(session.bytesMax);
    for (const parcel of parcels) this.#parcels.set(parcel.id, parcel);
    for (const open of this.#open.values()) if (open.isAnswered) this.#settled(open);
    const head: RequestFrame = ["post", this.#clientId, session.id, first, session.heard];
    return Buffer.concat([encodeFrame(head), ...frames]);
  }

  /** Receives answers. Fails when the stream ends: with Over, or with Unreachable. */
  async #listen(session: Session, signal: AbortSignal): Promise<never> {
    const request: RequestFrame = ["listen", this.#clientId, session.id, session.heard];
    const frames = this.#connection.stream(() => encodeFrame(request), {
      signal,
      silenceMs: answersSilenceMs,
      onSocket: (socket) => {
        this.#socket = socket;
        this.#hold();
      },
    });
    try {
      for await (const frame of frames) {
        this.heardAtMs = realTime.elapsed();
        if (frame[0] === "over") throw new Over(frame[1]);
        if (frame[0] === "reply" || frame[0] === "refused" || frame[0] === "again") this.#take(session, frame);
      }
    } finally {
      this.#socket = undefined;
    }
    throw new Unreachable("the answers were cut off");
  }

  #take(session: Session, frame: Extract<ServerFrame, readonly ["reply" | "refused" | "again", ...unknown[]]>): void {
    const [what, number, id] = frame;
    if (number !== session.heard + 1) throw new Unreachable("an answer is missing");
    session.heard = number;
    this.#heard(session);
    this.#confirmSoon(session);
    const parcel = this.#parcels.get(id);
    if (parcel === undefined) return;
    const { open, slots } = parcel;
    if (what === "reply") {
      const [, , , part] = frame[3];
      const answered = part === undefined ? slots : part.map((index) => slots[index] ?? -1);
      open.receive(frame[3], answered);
    } else if (what === "refused") open.refuse(slots, frame[3]);
    else {
      open.unsent(parcel.fresh);
      this.#outbox.add(
        open,
        slots.filter((slot) => open.isOpen(slot)),
      );
      this.#wake();
    }
    if (what === "again" || !slots.some((slot) => open.isOpen(slot))) this.#parcels.delete(id);
    this.#settled(open);
  }

  /** Ends a session. What may have run in it, and cannot be sent again, is unknown. */
  #end(reason: OverReason): void {
    const { idempotencyMs = defaultLimits.idempotencyMs } = this.serverLimits;
    this.#uselessSessions = this.#session?.isUseful ? 0 : this.#uselessSessions + 1;
    this.#session = undefined;
    if (reason === "ending") this.#outbox.takeBackAll();
    this.#outbox.clear();
    this.#parcels.clear();
    if (this.#uselessSessions >= uselessSessionsMax) {
      this.#uselessSessions = 0;
      this.#failAll("incompatible", severalServers);
      return;
    }
    for (const open of this.#open.values()) {
      const lost = open.slots.filter(
        (slot) => open.isGivenUp(slot) || !open.isRepeatable(slot, idempotencyMs - keyMarginMs),
      );
      if (reason === "overflow") open.fail(open.slots, "overloaded", overflow);
      else open.fail(lost, "busy", lostMessage);
      this.#settled(open);
    }
  }

  /** Answers all calls with the reason for which the server refuses this client, or with a fault of this code. */
  #refuse(error: unknown): void {
    this.#outbox.clear();
    this.#parcels.clear();
    this.#session = undefined;
    if (error instanceof StoreError) this.#failAll(error.code, error.message, error.details);
    else this.#failAll("internal", error instanceof Error ? error.message : String(error));
  }

  #failAll(...failure: [code: StoreError["code"], message?: string, details?: StoreError["details"]]): void {
    for (const open of this.#open.values()) {
      open.fail(open.slots, ...failure);
      this.#settled(open);
    }
  }

  #settled(open: OpenEnvelope): void {
    if (!open.isAnswered) return;
    this.#open.delete(open.envelope[0]);
    this.#hold();
  }

  /** Keeps the process alive while calls are open, and only then. */
  #hold(): void {
    if (this.#open.size > 0) this.#socket?.ref();
    else this.#socket?.unref();
  }

  #heard(session: Session): void {
    this.heardAtMs = realTime.elapsed();
    this.#attempts = 0;
    session.isUseful = true;
  }

  #wantsToConfirm({ heard, confirmed }: Session): boolean {
    return heard - confirmed >= confirmAnswers || (heard > confirmed && this.#confirmTimer === undefined);
  }

  /** Tells the server soon which answers have come, if no message does. */
  #confirmSoon(session: Session): void {
    if (session.heard - session.confirmed >= confirmAnswers) this.#news.resolve();
    if (this.#confirmTimer !== undefined) return;
    this.#confirmTimer = realTime.setTimeout(() => {
      this.#confirmTimer = undefined;
      this.#news.resolve();
    }, confirmMs);
    this.#confirmTimer.unref();
  }
}

/** The time that the server has to hear that the store is closed, in milliseconds. */
const byeMs = 1_000;
/** The size of a request, in bytes, below which it is not made smaller. */
const bytesMaxMin = 128 * 1024;

const lostMessage = "the server was restarted, or has forgotten this client, while the call was on its way";
const overflow = "the answers to the calls in flight are more than the server keeps for a client: make fewer at once";
const severalServers =
  "each request reaches another server: let all requests of a client reach one process, for example by its address";

function unknownOperation(details: StoreError["details"]): WireFailure {
  return ["unknown_operation", "this port may not call the operation", "not_run", details];
}

function pauseAfter(attempt: number): number {
  const pauseMs = Math.min(pauseMsMax, pauseMsMin * 2 ** Math.min(attempt, 10));
  // Clients that lost one server do not come back at the same moment.
  return pauseMs * (0.5 + Math.random() / 2);
}

async function untilAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const abort = () => reject(new Unreachable("aborted"));
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  try {
    await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
