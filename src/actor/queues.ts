// Who is next: the queues of every client, by lane, and the groups that are taken from them in turns.
import type { Limits } from "../limits.ts";
import type { Call, Lane } from "../operation.ts";
import type { Reply } from "../wire.ts";

/** An envelope that is not answered yet. */
export interface Pending {
  readonly id: number;
  readonly answers: unknown[];
  readonly entries: Entry[];
  missing: number;
  resolve(reply: Reply): void;
}

/** Calls that run as one: a single call, or all of an atomic envelope. */
export interface Entry {
  readonly client: Client;
  readonly pending: Pending;
  /** Where its answers belong in the envelope. */
  readonly slot: number;
  readonly calls: readonly Call[];
  readonly bytes: number;
  /** What its results may take until they are sent. */
  readonly resultBytes: number;
  /** Since when it waits for its turn; anew after it was parked. */
  queuedAtMs: number;
  /** When a call that finds nothing stops waiting; set when it is first parked. */
  parkUntilMs: number | undefined;
  /** It stands in a queue. */
  queued: boolean;
  /** Answered, or dropped with its client. */
  done: boolean;
}

export interface Client {
  readonly lanes: { readonly [Name in Lane]: Fifo<Entry> };
  readonly pending: Map<number, Pending>;
  readonly mayCall: (name: string) => boolean;
  /** Of entries that are queued, running or parked. */
  calls: number;
  bytes: number;
  resultBytes: number;
  parked: number;
}

export class Queues {
  readonly #clients = new Set<Client>();

  get clients(): number {
    return this.#clients.size;
  }

  /** Calls that were posted and not answered, whether they wait, run or are parked. */
  get calls(): number {
    let calls = 0;
    for (const client of this.#clients) calls += client.calls;
    return calls;
  }

  /** Entries that stand in queues. */
  get waiting(): Record<Lane, number> {
    const waiting = { urgent: 0, normal: 0, background: 0 };
    for (const { lanes } of this.#clients) {
      waiting.urgent += lanes.urgent.size;
      waiting.normal += lanes.normal.size;
      waiting.background += lanes.background.size;
    }
    return waiting;
  }

  /** Of the fullest client, of 1. */
  fullness({ queueCalls, queueBytes }: Limits): number {
    let fullest = 0;
    for (const { calls, bytes } of this.#clients) fullest = Math.max(fullest, calls / queueCalls, bytes / queueBytes);
    return fullest;
  }

  connect(mayCall: Client["mayCall"]): Client {
    const lanes = { urgent: new Fifo<Entry>(), normal: new Fifo<Entry>(), background: new Fifo<Entry>() };
    const client: Client = { lanes, pending: new Map(), mayCall, calls: 0, bytes: 0, resultBytes: 0, parked: 0 };
    this.#clients.add(client);
    return client;
  }

  disconnect(client: Client): void {
    this.#clients.delete(client);
  }

  has(client: Client): boolean {
    return this.#clients.has(client);
  }

  push(entry: Entry): void {
    entry.queued = true;
    entry.client.lanes[laneOf(entry)].push(entry);
  }

  /** Entries that were taken and not begun go first when it is their client's turn again: nobody passes them, and they hold up nobody else. */
  putBack(entries: readonly Entry[]): void {
    const waiting = entries.filter(({ done }) => !done);
    for (const entry of waiting) entry.queued = true;
    for (const [client, own] of Map.groupBy(waiting, ({ client }) => client)) {
      for (const [lane, some] of Map.groupBy(own, laneOf)) client.lanes[lane].putBack(some);
    }
  }

  hasWork(): boolean {
    for (const { lanes } of this.#clients)
      if (lanes.urgent.size + lanes.normal.size + lanes.background.size > 0) return true;
    return false;
  }

  /**
   * Urgent entries first, for at most half of the group; then the normal lane, and one background entry last (D-012).
   */
  take(max: number): Entry[] {
    const group: Entry[] = [];
    this.#takeInTurns("urgent", group, Math.ceil(max / 2));
    this.#takeInTurns("normal", group, max);
    this.#rotate();
    for (const { lanes } of this.#clients) {
      if (lanes.background.size === 0) continue;
      take(lanes.background, group);
      break;
    }
    return group;
  }

  /** One entry of each client, round by round. */
  #takeInTurns(lane: Lane, group: Entry[], max: number): void {
    let active = [...this.#clients].filter(({ lanes }) => lanes[lane].size > 0);
    while (group.length < max && active.length > 0) {
      for (const { lanes } of active) if (group.length < max) take(lanes[lane], group);
      active = active.filter(({ lanes }) => lanes[lane].size > 0);
    }
  }

  /** Who was first in turn is last next time. */
  #rotate(): void {
    const [head] = this.#clients;
    if (head === undefined) return;
    this.#clients.delete(head);
    this.#clients.add(head);
  }
}

/** Counted from the moment it is taken in until it is answered and stands in no queue. */
export function count({ client, calls, bytes, resultBytes }: Entry): void {
  client.calls += calls.length;
  client.bytes += bytes;
  client.resultBytes += resultBytes;
}

export function uncount({ client, calls, bytes, resultBytes }: Entry): void {
  client.calls -= calls.length;
  client.bytes -= bytes;
  client.resultBytes -= resultBytes;
}

/** Entries that were cancelled in the queue keep their place, and count, until they are met here. */
function take(from: Fifo<Entry>, group: Entry[]): void {
  const entry = from.shift();
  if (entry === undefined) return;
  entry.queued = false;
  if (entry.done) uncount(entry);
  else group.push(entry);
}

/** Parked before, it is one of its client's normal calls. */
export function laneOf({ calls, parkUntilMs }: Entry): Lane {
  return calls.length === 1 && parkUntilMs === undefined ? (calls[0] as Call).operation.lane : "normal";
}

/** A queue whose head is removed in constant time. */
class Fifo<Item> {
  #items: Item[] = [];
  #head = 0;

  get size(): number {
    return this.#items.length - this.#head;
  }

  push(item: Item): void {
    this.#items.push(item);
  }

  /** Back to the head, in their order. */
  putBack(items: readonly Item[]): void {
    this.#items = [...items, ...this.#items.slice(this.#head)];
    this.#head = 0;
  }

  shift(): Item | undefined {
    const item = this.#items[this.#head++];
    if (this.#head >= this.#items.length) {
      this.#items = [];
      this.#head = 0;
    } else if (this.#head > 1_024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}
