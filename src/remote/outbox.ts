// The messages of a client that its server has not confirmed, in their order. Within a session each has a number, by which the
// server takes it once, however often it is sent.
import { callWidth } from "../wire.ts";
import { encodeFrame } from "./frames.ts";
import type { OpenEnvelope } from "./openEnvelope.ts";
import type { ClientMessage } from "./protocol.ts";

/** Some calls of an envelope, as they are sent together. Fixed once they have been sent. */
export interface Parcel {
  readonly id: number;
  readonly open: OpenEnvelope;
  slots: readonly number[];
  /** The slots that were sent in no earlier session. */
  fresh: readonly number[];
}

interface Queued {
  readonly parcel: Parcel;
  /** The slot to cancel, by its index in the parcel; undefined for the parcel itself. */
  readonly cancel: number | undefined;
  /** The frame; undefined before it is sent for the first time in this session. */
  frame: Uint8Array | undefined;
  /** The number of requests that it was in. */
  requests: number;
}

export class Outbox {
  #queue: Queued[] = [];
  #nextId = 1;
  /** The number of the first queued message. */
  first = 1;

  get isEmpty(): boolean {
    return this.#queue.length === 0;
  }

  /** Adds the slots of an envelope to the end of the queue. */
  add(open: OpenEnvelope, slots: readonly number[]): void {
    if (slots.length > 0) this.#queue.push(this.#queued(open, slots));
  }

  /** Takes a slot out of a parcel that was not sent. Returns false when it may have been. */
  withdraw(open: OpenEnvelope, slot: number): boolean {
    const index = this.#queue.findIndex(
      ({ parcel, cancel, requests }) =>
        requests === 0 && cancel === undefined && parcel.open === open && parcel.slots.includes(slot),
    );
    if (index === -1) return false;
    const { parcel } = this.#queue[index] as Queued;
    parcel.slots = parcel.slots.filter((one) => one !== slot);
    if (parcel.slots.length === 0) this.#queue.splice(index, 1);
    return true;
  }

  /** Adds the request to drop a slot that was sent. */
  cancel(parcel: Parcel, slot: number): void {
    this.#queue.push({ parcel, cancel: parcel.slots.indexOf(slot), frame: undefined, requests: 0 });
  }

  /**
   * Returns the frames of the next request, of at most this size together, and the parcels that are in a request for the
   * first time. From now on its messages count as sent. A call that is larger by itself fails.
   */
  take(bytesMax: number): { readonly frames: readonly Uint8Array[]; readonly parcels: readonly Parcel[] } {
    const frames: Uint8Array[] = [];
    const parcels: Parcel[] = [];
    let bytes = 0;
    for (let at = 0; at < this.#queue.length; ) {
      const queued = this.#queue[at] as Queued;
      queued.frame ??= encodeFrame(messageOf(queued));
      if (queued.frame.byteLength > bytesMax && queued.requests === 0) {
        this.#queue.splice(at, 1, ...this.#split(queued.parcel, bytesMax));
        continue;
      }
      if (frames.length > 0 && bytes + queued.frame.byteLength > bytesMax) break;
      if (queued.requests++ === 0 && queued.cancel === undefined) {
        queued.parcel.fresh = queued.parcel.open.sent(queued.parcel.slots);
        parcels.push(queued.parcel);
      }
      frames.push(queued.frame);
      bytes += queued.frame.byteLength;
      at++;
    }
    return { frames, parcels };
  }

  /** Removes the messages before this number: the server has them. */
  confirm(next: number): void {
    const count = Math.min(Math.max(0, next - this.first), this.#queue.length);
    this.#queue.splice(0, count);
    this.first += count;
  }

  /** Takes back what has not run: messages that were in one request only, which the server has refused. */
  takeBackRefused(): void {
    this.#takeBack(({ requests }) => requests === 1);
  }

  /** Takes back what has not run: all messages that the server has not confirmed, as it has answered all that it took. */
  takeBackAll(): void {
    this.#takeBack(({ requests }) => requests > 0);
  }

  /** Empties the queue, for a new session. */
  clear(): void {
    this.#queue = [];
    this.first = 1;
  }

  #takeBack(which: (queued: Queued) => boolean): void {
    for (const queued of this.#queue.filter(which)) {
      queued.requests = 0;
      queued.frame = undefined;
      if (queued.cancel === undefined) queued.parcel.open.unsent(queued.parcel.fresh);
    }
  }

  /** Splits a parcel in two. A single call is too large for the server, and fails. */
  #split({ open, slots }: Parcel, bytesMax: number): Queued[] {
    const half = Math.ceil(slots.length / 2);
    if (slots.length > 1) return [slots.slice(0, half), slots.slice(half)].map((some) => this.#queued(open, some));
    const message = `the call is larger than the ${bytesMax} bytes that the server takes in one request`;
    open.fail(slots, "invalid_input", message);
    return [];
  }

  #queued(open: OpenEnvelope, slots: readonly number[]): Queued {
    return { parcel: { id: this.#nextId++, open, slots, fresh: [] }, cancel: undefined, frame: undefined, requests: 0 };
  }
}

function messageOf({ parcel, cancel }: Queued): ClientMessage {
  return cancel === undefined ? partOf(parcel) : [parcel.id, "cancel", cancel];
}

function partOf({ id, open, slots }: Parcel): ClientMessage {
  const [, isAtomic, calls] = open.envelope;
  if (isAtomic || slots.length === open.units) return [id, isAtomic, calls];
  return [id, isAtomic, slots.flatMap((slot) => calls.slice(slot * callWidth, (slot + 1) * callWidth))];
}
