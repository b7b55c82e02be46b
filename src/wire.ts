// The messages between a client and its server. They are flat arrays, because structured clone copies the keys of every
// object again (D-008). Their size is counted here too, so that both ends check the same limits against the same
// number.
import type { WireFailure } from "./errors.ts";

/**
 * The caller: actor and request id, idempotency key and the hash of the request that the key stands for. Undefined when
 * the call names none of them. The first call of an atomic envelope carries the envelope's own key.
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

type WireEnvelopeKey = readonly [actor: string | undefined, key: string, request: string] | undefined;

/**
 * The calls that a client made in one tick. `calls` holds three values for each: operation name, input values in the
 * order of the operation's keys, caller. An atomic envelope runs as one unit, all or nothing.
 */
export type Envelope = readonly [id: number, atomic: boolean, calls: readonly unknown[]];

/** The number of values for each call in an envelope. */
export const callWidth = 3;

/**
 * The answers, two values for each call: true and the result, or false and the failure. A failed atomic envelope has
 * one answer. `epoch` grows with every start of the server, `commitSeq` with every group that wrote; both only ever
 * grow for one store.
 */
export type Reply = readonly [epoch: number, commitSeq: number, answers: readonly unknown[]];

/** The topics that a commit touched; "all" when they are not known. */
export type Touched = readonly string[] | "all";

export type Answer = readonly [ok: true, wire: unknown] | readonly [ok: false, failure: WireFailure];

/** The other side as a client sees it, whatever thread, port or database lies behind it. */
export interface Backend {
  /** Rejects only when the message could not be sent. When the other side dies, `onLost` reports it; no reply comes. */
  send(envelope: Envelope): Promise<Reply>;
  /** Asks the other side to drop a call that has not run; the call is then answered with `aborted`. */
  cancel(envelopeId: number, slot: number): void;
  /** Keeps the caller's event loop alive while calls are in flight. */
  hold(busy: boolean): void;
  /** Calls the listener once, when no further reply can come. */
  onLost(listener: (reason: string) => void): void;
  close(): Promise<void>;
}

/** Estimates the size of a call in memory. The client packs messages by it, and the mailbox checks it again. */
export function callBytes(name: unknown, wire: unknown, caller: unknown, max = Number.POSITIVE_INFINITY): number {
  return sizeOf([name, wire, caller], max, 0);
}

/** Returns the sum of `callBytes` over an envelope. Stops counting beyond `max`. */
export function envelopeBytes(calls: readonly unknown[], max: number): number {
  let sum = 0;
  for (let at = 0; at < calls.length && sum <= max; at += callWidth)
    sum += callBytes(calls[at], calls[at + 1], calls[at + 2], max - sum);
  return sum;
}

/** The depth that no input reaches, because JSON values travel as text. */
const depthMax = 16;

/** Counts no further than `max`: a port may send a cyclic value or a sparse array, and neither has an end. */
function sizeOf(value: unknown, max: number, depth: number): number {
  if (typeof value === "string") return slotBytes + value.length;
  if (value instanceof Uint8Array) return slotBytes + value.byteLength;
  if (typeof value !== "object" || value === null) return slotBytes;
  const items: readonly unknown[] = Array.isArray(value) ? value : Object.values(value);
  if (depth > depthMax || items.length * slotBytes > max) return Number.POSITIVE_INFINITY;
  let sum = 2 * slotBytes;
  for (const item of items) {
    sum += sizeOf(item, max - sum, depth + 1);
    if (sum > max) break;
  }
  return sum;
}

/** Every value takes at least this much, so the length of an array is enough to know that it is too large. */
const slotBytes = 8;
