// The load of a client: the size of its calls, and the bounds of its queue. The client and the mailbox both check them,
// by the same measure.
import { types } from "node:util";
import { StoreError } from "./errors.ts";
import type { Limits } from "./limits.ts";
import { callWidth } from "./wire.ts";

/** A number of calls, and their size. */
interface Load {
  readonly calls: number;
  readonly bytes: number;
}

/**
 * Returns the error with which a client's queue refuses the added calls, or undefined when they fit. The client checks
 * before it sends, and the mailbox checks again, because a port is not trusted.
 */
export function overloadOf(
  queued: Load,
  added: Load,
  { queueCalls, queueBytes, groupCalls, groupMs }: Limits,
  operation?: string,
): StoreError | undefined {
  if (queued.calls + added.calls <= queueCalls && queued.bytes + added.bytes <= queueBytes) return undefined;
  const retryAfterMs = Math.ceil((queued.calls / groupCalls + 1) * groupMs);
  return new StoreError("overloaded", undefined, {
    details: { retryAfterMs, queuedCalls: queued.calls, queuedBytes: queued.bytes },
    operation,
  });
}

/** Estimates the size of a call in memory. The client packs messages by it, and the mailbox checks it again. */
export function callBytes(name: unknown, wire: unknown, caller: unknown, max = Number.POSITIVE_INFINITY): number {
  return sizeOf([name, wire, caller], max, 0);
}

/** Estimates the size of a result in memory. */
export function valueBytes(value: unknown): number {
  return sizeOf(value, Number.POSITIVE_INFINITY, 0);
}

/** Returns `callBytes` of each call of an envelope. Stops when their sum is beyond `max`. */
export function callSizes(calls: readonly unknown[], max: number): number[] {
  const sizes: number[] = [];
  let left = max;
  for (let at = 0; at < calls.length && left >= 0; at += callWidth) {
    const bytes = callBytes(calls[at], calls[at + 1], calls[at + 2], left);
    sizes.push(bytes);
    left -= bytes;
  }
  return sizes;
}

/**
 * Stops counting beyond `max`, because a port may send a cyclic value or a sparse array, and neither has an end. Bytes
 * count with the whole buffer below them, which is what arrives. Of other objects that no input contains, such as a Map,
 * the size cannot be seen, so it has no bound.
 */
function sizeOf(value: unknown, max: number, depth: number): number {
  if (typeof value === "string") return slotBytes + value.length;
  if (typeof value !== "object" || value === null) return slotBytes;
  const isList = Array.isArray(value);
  if (!isList) {
    if (types.isUint8Array(value)) return slotBytes + value.buffer.byteLength;
    if (types.isDate(value)) return slotBytes;
    if (Object.prototype.toString.call(value) !== "[object Object]") return Number.POSITIVE_INFINITY;
  }
  const items: readonly unknown[] = isList ? value : Object.values(value);
  if (depth > depthMax || items.length * slotBytes > max) return Number.POSITIVE_INFINITY;
  let sum = 2 * slotBytes;
  for (const item of items) {
    sum += sizeOf(item, max - sum, depth + 1);
    if (sum > max) break;
  }
  return sum;
}

/** The least size of a value, so that the length of an array can be enough to know that it is too large. */
const slotBytes = 8;
/** The depth that no input reaches, because JSON values travel as text. */
const depthMax = 16;
