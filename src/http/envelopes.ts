// Serves remote stores: each client has a port of its own to the store, so that it is checked, bounded and served in its
// turn as any other thread is. Answers are kept until the client has them, so that an envelope that is sent again after a
// cut runs once.
import { randomUUID } from "node:crypto";
import type { MessagePort } from "node:worker_threads";
import { z } from "zod";
import { portBackend } from "../actor/ports.ts";
import { StoreError, toWireFailure } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { operations } from "../operations/table.ts";
import { unpack } from "../packed.ts";
import { realTime } from "../realTime.ts";
import { encodeFrame, FrameReader, framesType } from "../remote/frames.ts";
import type { ClientFrame, ServerFrame } from "../remote/protocol.ts";
import type { ConnectOptions } from "../storeTypes.ts";
import { type Answer, type Backend, callWidth, type Envelope, type Reply } from "../wire.ts";
import { type OperationName, operationsOf } from "./access.ts";
import { asCaller, type Identity } from "./identity.ts";
import { readBody } from "./request.ts";

/** A store that can give a client a port of its own. */
export interface ConnectingStore {
  readonly limits?: Limits;
  connect(options?: ConnectOptions): MessagePort;
}

/** The time after which a client that sends nothing is forgotten, and a call that nobody waits for is dropped. */
const idleMs = 60_000;
const abandonedMs = 10_000;
/** The bounds of what is kept. */
const clientsMax = 10_000;
const keptBytesMax = 64 * 1024 * 1024;

export class RemoteClients {
  readonly #store: ConnectingStore;
  readonly #closing: AbortSignal | undefined;
  readonly #clients = new Map<string, RemoteClient>();

  constructor(store: ConnectingStore, closing: AbortSignal | undefined) {
    this.#store = store;
    this.#closing = closing;
    closing?.addEventListener("abort", () => this.#end(), { once: true });
  }

  /** Answers one message of a client. Fails with `invalid_input` when it is none. */
  async handle(request: Request, identity: Identity, bytesMax: number): Promise<Response> {
    const frame = parseFrame(await readBody(request, bytesMax));
    const [what, clientId] = frame;
    // Nobody gets the answers of a client without its token.
    const key = `${clientId} ${identity.tokenId ?? identity.actor ?? ""}`;
    const known = this.#clients.get(key);
    if (what === "hello") {
      const { session } = known ?? this.#open(key, identity);
      return framesResponse(only(["session", session, this.#store.limits ?? {}]));
    }
    if (what === "bye") {
      known?.close();
      return framesResponse(null);
    }
    if (known === undefined || known.session !== frame[2]) return framesResponse(only(["forgotten"]));
    known.forget(frame[3]);
    if (what === "call") return framesResponse(known.call(frame[4], identity, frame[5]));
    known.cancel(frame[4], frame[5]);
    return framesResponse(null);
  }

  #open(key: string, { scopes }: Identity): RemoteClient {
    if (this.#clients.size >= clientsMax)
      throw new StoreError("overloaded", `${clientsMax} remote clients are served: close some`, {
        details: { retryAfterMs: 5_000 },
      });
    const isUnbounded = scopes.includes("admin");
    const port = this.#store.connect(isUnbounded ? {} : { operations: operationsOf(scopes) });
    const client = new RemoteClient(portBackend(port), this.#closing, () => this.#clients.delete(key));
    this.#clients.set(key, client);
    return client;
  }

  #end(): void {
    for (const client of this.#clients.values()) client.endWaits();
  }
}

/** An envelope that was received: the frames of its answer, and who waits for them. */
interface Received {
  readonly calls: number;
  readonly isAtomic: boolean;
  readonly waits: boolean;
  readonly frames: Buffer[];
  isDone: boolean;
  /** The client has asked to drop a call of it. */
  isCancelled: boolean;
  /** The number of calls that are answered. */
  answered: number;
  bytes: number;
  /** The connections that wait for its frames. */
  readonly waiting: Set<() => void>;
  abandonTimer: NodeJS.Timeout | undefined;
}

class RemoteClient {
  readonly session: string = randomUUID();
  readonly #backend: Backend;
  readonly #closing: AbortSignal | undefined;
  readonly #onClosed: () => void;
  readonly #received = new Map<number, Received>();
  /** The envelopes whose answers went although nobody has confirmed them. All others that are unknown never arrived. */
  readonly #evicted = new Set<number>();
  #bytes = 0;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(backend: Backend, closing: AbortSignal | undefined, onClosed: () => void) {
    this.#backend = backend;
    this.#closing = closing;
    this.#onClosed = onClosed;
    backend.onLost(() => this.#lose());
    this.#watchIdle();
  }

  /** Forgets the answers that the client has. */
  forget(envelopeIds: readonly number[]): void {
    this.#watchIdle();
    for (const id of envelopeIds) {
      const known = this.#received.get(id);
      if (known?.isDone) this.#drop(id, known);
    }
  }

  cancel(envelopeId: number, slot: number): void {
    const known = this.#received.get(envelopeId);
    if (known === undefined || known.isDone) return;
    known.isCancelled = true;
    this.#backend.cancel(envelopeId, slot);
  }

  /** Runs an envelope, unless it was received before, and returns the frames of its answer from `have` on. */
  call(envelope: Envelope, identity: Identity, have: number): ReadableStream<Uint8Array> {
    const [id] = envelope;
    if (this.#evicted.has(id)) return only(["forgotten"]);
    if (this.#closing?.aborted && !this.#received.has(id)) return only(["again"]);
    return this.#frames(this.#received.get(id) ?? this.#start(envelope, identity), id, have);
  }

  endWaits(): void {
    for (const [id, received] of this.#received) if (received.waits && !received.isDone) this.#backend.cancel(id, 0);
  }

  close(): void {
    realTime.clearTimeout(this.#idleTimer);
    void this.#backend.close();
    this.#onClosed();
  }

  #start(envelope: Envelope, identity: Identity): Received {
    const [id, isAtomic, calls] = envelope;
    const names = calls.filter((_, index) => index % callWidth === 0) as string[];
    const received: Received = {
      calls: names.length,
      isAtomic,
      waits: names.length === 1 && operationOf(names[0] as string)?.waits === true,
      frames: [],
      isDone: false,
      isCancelled: false,
      answered: 0,
      bytes: 0,
      waiting: new Set(),
      abandonTimer: undefined,
    };
    this.#received.set(id, received);
    try {
      const own = calls.length === 0 ? calls : callsOf(calls, identity);
      this.#backend.send([id, isAtomic, own], {
        receive: (reply) => this.#answer(received, reply),
        refuse: (reason) =>
          this.#add(received, ["refused", toWireFailure(new StoreError("invalid_input", reason))], true),
      });
    } catch (error) {
      const failure =
        error instanceof StoreError ? error : new StoreError("invalid_input", "the envelope cannot be sent");
      this.#add(received, ["refused", toWireFailure(failure)], true);
    }
    return received;
  }

  #answer(received: Received, reply: Reply): void {
    const [epoch, commitSeq, answers, slots] = reply;
    const unpacked: unknown[] = [];
    for (let index = 0; index < answers.length; index += 2)
      unpacked.push(...unpack([answers[index], answers[index + 1]] as unknown as Answer));
    const whole: Reply = slots === undefined ? [epoch, commitSeq, unpacked] : [epoch, commitSeq, unpacked, slots];
    received.answered += slots?.length ?? received.calls;
    const isLast = received.answered >= received.calls;
    // A wait that the end of this server has ended has not run.
    const isEnded = this.#closing?.aborted && received.waits && !received.isCancelled && isAborted(unpacked);
    this.#add(received, isEnded ? ["again"] : [isLast ? "last" : "part", whole], isLast);
  }

  #add(received: Received, frame: ServerFrame, isLast: boolean): void {
    const encoded = encodeFrame(frame);
    received.frames.push(encoded);
    received.bytes += encoded.byteLength;
    received.isDone = isLast;
    this.#bytes += encoded.byteLength;
    for (const wake of received.waiting) wake();
    if (isLast) this.#watchIdle();
    if (this.#bytes <= keptBytesMax) return;
    // The oldest answers that nobody has confirmed; who asks for one again learns that it is forgotten.
    for (const [id, known] of this.#received) {
      if (this.#bytes <= keptBytesMax) break;
      if (!known.isDone || known === received) continue;
      this.#drop(id, known);
      this.#evicted.add(id);
    }
  }

  #drop(id: number, received: Received): void {
    this.#received.delete(id);
    this.#bytes -= received.bytes;
    realTime.clearTimeout(received.abandonTimer);
  }

  /** Returns the frames of an answer as they come. A client that goes away before the last one may come back. */
  #frames(received: Received, id: number, have: number): ReadableStream<Uint8Array> {
    let next = have;
    let wake = (): void => undefined;
    const woken = (): void => wake();
    realTime.clearTimeout(received.abandonTimer);
    received.waiting.add(woken);
    const leave = (): void => {
      received.waiting.delete(woken);
      if (received.isDone || received.waiting.size > 0) return;
      received.abandonTimer = realTime.setTimeout(() => this.#cancelAll(id, received), abandonedMs);
      received.abandonTimer.unref();
    };
    return new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          if (next >= received.frames.length && !received.isDone)
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
          for (; next < received.frames.length; next++) controller.enqueue(received.frames[next] as Buffer);
          if (!received.isDone) return;
          leave();
          controller.close();
        },
        cancel: () => {
          leave();
          wake();
        },
      },
      { highWaterMark: 1 },
    );
  }

  #cancelAll(id: number, { isAtomic, calls }: Received): void {
    for (let slot = 0; slot < (isAtomic ? 1 : calls); slot++) this.#backend.cancel(id, slot);
  }

  /** A client that sends nothing and waits for nothing is forgotten. */
  #watchIdle(): void {
    realTime.clearTimeout(this.#idleTimer);
    this.#idleTimer = realTime.setTimeout(() => {
      if ([...this.#received.values()].some(({ isDone }) => !isDone)) this.#watchIdle();
      else this.close();
    }, idleMs);
    this.#idleTimer.unref();
  }

  /** The store has ended, or its database thread was replaced: what was not answered is unknown. */
  #lose(): void {
    for (const received of this.#received.values()) if (!received.isDone) this.#add(received, ["forgotten"], true);
    this.close();
  }
}

function operationOf(name: string) {
  const [entity = "", verb = ""] = name.split(".");
  const verbs = Object.hasOwn(operations, entity) ? operations[entity as keyof typeof operations] : {};
  return Object.hasOwn(verbs, verb)
    ? (verbs as Record<string, (typeof operations)["sessions"]["get"]>)[verb]
    : undefined;
}

/** Returns the calls as this sender may make them: under its own name, and with its own token where they name one. */
function callsOf(calls: readonly unknown[], identity: Identity): readonly unknown[] {
  const own: unknown[] = [];
  for (let at = 0; at < calls.length; at += callWidth) {
    const [name, wire, caller] = calls.slice(at, at + callWidth) as [OperationName, unknown, unknown];
    own.push(name, wireAsCaller(name, wire, identity), callerOf(caller, identity));
  }
  return own;
}

function wireAsCaller(name: OperationName, wire: unknown, identity: Identity): unknown {
  const keys = operationOf(name)?.keys;
  if (keys === undefined || !Array.isArray(wire) || wire.length > keys.length) return wire;
  const input = Object.fromEntries(keys.map((key, index) => [key, wire[index] as unknown]));
  const checked = asCaller(name, input, identity);
  return checked === input ? wire : keys.map((key) => checked[key]);
}

/** The name is the sender's own, also the one to which an idempotency key belongs. */
function callerOf(caller: unknown, { actor, scopes }: Identity): unknown {
  if (scopes.includes("admin") && (actor === undefined || (Array.isArray(caller) && caller[0] !== undefined)))
    return caller;
  if (!Array.isArray(caller)) return [actor];
  const [, requestId, key, request, envelope, traceparent] = caller as readonly unknown[];
  const own = Array.isArray(envelope) ? [actor, ...envelope.slice(1)] : envelope;
  return [actor, requestId, key, request, own, traceparent];
}

function isAborted([ok, failure]: readonly unknown[]): boolean {
  return ok === false && Array.isArray(failure) && failure[0] === "aborted";
}

const count = z.int().min(0);
const clientId = z.string().regex(/^[\w-]{16,64}$/);
const head = [clientId, z.string().max(64), z.array(count).max(100_000)] as const;
/** The calls of an envelope are checked where they arrive. */
const envelopeSchema = z.tuple([count, z.boolean(), z.array(z.unknown())]);
const clientFrame = z.union([
  z.tuple([z.literal("hello"), clientId]),
  z.tuple([z.literal("bye"), clientId]),
  z.tuple([z.literal("call"), ...head, envelopeSchema, count]),
  z.tuple([z.literal("cancel"), ...head, count, count]),
]);

/** Parses a message of a client. Fails with `invalid_input`. */
function parseFrame(body: Uint8Array): ClientFrame {
  const [value, ...others] = new FrameReader().read(body);
  const result = clientFrame.safeParse(value);
  if (!result.success || others.length > 0)
    throw new StoreError("invalid_input", "body: expected one message of a remote store");
  return result.data;
}

function only(frame: ServerFrame): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      controller.enqueue(encodeFrame(frame));
      controller.close();
    },
  });
}

function framesResponse(body: ReadableStream<Uint8Array> | null): Response {
  return new Response(body, {
    status: body === null ? 204 : 200,
    headers: { "content-type": framesType, "cache-control": "no-store", "x-accel-buffering": "no" },
  });
}
