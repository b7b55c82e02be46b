// Carries envelopes and their answers over a MessagePort, as flat arrays and without Comlink, whose proxies cost more
// than such a call (D-107). The other end of a served port is not trusted, so every message is checked (D-016).
import type { MessagePort } from "node:worker_threads";
import { StoreError, toWireFailure, type WireFailure } from "../errors.ts";
import { packedBuffers } from "../packed.ts";
import { realTime } from "../realTime.ts";
import { type Backend, callWidth, type Envelope, type Receiver, type Reply } from "../wire.ts";
import type { Inbox } from "./mailbox.ts";

/** The messages from a client. */
type ClientMessage = Envelope | readonly [envelopeId: number, cancel: "cancel", slot: number];
/** The messages to a client: all answers of an envelope, a part of them, or the reason why it was not accepted. */
type ServerMessage =
  | readonly [envelopeId: number, what: "last", reply: Reply]
  | readonly [envelopeId: number, what: "part", reply: Reply]
  | readonly [envelopeId: number, what: "refused", failure: WireFailure];

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
export function servePort(port: MessagePort, inbox: Inbox, { callsMax, onRefused, onCutOff }: Guard): void {
  const send = (message: ServerMessage): void =>
    port.postMessage(message, message[1] === "refused" ? [] : packedBuffers(message[2][2]));
  const turn = new Turn();
  let refused = 0;
  const refuse = (reason: string): void => {
    onRefused(reason);
    if (++refused !== refusedMax) return;
    onCutOff(refused);
    port.close();
  };
  const receive = (message: unknown): void => {
    turn.take(port, receive);
    // The rest of what arrived before the port was closed.
    if (refused >= refusedMax) return;
    const reason = whyRefused(message, callsMax);
    if (reason !== undefined) {
      // A message without an id cannot be answered.
      if (hasId(message)) send([message[0], "refused", refusalOf(reason)]);
      refuse(reason);
      return;
    }
    refused = 0;
    const [id, kind, content] = message as ClientMessage;
    if (kind === "cancel") inbox.cancel(id, content);
    else
      void inbox
        .post(message as Envelope, (part) => send([id, "part", part]))
        .then((reply) => send([id, "last", reply]));
  };
  port.on("message", receive);
  port.on("messageerror", () => refuse("a message that cannot be read"));
  port.on("close", () => inbox.disconnect());
}

/** Returns the backend of a client at the other end of a served port. */
export function portBackend(port: MessagePort): Backend {
  const receivers = new Map<number, Receiver>();
  const lost = Promise.withResolvers<string>();
  port.on("message", (message: ServerMessage) => {
    const receiver = receivers.get(message[0]);
    if (message[1] !== "part") receivers.delete(message[0]);
    if (message[1] === "refused") receiver?.refuse(message[2][1]);
    else receiver?.receive(message[2]);
  });
  port.once("close", () => lost.resolve("the port to the database thread is closed"));
  port.unref();
  return {
    send(envelope, receiver) {
      port.postMessage(envelope);
      receivers.set(envelope[0], receiver);
    },
    cancel: (envelopeId, slot) => port.postMessage([envelopeId, "cancel", slot] satisfies ClientMessage),
    hold: (busy) => (busy ? port.ref() : port.unref()),
    onLost: (listener) => void lost.promise.then(listener),
    async close() {
      port.close();
      await lost.promise;
    },
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

/** Returns why a message is refused, or undefined when it is an envelope, or cancels a call of one. */
function whyRefused(message: unknown, callsMax: number): string | undefined {
  if (!isClientMessage(message)) return "not an envelope, and not the cancellation of a call";
  // The length is checked before the contents, because a sparse array is cheap to send and takes forever to walk.
  return message[1] !== "cancel" && message[2].length > callsMax * callWidth
    ? `a message has at most ${callsMax} calls`
    : undefined;
}

function isClientMessage(value: unknown): value is ClientMessage {
  if (!hasId(value) || value.length !== 3) return false;
  const [, kind, content] = value;
  if (kind === "cancel") return Number.isSafeInteger(content);
  return typeof kind === "boolean" && Array.isArray(content) && content.length > 0 && content.length % callWidth === 0;
}

function hasId(value: unknown): value is readonly [number, ...unknown[]] {
  return Array.isArray(value) && Number.isSafeInteger(value[0]);
}

function refusalOf(reason: string): WireFailure {
  return toWireFailure(new StoreError("invalid_input", `refused: ${reason}`));
}
