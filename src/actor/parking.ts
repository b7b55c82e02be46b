// Holds calls that found nothing yet, outside of queues and transactions, and wakes them after a commit that touched
// one of their topics (D-013).
import { realTime } from "../realTime.ts";
import type { Answer } from "../wire.ts";
import type { Entry } from "./entry.ts";

interface ParkingOptions {
  readonly pollMs: number;
  readonly dataVersion: (() => number | Promise<number>) | undefined;
  /** Receives an entry to run again. */
  wake(entry: Entry): void;
  /** Receives an entry whose time is up, and its answer. */
  giveUp(entry: Entry, answer: Answer): void;
}

interface Space {
  readonly topics: readonly string[];
  readonly timer: NodeJS.Timeout;
}

export class Parking {
  readonly #options: ParkingOptions;
  readonly #spaces = new Map<Entry, Space>();
  readonly #byTopic = new Map<string, Set<Entry>>();
  #poll: NodeJS.Timeout | undefined;
  #lastVersion: number | undefined;

  constructor(options: ParkingOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#spaces.size;
  }

  /**
   * Parks an entry until one of the topics is touched, for at most `leftMs`; after that `atTimeout` is its answer. An
   * entry with `againMs` also wakes after that time.
   */
  add(entry: Entry, topics: readonly string[], atTimeout: Answer, leftMs: number, againMs = Infinity): void {
    const timer = realTime.setTimeout(
      () => {
        if (!this.remove(entry)) return;
        if (againMs < leftMs) this.#options.wake(entry);
        else this.#options.giveUp(entry, atTimeout);
      },
      Math.min(leftMs, againMs),
    );
    entry.place = "parked";
    entry.client.parked++;
    this.#spaces.set(entry, { topics, timer });
    for (const topic of topics) {
      const entries = this.#byTopic.get(topic);
      if (entries === undefined) this.#byTopic.set(topic, new Set([entry]));
      else entries.add(entry);
    }
    this.#startPolling();
  }

  /** Removes an entry. Returns false when it was not parked. */
  remove(entry: Entry): boolean {
    const space = this.#spaces.get(entry);
    if (space === undefined) return false;
    realTime.clearTimeout(space.timer);
    entry.client.parked--;
    this.#spaces.delete(entry);
    for (const topic of space.topics) {
      const entries = this.#byTopic.get(topic);
      entries?.delete(entry);
      if (entries?.size === 0) this.#byTopic.delete(topic);
    }
    if (this.#spaces.size === 0) this.#stopPolling();
    return true;
  }

  /** Wakes the entries that wait for one of the topics. */
  touch(topics: Iterable<string> | "all"): void {
    if (topics === "all") this.#wake(this.#spaces.keys());
    else if (this.#spaces.size > 0) for (const topic of topics) this.#wake(this.#byTopic.get(topic) ?? []);
  }

  /** Removes all entries and returns them. */
  clear(): readonly Entry[] {
    const entries = [...this.#spaces.keys()];
    for (const entry of entries) this.remove(entry);
    return entries;
  }

  #wake(entries: Iterable<Entry>): void {
    for (const entry of [...entries]) if (this.remove(entry)) this.#options.wake(entry);
  }

  /** Commits of other processes touch no topic here, so while calls wait, a new data version wakes all of them. */
  #startPolling(): void {
    const { dataVersion, pollMs } = this.#options;
    if (dataVersion === undefined || this.#poll !== undefined) return;
    // `#lastVersion` is kept while no call is parked. When it has changed by the next poll, all parked calls run again:
    // perhaps in vain, but no commit is missed.
    const poll = async () => {
      const version = await dataVersion();
      if (version !== this.#lastVersion) this.touch("all");
      this.#lastVersion = version;
    };
    this.#poll = realTime.setInterval(() => void poll().catch(() => undefined), pollMs);
  }

  #stopPolling(): void {
    realTime.clearInterval(this.#poll);
    this.#poll = undefined;
  }
}
