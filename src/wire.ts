// What crosses from a client to the side that serves it, and back: flat arrays, because structured clone copies the keys of every object again (D-008).
import type { WireFailure } from "./errors.ts";

/**
 * Who asked: actor and request id; idempotency key and the hash of the request that it stands for. Undefined when the call names nothing of it.
 * The first call of an atomic envelope brings the envelope's own key along.
 */
export type WireCaller =
  | readonly [
      actor?: string | undefined,
      requestId?: string | undefined,
      key?: string | undefined,
      request?: string | undefined,
      envelope?: WireEnvelopeKey,
    ]
  | undefined;

export type WireEnvelopeKey = readonly [actor: string | undefined, key: string, request: string] | undefined;

/**
 * The calls that a client made in one tick. `calls` holds three values for each: operation name, input values in the order of the
 * operation's keys, caller. An atomic envelope runs as one unit, all or nothing.
 */
export type Envelope = readonly [id: number, atomic: boolean, calls: readonly unknown[]];

export const callWidth = 3;

/**
 * The answers, two values for each call: true and the result, or false and the failure. A failed atomic envelope has one answer.
 * `epoch` grows with every start of the serving side, `commitSeq` with every group that wrote; both only ever grow for one store.
 */
export type Reply = readonly [epoch: number, commitSeq: number, answers: readonly unknown[]];

/** What somebody has committed, by topic; "all" when it is not known. */
export type Touched = readonly string[] | "all";

export type Answer = readonly [ok: true, wire: unknown] | readonly [ok: false, failure: WireFailure];

/** What a client needs of the other side, whatever thread, port or database lies behind it. */
export interface Backend {
  /** Rejects only when the message itself could not be sent; a reply may never come when the other side dies, see `lost`. */
  send(envelope: Envelope): Promise<Reply>;
  /** Asks to drop a call that has not run; it is then answered with `aborted`. */
  cancel(envelopeId: number, slot: number): void;
  /** Keeps the caller's event loop alive while calls are under way. */
  hold(busy: boolean): void;
  /** Called once when no further reply can come. */
  onLost(listener: (reason: string) => void): void;
  close(): Promise<void>;
}
