// Carries envelopes to the server of a remote store and their answers back, through cuts and restarts: each runs once, and
// what may have run and cannot be known is reported as unknown, and only that.
import { randomUUID } from "node:crypto";
import { type ErrorCode, errorCodes, type Outcome, StoreError, type WireFailure } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { realTime, sleep } from "../realTime.ts";
import { type Backend, callWidth, type Envelope, type Receiver, type Reply } from "../wire.ts";
import { type Connection, Unreachable } from "./connection.ts";
import type { ServerFrame } from "./protocol.ts";
import { isReading, isRepeatable, namesIn, operationNamed, withKeys } from "./repeatable.ts";

/** The pauses between attempts to reach a server, in milliseconds: the first, and the longest. */
const [pauseMsMin, pauseMsMax] = [20, 1_000];

/** The time in which a server has to answer a `hello`, in milliseconds. */
const helloMs = 5_000;

/** An envelope that is not answered yet. */
interface Open {
  readonly envelope: Envelope;
  readonly receiver: Receiver;
  readonly units: number;
  readonly waits: boolean;
  /** The session in which it may have arrived. */
  sentIn: string | undefined;
  /** The session in which the server has forgotten its answer. */
  forgottenIn: string | undefined;
  /** The calls that are sent, by their slots; fixed when it is first sent. */
  slots: readonly number[] | undefined;
  /** The number of frames of the answer that were received. */
  have: number;
  /** The calls whose callers have given up. */
  readonly cancelled: Set<number>;
  readonly answered: Set<number>;
  /** Fires when all its callers have given up, or the store is closed. */
  readonly ended: AbortController;
}

/** The client's end of a remote store. */
export class Exchange implements Backend {
  readonly #connection: Connection;
  readonly #clientId = randomUUID();
  readonly #open = new Map<number, Open>();
  /** The envelopes that were answered and that the server has not been told of. */
  readonly #answered = new Set<number>();
  readonly #lost = Promise.withResolvers<string>();
  #session: Promise<string> | undefined;
  #isClosed = false;
  /** The limits of the server, once it was reached. */
  serverLimits: Partial<Limits> = {};
  /** The time of the last answer of the server. */
  heardAtMs: number = realTime.elapsed();

  readonly #mayCall: (name: string) => boolean;

  /** `mayCall` says which operations the server is asked for; the others are refused here. */
  constructor(connection: Connection, mayCall: (name: string) => boolean = () => true) {
    this.#connection = connection;
    this.#mayCall = mayCall;
  }

  /** Reaches the server for the first time. Fails as the server refuses it, or with Unreachable. */
  async begin(): Promise<void> {
    await this.#sessionNow();
  }

  send(given: Envelope, receiver: Receiver): void {
    const envelope = withKeys(given);
    const [id, isAtomic, calls] = envelope;
    const units = isAtomic ? 1 : calls.length / callWidth;
    const open: Open = {
      envelope,
      receiver,
      units,
      waits: units === 1 && operationNamed(String(calls[0]))?.waits === true,
      sentIn: undefined,
      forgottenIn: undefined,
      slots: undefined,
      have: 0,
      cancelled: new Set(),
      answered: new Set(),
      ended: new AbortController(),
    };
    this.#open.set(id, open);
    const refused = namesIn(envelope).flatMap((name, index) => (this.#mayCall(name) ? [] : [index]));
    const [index] = refused;
    if (isAtomic && index !== undefined)
      this.#answerSlots(open, [0], "unknown_operation", "not_run", undefined, { index });
    else this.#answerSlots(open, refused, "unknown_operation", "not_run");
    void this.#carry(open);
  }

  cancel(envelopeId: number, slot: number): void {
    const open = this.#open.get(envelopeId);
    if (open === undefined || open.answered.has(slot)) return;
    open.cancelled.add(slot);
    if (open.sentIn === undefined) {
      // It never left, and will not.
      this.#answerSlots(open, [slot], "aborted", "not_run");
    } else {
      const message = [
        "cancel",
        this.#clientId,
        open.sentIn,
        [],
        envelopeId,
        open.slots?.indexOf(slot) ?? slot,
      ] as const;
      // Without this message, the answer comes when it comes.
      this.#connection.post(message, open.ended.signal).catch(() => undefined);
    }
  }

  hold(): void {
    // Requests in flight keep the process alive, and idle connections do not.
  }

  onLost(listener: (reason: string) => void): void {
    void this.#lost.promise.then(listener);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const { ended } of this.#open.values()) ended.abort();
    this.#lost.resolve("the remote store is closed");
    // Frees what the server keeps for this client; by itself it does so after a minute.
    const tooLong = new AbortController();
    const timer = realTime.setTimeout(() => tooLong.abort(), 1_000);
    if (this.#session !== undefined)
      await this.#connection.post(["bye", this.#clientId], tooLong.signal).catch(() => undefined);
    realTime.clearTimeout(timer);
    this.#connection.close();
  }

  /** Sends an envelope until it is answered. */
  async #carry(open: Open): Promise<void> {
    const [id] = open.envelope;
    for (let attempt = 0; !open.ended.signal.aborted && open.answered.size < open.units; attempt++) {
      if (attempt > 0) await sleep(pauseAfter(attempt), { signal: open.ended.signal });
      try {
        if (await this.#attempt(open)) break;
      } catch (error) {
        if (error instanceof StoreError) this.#refuse(open, error);
        else if (!(error instanceof Unreachable)) throw error;
      }
    }
    this.#open.delete(id);
    if (open.sentIn !== undefined) this.#answered.add(id);
  }

  /** Sends an envelope once. Returns true when nothing more will come. Fails with Unreachable when it was cut off. */
  async #attempt(open: Open): Promise<boolean> {
    const session = await this.#sessionNow(open.ended.signal);
    if (open.ended.signal.aborted || open.answered.size === open.units) return true;
    if (open.sentIn !== undefined && open.sentIn !== session) {
      // Its session is over: it may have run in it.
      this.#lose(open, (slot) => open.cancelled.has(slot) || !isRepeatable(open.envelope, slot));
      open.have = 0;
      open.slots = undefined;
    } else if (open.forgottenIn === session) this.#lose(open, () => true);
    if (open.answered.size === open.units) return true;
    open.slots ??= remainingSlots(open);
    const sent = part(open.envelope, open.slots);
    const confirmed = [...this.#answered];
    const wasSentIn = open.sentIn;
    const message = ["call", this.#clientId, session, confirmed, sent, open.have] as const;
    const frames = this.#connection.stream(message, open.ended.signal, open.waits, () => {
      open.sentIn = session;
    });
    for await (const frame of frames as AsyncIterable<ServerFrame>) {
      this.heardAtMs = realTime.elapsed();
      for (const known of confirmed) this.#answered.delete(known);
      switch (frame[0]) {
        case "part":
        case "last":
          open.have++;
          this.#receive(open, frame[1]);
          if (frame[0] === "last") return true;
          break;
        case "refused":
          open.receiver.refuse(frame[1][1]);
          for (let slot = 0; slot < open.units; slot++) open.answered.add(slot);
          return true;
        case "forgotten":
          // In a session that was over already, it has not run.
          open.sentIn = wasSentIn;
          if (this.#session !== undefined && (await this.#session) === session) this.#session = undefined;
          if (wasSentIn === session) open.forgottenIn = session;
          return false;
        case "again":
          open.sentIn = undefined;
          open.slots = undefined;
          open.have = 0;
          this.#session = undefined;
          return false;
      }
    }
    throw new Unreachable("the answer was cut off");
  }

  #receive(open: Open, [epoch, commitSeq, answers, slots]: Reply): void {
    const sent = open.slots as readonly number[];
    const whole = slots === undefined ? sent : slots.map((slot) => sent[slot] as number);
    for (const slot of whole) open.answered.add(slot);
    const isAll = slots === undefined && sent.length === open.units;
    open.receiver.receive(isAll ? [epoch, commitSeq, answers] : [epoch, commitSeq, answers, whole]);
  }

  /** Answers the calls that are not answered with what the server says of all of them. */
  #refuse(open: Open, error: StoreError): void {
    const outcome = open.sentIn === undefined ? "not_run" : "unknown";
    this.#answerSlots(open, remainingSlots(open), error.code, outcome, error.message, error.details);
  }

  /** Gives calls up of which nobody knows whether they ran. A read has changed nothing, whether it ran or not. */
  #lose(open: Open, isLost: (slot: number) => boolean): void {
    const [, isAtomic] = open.envelope;
    const called = namesIn(open.envelope);
    for (const slot of remainingSlots(open).filter(isLost)) {
      const isRead = (isAtomic ? called : [called[slot] as string]).every(isReading);
      this.#answerSlots(open, [slot], "busy", isRead ? "not_run" : "unknown", lostMessage);
    }
  }

  #answerSlots(
    open: Open,
    slots: readonly number[],
    code: ErrorCode,
    outcome: Outcome,
    message?: string,
    details: StoreError["details"] = {},
  ): void {
    if (slots.length === 0) return;
    for (const slot of slots) open.answered.add(slot);
    const failure: WireFailure = [code, message ?? errorCodes[code].means, outcome, details];
    open.receiver.receive([0, 0, slots.flatMap(() => [false, failure]), slots]);
    if (open.answered.size === open.units) open.ended.abort();
  }

  /** Returns the session, after a `hello` if there is none. Repeats it until the server answers, or the signal fires. */
  async #sessionNow(signal?: AbortSignal): Promise<string> {
    this.#session ??= this.#hello();
    const session = this.#session;
    try {
      return await session;
    } catch (error) {
      if (this.#session === session) this.#session = undefined;
      if (signal?.aborted) return "";
      throw error;
    }
  }

  async #hello(): Promise<string> {
    const tooLong = new AbortController();
    const timer = realTime.setTimeout(() => tooLong.abort(), helloMs);
    try {
      const frames = this.#connection.stream(["hello", this.#clientId], tooLong.signal, false);
      for await (const frame of frames as AsyncIterable<ServerFrame>) {
        this.heardAtMs = realTime.elapsed();
        if (frame[0] !== "session") continue;
        this.serverLimits = frame[2];
        return frame[1];
      }
    } finally {
      realTime.clearTimeout(timer);
    }
    throw new Unreachable("the server has answered nothing");
  }
}

const lostMessage = "the server was started anew or has forgotten this client while the call was on its way";

function pauseAfter(attempt: number): number {
  const pauseMs = Math.min(pauseMsMax, pauseMsMin * 2 ** Math.min(attempt - 1, 10));
  // Clients that lost one server do not come back at the same moment.
  return pauseMs * (0.5 + Math.random() / 2);
}

/** The slots that are not answered. */
function remainingSlots({ units, answered }: Open): readonly number[] {
  return Array.from({ length: units }, (_, slot) => slot).filter((slot) => !answered.has(slot));
}

/** Returns the envelope with some of its calls. */
function part([id, isAtomic, calls]: Envelope, slots: readonly number[]): Envelope {
  if (isAtomic || slots.length === calls.length / callWidth) return [id, isAtomic, calls];
  return [id, isAtomic, slots.flatMap((slot) => calls.slice(slot * callWidth, (slot + 1) * callWidth))];
}
