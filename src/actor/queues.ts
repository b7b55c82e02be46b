// The order in which calls run: the queues of every client, by lane, and the groups that are taken from them. Turns go by
// the time that was used, not by the number of calls (D-012).

import type { Limits } from "../limits.ts";
import type { Lane } from "../operation.ts";
import { realTime } from "../realTime.ts";
import { byLane, type Client, type Entry, type Flow, noteWaits, uncount } from "./entry.ts";
import { Fifo } from "./fifo.ts";

// Turns
//
// Each client has a virtual time, which grows with the time that its calls use. The client with the least of it is next.
// A client that had nothing to do begins at the virtual time of the client that was next, so nobody saves up time. The
// three lanes of a client take turns among themselves: next is the one whose call would end at the least virtual time. At
// equal times the urgent lane goes first, so a heartbeat that comes now and then does not wait behind its client's other
// calls; a flood of heartbeats gets half of the client's time as long as normal calls wait. The background lane gets a
// ninth.
//
// The time that a call needs is known when it has run. Until then its client is charged what its calls have needed of
// late, and the difference afterwards.

export class Queues {
  readonly #clients = new Set<Client>();
  /** The virtual time of the client that was first in the last group. */
  #virtualMs = 0;

  get clients(): number {
    return this.#clients.size;
  }

  /** The number of calls that are queued, running or parked. */
  get calls(): number {
    let calls = 0;
    for (const client of this.#clients) calls += client.calls;
    return calls;
  }

  /** The number of entries in the queues, by lane. */
  get lengths(): Record<Lane, number> {
    const clients = [...this.#clients];
    return byLane((lane) => clients.reduce((sum, { lanes }) => sum + lanes[lane].queue.size, 0));
  }

  /** Returns the fill level of the fullest client's queue, from 0 to 1. */
  fullness({ queueCalls, queueBytes }: Limits): number {
    let fullest = 0;
    for (const { calls, bytes } of this.#clients) fullest = Math.max(fullest, calls / queueCalls, bytes / queueBytes);
    return fullest;
  }

  connect(mayCall: Client["mayCall"]): Client {
    const client: Client = {
      lanes: byLane(() => ({ queue: new Fifo<Entry>(), virtualMs: 0 })),
      envelopes: new Map(),
      mayCall,
      virtualMs: 0,
      laneVirtualMs: 0,
      costMs: firstCostMs,
      ordinary: new Map(),
      calls: 0,
      bytes: 0,
      parked: 0,
    };
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
    const { client } = entry;
    const flow = client.lanes[entry.lane];
    // Time that was not used is not saved up. A debt is not kept for long either: its call is over.
    if (!hasWork(client)) {
      const latest = this.#virtualMs + debtMsMax;
      client.virtualMs = Math.min(Math.max(client.virtualMs, this.#virtualMs), latest);
    }
    if (flow.queue.size === 0) flow.virtualMs = Math.max(flow.virtualMs, client.laneVirtualMs);
    entry.place = "queue";
    entry.queuedAtMs = realTime.elapsed();
    flow.queue.push(entry);
    noteWaits(entry, 1);
  }

  /**
   * Ends a group: puts its entries that did not run back to the head of their client's lanes, in the order that they had
   * in it.
   */
  endGroup(unrun: readonly Entry[]): void {
    for (const entry of unrun) this.settleCost(entry, 0);
    const remaining = unrun.filter(({ done }) => !done);
    for (const entry of remaining) entry.place = "queue";
    for (const [{ lanes }, entriesOfClient] of Map.groupBy(remaining, ({ client }) => client)) {
      for (const [lane, entriesOfLane] of Map.groupBy(entriesOfClient, (entry) => entry.lane))
        lanes[lane].queue.putBack(entriesOfLane);
    }
  }

  hasWork(): boolean {
    for (const client of this.#clients) if (hasWork(client)) return true;
    return false;
  }

  /**
   * Takes a group. `prepare` decodes the calls of an entry whose turn it is; an entry for which it returns false was
   * answered. A background entry is the last of its group. The results of one client have at most
   * `limits.resultBytes` in a group, unless it is one entry; the rest waits for the next group.
   */
  take(
    { groupCalls, groupMs, resultBytes }: Pick<Limits, "groupCalls" | "groupMs" | "resultBytes">,
    prepare: (entry: Entry) => boolean,
  ): Entry[] {
    const group: Entry[] = [];
    const results = new Map<Client, number>();
    const active = [...this.#clients].filter(hasWork).sort((a, b) => a.virtualMs - b.virtualMs);
    this.#virtualMs = active[0]?.virtualMs ?? this.#virtualMs;
    let plannedMs = 0;
    let lastMs = realTime.elapsed();
    while (active.length > 0 && group.length < groupCalls && plannedMs <= plannedGroups * groupMs) {
      const client = active.shift() as Client;
      const lane = nextLane(client);
      if (lane === undefined) continue;
      const flow = client.lanes[lane];
      const entry = flow.queue.head as Entry;
      client.laneVirtualMs = flow.virtualMs;
      const isAccepted = prepare(entry);
      const nowMs = realTime.elapsed();
      entry.spentMs += nowMs - lastMs;
      plannedMs += nowMs - lastMs;
      lastMs = nowMs;
      if (isAccepted) {
        const resultsSoFar = results.get(client);
        // It keeps its place, and its client takes no further part in this group.
        if (resultsSoFar !== undefined && entry.resultBytes > 0 && resultsSoFar + entry.resultBytes > resultBytes)
          continue;
        if (entry.resultBytes > 0) results.set(client, (resultsSoFar ?? 0) + entry.resultBytes);
        entry.place = "group";
        entry.chargedMs = client.costMs;
        charge(client, lane, entry.chargedMs);
        plannedMs += entry.chargedMs;
        group.push(entry);
      } else {
        this.settleCost(entry, 0);
        uncount(entry);
      }
      flow.queue.shift();
      if (lane === "background" && isAccepted) break;
      insertByTime(active, client);
    }
    return group;
  }

  /** Charges an entry's client for what it used, and no longer for what was expected. `runMs` is 0 if it did not run. */
  settleCost(entry: Entry, runMs: number): void {
    const { client, lane, spentMs, chargedMs } = entry;
    // A pause of the thread hits some call that does not deserve it. What a client often needs, it soon pays in full.
    const usedMs = Math.min(spentMs + runMs, outlierCosts * client.costMs + outlierMs);
    charge(client, lane, usedMs - chargedMs);
    if (runMs > 0) client.costMs += (usedMs - client.costMs) * costWeight;
    entry.spentMs = 0;
    entry.chargedMs = 0;
  }
}

/** The share of each lane in the time of its client. */
const shares: Readonly<Record<Lane, number>> = { urgent: 4, normal: 4, background: 1 };
const lanesByRank = ["urgent", "normal", "background"] as const;

/** The expected time of a client's first call. */
const firstCostMs = 0.1;
/** The weight of the last call in the expected time of the next. */
const costWeight = 0.1;
/** The most that one call is charged: a multiple of the expected time, and some milliseconds. */
const [outlierCosts, outlierMs] = [10, 1];
/** The longest time by which a client that comes back is behind others for what it used before. */
const debtMsMax = 100;
/** The number of `groupMs` that a group is filled for; the driver ends it at the first. Expected times are not exact. */
const plannedGroups = 2;

function charge(client: Client, lane: Lane, ms: number): void {
  client.virtualMs += ms;
  client.lanes[lane].virtualMs += ms / shares[lane];
}

function hasWork({ lanes }: Client): boolean {
  return lanes.urgent.queue.size + lanes.normal.queue.size + lanes.background.queue.size > 0;
}

/** Returns the lane of a client whose turn it is, after dropping entries that are done; undefined when all are empty. */
function nextLane({ lanes, costMs }: Client): Lane | undefined {
  let next: Lane | undefined;
  let endsFirstMs = Number.POSITIVE_INFINITY;
  for (const lane of lanesByRank) {
    const { queue, virtualMs } = lanes[lane];
    dropDone(queue);
    const endsMs = virtualMs + costMs / shares[lane];
    if (queue.size === 0 || endsMs >= endsFirstMs) continue;
    next = lane;
    endsFirstMs = endsMs;
  }
  return next;
}

/** Removes the entries at the head of a queue that were answered or dropped in it. */
function dropDone(queue: Flow["queue"]): void {
  while (queue.head?.done) uncount(queue.shift() as Entry);
}

/** Inserts a client behind those with the same virtual time or less. */
function insertByTime(clients: Client[], client: Client): void {
  let at = clients.length;
  while (at > 0 && (clients[at - 1] as Client).virtualMs > client.virtualMs) at--;
  clients.splice(at, 0, client);
}
