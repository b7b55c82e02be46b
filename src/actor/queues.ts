// The order in which calls run: the queues of every client, by lane, and the groups that are taken from them in turns.

import type { Limits } from "../limits.ts";
import type { Lane } from "../operation.ts";
import { realTime } from "../realTime.ts";
import { byLane, type Client, type Entry, laneOf, uncount } from "./entry.ts";
import { Fifo } from "./fifo.ts";

export class Queues {
  /** The clients, in the order of their turns. */
  readonly #clients = new Set<Client>();

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
    return byLane((lane) => clients.reduce((sum, { queues }) => sum + queues[lane].size, 0));
  }

  /** Returns the fill level of the fullest client's queue, from 0 to 1. */
  fullness({ queueCalls, queueBytes }: Limits): number {
    let fullest = 0;
    for (const { calls, bytes } of this.#clients) fullest = Math.max(fullest, calls / queueCalls, bytes / queueBytes);
    return fullest;
  }

  connect(mayCall: Client["mayCall"]): Client {
    const queues = byLane(() => new Fifo<Entry>());
    const client: Client = { queues, envelopes: new Map(), mayCall, calls: 0, bytes: 0, resultBytes: 0, parked: 0 };
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
    entry.place = "queue";
    entry.queuedAtMs = realTime.elapsed();
    entry.client.queues[laneOf(entry)].push(entry);
  }

  /** Puts entries that did not run back to the head of their client's queues, so that they keep their order. */
  putBack(entries: readonly Entry[]): void {
    const remaining = entries.filter(({ done }) => !done);
    for (const entry of remaining) entry.place = "queue";
    for (const [client, entriesOfClient] of Map.groupBy(remaining, ({ client }) => client)) {
      for (const [lane, entriesOfLane] of Map.groupBy(entriesOfClient, laneOf))
        client.queues[lane].putBack(entriesOfLane);
    }
  }

  hasWork(): boolean {
    for (const { queues } of this.#clients)
      if (queues.urgent.size + queues.normal.size + queues.background.size > 0) return true;
    return false;
  }

  /**
   * Takes a group: urgent entries for at most half of it, then normal ones, and one background entry last (D-012). The
   * calls of a client that may wait have at most `limits.resultBytes` of results in a group, unless it is one call.
   */
  take({ groupCalls, resultBytes }: Pick<Limits, "groupCalls" | "resultBytes">): Entry[] {
    const group: Entry[] = [];
    const budget = new ResultBudget(resultBytes);
    this.#takeInTurns("urgent", group, Math.ceil(groupCalls / 2), budget);
    this.#takeInTurns("normal", group, groupCalls, budget);
    this.#rotate();
    for (const { queues } of this.#clients) {
      if (queues.background.size === 0) continue;
      moveHead(queues.background, group);
      break;
    }
    return group;
  }

  /** Takes one entry of each client, round by round. */
  #takeInTurns(lane: Lane, group: Entry[], max: number, budget: ResultBudget): void {
    const hasNext = ({ queues }: Client) => queues[lane].head !== undefined && budget.allows(queues[lane].head);
    let active = [...this.#clients].filter(hasNext);
    while (group.length < max && active.length > 0) {
      for (const { queues } of active) {
        if (group.length === max) break;
        budget.spend(queues[lane].head as Entry);
        moveHead(queues[lane], group);
      }
      active = active.filter(hasNext);
    }
  }

  /** Makes the client that was first in this round the last of the next one. */
  #rotate(): void {
    const [head] = this.#clients;
    if (head === undefined) return;
    this.#clients.delete(head);
    this.#clients.add(head);
  }
}

/** The results that the entries of a group may still have, for each client, as far as they are not reserved. */
class ResultBudget {
  readonly #bytesMax: number;
  readonly #spent = new Map<Client, number>();

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  allows({ client, resultBytes, reservesResults, done }: Entry): boolean {
    if (done || reservesResults || resultBytes === 0) return true;
    const spent = this.#spent.get(client) ?? 0;
    return spent === 0 || spent + resultBytes <= this.#bytesMax;
  }

  spend({ client, resultBytes, reservesResults, done }: Entry): void {
    if (done || reservesResults || resultBytes === 0) return;
    this.#spent.set(client, (this.#spent.get(client) ?? 0) + resultBytes);
  }
}

/** Moves the head of a queue to the group, or drops it when it was cancelled in the queue. */
function moveHead(queue: Fifo<Entry>, group: Entry[]): void {
  const entry = queue.shift();
  if (entry === undefined) return;
  entry.place = "group";
  if (entry.done) uncount(entry);
  else group.push(entry);
}
