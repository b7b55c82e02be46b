// Carries envelopes over a MessagePort with Comlink, which no other file knows. Comlink's protocol lets a peer walk any
// property path, and SET and CONSTRUCT the values there, so every message is checked before Comlink sees it (D-016).
import type { MessagePort, Transferable as NodeTransferable } from "node:worker_threads";
import { type Endpoint, expose, wrap } from "comlink";
import { StoreError, toWireFailure } from "../errors.ts";
import { realTime } from "../realTime.ts";
import { type Backend, callWidth, type Envelope, type Reply } from "../wire.ts";
import type { Inbox } from "./mailbox.ts";

/** The one argument of the one exposed function. */
type PortMessage = Envelope | readonly [envelopeId: number, cancel: "cancel", slot: number];
/** Answers of an envelope that is not answered as a whole yet. */
type PartMessage = readonly [envelopeId: number, part: Reply];
type Serve = (message: PortMessage) => Promise<Reply> | undefined;

interface Guard {
  /** The number of calls of one envelope. */
  readonly callsMax: number;
  /** Receives the reason why a message was refused. */
  onRefused(reason: string): void;
  /** Receives the number of messages that were refused one after the other before the port was closed for it. */
  onCutOff(refused: number): void;
}

/**
 * Serves an inbox at a port: the other end may post envelopes and cancel calls, and nothing else. A peer that sends
 * nothing that is accepted is cut off.
 */
export function servePort(port: MessagePort, inbox: Inbox, guard: Guard): void {
  const serve: Serve = (message) => {
    // A part is no answer of Comlink's, which has one for each call, so it is sent beside it.
    if (message[1] !== "cancel") return inbox.post(message, (part) => port.postMessage([message[0], part]));
    inbox.cancel(message[0], message[2]);
    return undefined;
  };
  port.on("close", () => inbox.disconnect());
  expose(serve, guardedEndpoint(port, guard));
}

/** Returns the backend of a client at the other end of a served port. */
export function portBackend(port: MessagePort): Backend {
  const parts = new Map<number, (part: Reply) => void>();
  const remote = wrap<Serve>(
    endpointOf(port, (data) => {
      if (!Array.isArray(data)) return true;
      const [envelopeId, part] = data as unknown as PartMessage;
      parts.get(envelopeId)?.(part);
      return false;
    }),
  );
  const lost = Promise.withResolvers<string>();
  port.once("close", () => lost.resolve("the port to the database thread is closed"));
  port.unref();
  return {
    async send(envelope, onPart) {
      const [id] = envelope;
      parts.set(id, onPart);
      try {
        return (await remote(envelope)) as Reply;
      } finally {
        parts.delete(id);
      }
    },
    cancel: (envelopeId, slot) => void remote([envelopeId, "cancel", slot]),
    hold: (busy) => (busy ? port.ref() : port.unref()),
    onLost: (listener) => void lost.promise.then(listener),
    async close() {
      port.close();
      await lost.promise;
    },
  };
}

type Listener = (event: { data: unknown }) => void;

/**
 * Adapts a port of node:worker_threads to Comlink's endpoint. Messages that `accepts` rejects do not reach Comlink. With
 * a `turn`, a flood of messages is received in turns.
 */
function endpointOf(port: MessagePort, accepts: (data: unknown) => boolean, turn?: Turn): Endpoint {
  const listeners = new Map<unknown, (data: unknown) => void>();
  return {
    postMessage: (message: unknown, transfer?: readonly unknown[]) =>
      port.postMessage(message, transfer as NodeTransferable[]),
    addEventListener: (_type, listener) => {
      const deliver = (data: unknown): void => {
        turn?.take(port, deliver);
        if (accepts(data)) (listener as unknown as Listener)({ data });
      };
      listeners.set(listener, deliver);
      port.on("message", deliver);
    },
    removeEventListener: (_type, listener) => {
      const deliver = listeners.get(listener);
      if (deliver !== undefined) port.off("message", deliver);
      listeners.delete(listener);
    },
    start: () => port.start(),
  };
}

/**
 * Bounds the messages that a port delivers in one turn of the event loop. By itself, Node delivers all that have arrived,
 * and nobody else is served meanwhile (D-103).
 */
class Turn {
  #messages = 0;
  #startedMs = 0;

  /** Counts a message. After the last one of a turn, the listener hears nothing until the event loop has turned. */
  take(port: MessagePort, listener: (data: unknown) => void): void {
    if (this.#messages++ === 0) {
      this.#startedMs = realTime.elapsed();
      realTime.setImmediate(() => {
        if (this.#messages === Number.POSITIVE_INFINITY) port.on("message", listener);
        this.#messages = 0;
      });
    } else if (this.#messages >= turnMessagesMax || realTime.elapsed() - this.#startedMs >= turnMs) {
      this.#messages = Number.POSITIVE_INFINITY;
      // Without a listener a port stops, also within the messages that it is delivering, and keeps the others.
      port.off("message", listener);
    }
  }
}

/** The bounds of a turn. An ordinary client sends a few messages in a turn. */
const [turnMessagesMax, turnMs] = [64, 2];

/** The number of refused messages, one after the other, after which a peer is cut off. The client sends none. */
const refusedMax = 100;

/** Adapts a port whose other end is not trusted: a message that is not allowed is answered with a refusal. */
function guardedEndpoint(port: MessagePort, { callsMax, onRefused, onCutOff }: Guard): Endpoint {
  let refused = 0;
  const refuse = (reason: string): void => {
    onRefused(reason);
    if (++refused !== refusedMax) return;
    onCutOff(refused);
    port.close();
  };
  port.on("messageerror", () => refuse("a message that cannot be read"));
  return endpointOf(
    port,
    (data) => {
      // The rest of what arrived before the port was closed.
      if (refused >= refusedMax) return false;
      const reason = whyRefused(data, callsMax);
      if (reason === undefined) {
        refused = 0;
        return true;
      }
      answerRefusal(port, data, reason);
      refuse(reason);
      return false;
    },
    new Turn(),
  );
}

/** Returns why a message is refused, or undefined when it calls the exposed function with an envelope. */
function whyRefused(data: unknown, callsMax: number): string | undefined {
  if (!hasMessageId(data)) return "not a message of this protocol";
  // String(type) would throw for an object whose toString is not a function.
  if (data.type !== "APPLY")
    return `${typeof data.type === "string" ? data.type.slice(0, 20) : typeof data.type} is not allowed, only APPLY`;
  if (!Array.isArray(data.path) || data.path.length !== 0) return "there is only one function, and no path";
  const list = data.argumentList;
  if (!Array.isArray(list) || list.length !== 1 || !isRecord(list[0]) || list[0].type !== "RAW")
    return "one plain argument is expected";
  const { value } = list[0];
  if (!isPortMessage(value)) return "the argument is not an envelope";
  // The length is checked before the contents, because a sparse array is cheap to send and takes forever to walk.
  return value[1] !== "cancel" && value[2].length > callsMax * callWidth
    ? `a message has at most ${callsMax} calls`
    : undefined;
}

function isPortMessage(value: unknown): value is PortMessage {
  if (!Array.isArray(value) || value.length !== 3 || !Number.isSafeInteger(value[0])) return false;
  const [, kind, content] = value;
  if (kind === "cancel") return Number.isSafeInteger(content);
  return typeof kind === "boolean" && Array.isArray(content) && content.length > 0 && content.length % callWidth === 0;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Checks whether a message has an id, without which it cannot be answered. */
function hasMessageId(data: unknown): data is Record<string, unknown> & { readonly id: string } {
  return isRecord(data) && typeof data.id === "string" && data.id.length <= 100;
}

/** Answers in Comlink's own form for a thrown value, so that the sender's call rejects instead of waiting forever. */
function answerRefusal(port: MessagePort, data: unknown, reason: string): void {
  if (!hasMessageId(data)) return;
  const value = toWireFailure(new StoreError("invalid_input", `refused: ${reason}`));
  port.postMessage({ id: data.id, type: "HANDLER", name: "throw", value: { isError: false, value } });
}
