// The session of one client of a remote store: takes its messages once and in their order, through a port of its own, so
// that it is bounded and served in its turn as any thread is, and keeps the answers until the client has them.
import { randomUUID } from "node:crypto";
import { StoreError, toWireFailure, type WireFailure } from "../errors.ts";
import { unpack } from "../packed.ts";
import { realTime } from "../realTime.ts";
import { encodeFrame } from "../remote/frames.ts";
import { beatMs, type ClientMessage, type OverReason, type ServerFrame } from "../remote/protocol.ts";
import { type Answer, type Backend, callWidth, type Envelope, type Reply } from "../wire.ts";
import { operationScopes } from "./access.ts";
import type { CallMeter, MeteredCode, MeteredName } from "./callMeter.ts";
import type { Identity } from "./identity.ts";
import { operationNamed, ownCall } from "./remoteCalls.ts";

/** The time after which a client that neither posts nor listens is forgotten, and its waits are ended, in milliseconds. */
const [idleMs, abandonedMs] = [60_000, 10_000];
/** The answers that are kept for a client, in bytes. Those to the calls that it may have in flight can be as large. */
const keptBytesMax = 128 * 1024 * 1024;
/** The size from which on the answers of an envelope are sent in parts, in bytes. */
const partBytes = 4 * 1024 * 1024;

/** An envelope that is not answered yet. */
interface Running {
  readonly units: number;
  /** True for a call that may be parked. */
  readonly waits: boolean;
  readonly isAtomic: boolean;
  /** The names under which its units are counted. */
  readonly names: readonly MeteredName[];
  readonly startedMs: number;
  /** The number of units that are answered. */
  answered: number;
  /** True when the client has asked to drop a call of it. */
  isCancelled: boolean;
}

interface Kept {
  readonly number: number;
  readonly frame: Uint8Array;
}

interface SessionOptions {
  readonly scopes: string;
  readonly closing: AbortSignal | undefined;
  /** Counts the calls. */
  readonly meter: CallMeter;
  /** Receives the number of bytes that are kept in addition, or fewer of them. */
  readonly onKept: (bytes: number) => void;
  readonly onOver: () => void;
}

export class RemoteSession {
  readonly id: string = randomUUID();
  readonly scopes: string;
  readonly #backend: Backend;
  readonly #options: SessionOptions;
  readonly #running = new Map<number, Running>();
  #nextMessage = 1;
  #nextAnswer = 1;
  #kept: Kept[] = [];
  keptBytes = 0;
  /** The listener that is connected. */
  #listener: Listener | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  #abandonTimer: NodeJS.Timeout | undefined;
  #over: OverReason | undefined;

  constructor(backend: Backend, options: SessionOptions) {
    this.#backend = backend;
    this.#options = options;
    this.scopes = options.scopes;
    backend.onLost(() => this.end("gone"));
    this.#watch();
  }

  get isOver(): boolean {
    return this.#over !== undefined;
  }

  /** Takes the messages that it does not have, the first of which has this number. */
  post(first: number, messages: readonly ClientMessage[], identity: Identity, heard: number): ServerFrame {
    this.#watch();
    this.#forget(heard);
    // A gap cannot be: a client posts one request after the other.
    if (first > this.#nextMessage) this.end("gone");
    if (this.#over !== undefined) return ["over", this.#over];
    if (this.#options.closing?.aborted) return ["over", "ending"];
    for (const message of messages.slice(this.#nextMessage - first)) {
      this.#nextMessage++;
      if (message[1] === "cancel") this.#cancel(message[0], message[2]);
      else this.#run(message, identity);
    }
    return ["taken", this.#nextMessage];
  }

  /** Returns the answers behind a number as a stream that goes on. Another one that is connected ends. */
  listen(heard: number, identify: () => Promise<Identity>): ReadableStream<Uint8Array> {
    this.#listener?.end();
    this.#forget(heard);
    const verify = async () => {
      try {
        const { scopes } = await identify();
        if (scopes.toSorted().join(" ") !== this.scopes) this.end("gone");
      } catch (error) {
        // A token that was revoked; its client learns so with its next request.
        if (!(error instanceof StoreError) || !error.retryable) this.end("gone");
      }
    };
    const listener: Listener = new Listener(
      this.#kept.map(({ frame }) => frame),
      () => void verify(),
      () => {
        if (this.#listener !== listener) return;
        this.#listener = undefined;
        this.#watch();
      },
    );
    this.#listener = listener;
    this.#watch();
    this.#endIfDone();
    return listener.stream;
  }

  /** Ends the calls that wait, because the server ends. */
  endWaits(): void {
    for (const [id, { waits }] of this.#running) if (waits) this.#backend.cancel(id, 0);
    this.#endIfDone();
  }

  end(reason: OverReason): void {
    if (this.#over !== undefined) return;
    this.#over = reason;
    realTime.clearTimeout(this.#idleTimer);
    realTime.clearTimeout(this.#abandonTimer);
    this.#listener?.send(encodeFrame(["over", reason]));
    this.#listener?.end();
    this.#options.onKept(-this.keptBytes);
    this.keptBytes = 0;
    this.#kept = [];
    void this.#backend.close();
    this.#options.onOver();
  }

  #run([id, isAtomic, calls]: Envelope, identity: Identity): void {
    const units = isAtomic ? 1 : calls.length / callWidth;
    const waits = units === 1 && operationNamed(calls[0])?.waits === true;
    const names = isAtomic ? (["atomically"] as const) : calls.filter((_, at) => at % callWidth === 0).map(meteredName);
    const startedMs = realTime.elapsed();
    const running: Running = { units, waits, isAtomic, names, startedMs, answered: 0, isCancelled: false };
    this.#running.set(id, running);
    const own: unknown[] = [];
    const slots: number[] = [];
    for (let at = 0; at < calls.length; at += callWidth) {
      const slot = at / callWidth;
      try {
        own.push(...ownCall(calls.slice(at, at + callWidth), identity));
        slots.push(slot);
      } catch (error) {
        const failure = notRun(error instanceof StoreError ? error : malformed(), isAtomic ? { index: slot } : {});
        this.#answer(id, running, [0, 0, [false, failure], [isAtomic ? 0 : slot]]);
        // An atomic envelope has one answer.
        if (isAtomic) return;
      }
    }
    if (slots.length === 0) return;
    const isWhole = slots.length === calls.length / callWidth;
    this.#backend.send([id, isAtomic, own], {
      receive: ([epoch, commitSeq, answers, part]) => {
        const answered = part === undefined ? slots : part.map((index) => slots[index] as number);
        const isAll = isAtomic || (isWhole && part === undefined);
        this.#answer(id, running, isAll ? [epoch, commitSeq, answers] : [epoch, commitSeq, answers, answered]);
      },
      refuse: (reason) => {
        this.#running.delete(id);
        const failure = toWireFailure(new StoreError("invalid_input", reason));
        this.#count(
          running,
          names.flatMap(() => [false, failure]),
          undefined,
        );
        this.#add((number) => ["refused", number, id, failure]);
      },
    });
  }

  #cancel(id: number, slot: number): void {
    const running = this.#running.get(id);
    if (running === undefined) return;
    running.isCancelled = true;
    this.#backend.cancel(id, slot);
  }

  #answer(id: number, running: Running, [epoch, commitSeq, answers, slots]: Reply): void {
    const unpacked: unknown[] = [];
    for (let index = 0; index < answers.length; index += 2)
      unpacked.push(...unpack([answers[index], answers[index + 1]] as unknown as Answer));
    this.#count(running, unpacked, slots);
    running.answered += slots?.length ?? running.units;
    if (running.answered >= running.units) this.#running.delete(id);
    // A wait that the server has ended, and not its client, has not run.
    if (running.waits && !running.isCancelled && isAborted(unpacked)) this.#add((number) => ["again", number, id]);
    else {
      const reply: Reply = slots === undefined ? [epoch, commitSeq, unpacked] : [epoch, commitSeq, unpacked, slots];
      for (const part of running.isAtomic ? [reply] : partsOf(reply))
        this.#add((number) => ["reply", number, id, part]);
    }
    this.#endIfDone();
  }

  /** Counts the units that these answers are for. All answers of an atomic envelope are one. */
  #count({ names, startedMs }: Running, answers: readonly unknown[], slots: Reply[3]): void {
    const ms = realTime.elapsed() - startedMs;
    const units = Math.min(names.length, answers.length / 2);
    for (let unit = 0; unit < units; unit++) {
      const code = answers[2 * unit] === false ? (answers[2 * unit + 1] as WireFailure)[0] : "ok";
      this.#options.meter.count(names[slots?.[unit] ?? unit] ?? "none", code as MeteredCode, ms);
    }
  }

  #add(frameOf: (number: number) => ServerFrame): void {
    if (this.#over !== undefined) return;
    const number = this.#nextAnswer++;
    const frame = encodeFrame(frameOf(number));
    this.#kept.push({ number, frame });
    this.keptBytes += frame.byteLength;
    this.#listener?.send(frame);
    this.#options.onKept(frame.byteLength);
    if (this.keptBytes > keptBytesMax) this.end("overflow");
  }

  /** Forgets the answers up to a number, which the client has. */
  #forget(heard: number): void {
    const count = this.#kept.findIndex(({ number }) => number > heard);
    const forgotten = this.#kept.splice(0, count === -1 ? this.#kept.length : count);
    const bytes = forgotten.reduce((sum, { frame }) => sum + frame.byteLength, 0);
    this.keptBytes -= bytes;
    this.#options.onKept(-bytes);
  }

  /** A server that ends is done with a client once all is answered that it had taken. */
  #endIfDone(): void {
    if (!this.#options.closing?.aborted || this.#running.size > 0 || this.#listener === undefined) return;
    this.end("ending");
  }

  /** Ends the waits of a client that is away, so that none of them takes something for nobody, and later the session. */
  #watch(): void {
    realTime.clearTimeout(this.#idleTimer);
    realTime.clearTimeout(this.#abandonTimer);
    if (this.#listener !== undefined || this.#over !== undefined) return;
    this.#abandonTimer = realTime.setTimeout(() => {
      for (const [id, { waits }] of this.#running) if (waits) this.#backend.cancel(id, 0);
    }, abandonedMs);
    this.#idleTimer = realTime.setTimeout(() => this.end("gone"), idleMs);
    this.#abandonTimer.unref();
    this.#idleTimer.unref();
  }
}

/** A connected client: a stream of frames that goes on, with a beat when there is nothing to say. */
class Listener {
  readonly stream: ReadableStream<Uint8Array>;
  readonly #beat: NodeJS.Timeout;
  readonly #onGone: () => void;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;

  constructor(frames: readonly Uint8Array[], onBeat: () => void, onGone: () => void) {
    this.#onGone = onGone;
    this.stream = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller;
        // Tells a client, and proxies before it, at once that it is connected.
        for (const frame of [encodeFrame(["beat"]), ...frames]) controller.enqueue(frame);
      },
      cancel: () => this.#leave(),
    });
    this.#beat = realTime.setInterval(() => {
      this.send(encodeFrame(["beat"]));
      onBeat();
    }, beatMs);
    this.#beat.unref();
  }

  send(frame: Uint8Array): void {
    this.#controller?.enqueue(frame);
  }

  /** Ends the stream, after what was sent. */
  end(): void {
    this.#controller?.close();
    this.#leave();
  }

  #leave(): void {
    realTime.clearInterval(this.#beat);
    this.#controller = undefined;
    this.#onGone();
  }
}

/** Splits a reply that is large, so that a client can confirm what it has. Each part has one answer at least. */
function partsOf(reply: Reply): readonly Reply[] {
  const [epoch, commitSeq, answers, slots] = reply;
  const units = answers.length / 2;
  const parts: Reply[] = [];
  let [from, bytes] = [0, 0];
  for (let unit = 0; unit < units; unit++) {
    bytes += roughBytes(answers[2 * unit + 1]);
    if (bytes < partBytes && unit + 1 < units) continue;
    const some = Array.from({ length: unit + 1 - from }, (_, index) => slots?.[from + index] ?? from + index);
    parts.push([epoch, commitSeq, answers.slice(2 * from, 2 * unit + 2), some]);
    [from, bytes] = [unit + 1, 0];
  }
  return parts.length === 1 ? [reply] : parts;
}

/** Returns about the size of a value on its way. */
function roughBytes(value: unknown): number {
  if (typeof value === "string") return value.length;
  if (value instanceof Uint8Array) return value.byteLength;
  if (Array.isArray(value)) return value.reduce((sum: number, item) => sum + roughBytes(item), 8);
  return typeof value === "object" && value !== null ? roughBytes(Object.values(value)) : 8;
}

/** Returns the name of a call if there is an operation of it, so that a client cannot make up names that are counted. */
function meteredName(name: unknown): MeteredName {
  return typeof name === "string" && Object.hasOwn(operationScopes, name) ? (name as MeteredName) : "none";
}

function notRun(error: StoreError, more: StoreError["details"]): WireFailure {
  return toWireFailure(error, "not_run", { ...error.details, ...more });
}

const malformed = () => new StoreError("invalid_input", "the call cannot be sent");

function isAborted([ok, failure]: readonly unknown[]): boolean {
  return ok === false && Array.isArray(failure) && failure[0] === "aborted";
}

/** Returns a stream of one frame. */
export function only(frame: ServerFrame): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      controller.enqueue(encodeFrame(frame));
      controller.close();
    },
  });
}
