// The messages between a client and its server. They are flat arrays, because structured clone copies the keys of every
// object again (D-008).
import type { WireFailure } from "./errors.ts";

/**
 * The caller: actor and request id, idempotency key and the hash of the request that the key stands for, the trace
 * context, and the token for which it calls. Undefined when the call names none of them. The first call of an atomic envelope carries the envelope's own key,
 * and its trace context.
 */
export type WireCaller =
  | readonly [
      actor?: string | undefined,
      requestId?: string | undefined,
      key?: string | undefined,
      request?: string | undefined,
      envelope?: WireEnvelopeKey,
      traceparent?: string | undefined,
      tokenId?: string | undefined,
    ]
  | undefined;

type WireEnvelopeKey = readonly [actor: string | undefined, key: string, request: string] | undefined;

/**
 * The calls that a client made in one tick. `calls` holds three values for each: operation name, input values in the
 * order of the operation's keys, caller. An atomic envelope runs as one unit, all or nothing.
 */
export type Envelope = readonly [id: number, atomic: boolean, calls: readonly unknown[]];

/** The number of values for each call in an envelope. */
export const callWidth = 3;

/**
 * The answers, two values for each call: true and the result, "packed" and the result in a buffer, or false and the
 * failure. A failed atomic envelope has one answer. With `slots` they are a part of the answers: those of the calls with
 * these indexes in the envelope. `epoch` grows with every start of the server, `commitSeq` with every group that wrote;
 * both only ever grow for one store.
 */
export type Reply = readonly [epoch: number, commitSeq: number, answers: readonly unknown[], slots?: readonly number[]];

/** The topics that a commit touched; "all" when they are not known. */
export type Touched = readonly string[] | "all";

/** The answer to a call. One that a reader thread has given is packed until it reaches the client. */
export type Answer =
  | readonly [ok: true, wire: unknown]
  | readonly [ok: "packed", bytes: Uint8Array]
  | readonly [ok: false, failure: WireFailure];

/** The receiver of what becomes of an envelope. Nothing comes after all of its calls are answered, or after a refusal. */
export interface Receiver {
  /** Receives all answers, or a part of them. */
  receive(reply: Reply): void;
  /** Receives the reason why the envelope was not accepted, so that none of its calls runs. */
  refuse(reason: string): void;
}

/** The other side as a client sees it, whatever thread, port or database lies behind it. */
export interface Backend {
  /**
   * Sends an envelope. Throws when the message cannot be sent. When the other side dies, `onLost` reports it, and the
   * receiver hears nothing.
   */
  send(envelope: Envelope, receiver: Receiver): void;
  /** Asks the other side to drop a call that has not run; the call is then answered with `aborted`. */
  cancel(envelopeId: number, slot: number): void;
  /** Keeps the caller's event loop alive while calls are in flight. */
  hold(busy: boolean): void;
  /** Calls the listener once, when no further reply can come. */
  onLost(listener: (reason: string) => void): void;
  close(): Promise<void>;
}
