// Calls that found nothing yet. They wait outside lanes and transactions, and run again after a commit that touched one of their topics (D-013).
import type { Answer } from "../wire.ts";
import type { Entry } from "./queues.ts";

interface ParkingOptions {
  readonly pollMs: number;
  readonly dataVersion: (() => number | Promise<number>) | undefined;
  wake(entry: Entry): void;
  giveUp(entry: Entry, answer: Answer): void;
}

interface Parked {
  readonly topics: readonly string[];
  readonly timer: NodeJS.Timeout;
}

export class Parking {
  readonly #options: ParkingOptions;
  readonly #parked = new Map<Entry, Parked>();
  readonly #byTopic = new Map<string, Set<Entry>>();
  #poll: NodeJS.Timeout | undefined;
  #seenVersion: number | undefined;

  constructor(options: ParkingOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#parked.size;
  }

  add(entry: Entry, topics: readonly string[], atTimeout: Answer, leftMs: number): void {
    const timer = setTimeout(() => {
      if (!this.remove(entry)) return;
      entry.client.parked--;
      this.#options.giveUp(entry, atTimeout);
    }, leftMs);
    this.#parked.set(entry, { topics, timer });
    for (const topic of topics) {
      const waiting = this.#byTopic.get(topic);
      if (waiting === undefined) this.#byTopic.set(topic, new Set([entry]));
      else waiting.add(entry);
    }
    this.#watchOthers();
  }

  remove(entry: Entry): boolean {
    const parked = this.#parked.get(entry);
    if (parked === undefined) return false;
    clearTimeout(parked.timer);
    this.#parked.delete(entry);
    for (const topic of parked.topics) {
      const waiting = this.#byTopic.get(topic);
      waiting?.delete(entry);
      if (waiting?.size === 0) this.#byTopic.delete(topic);
    }
    if (this.#parked.size === 0) this.#stopWatching();
    return true;
  }

  touch(topics: Iterable<string>): void {
    if (this.#parked.size === 0) return;
    for (const topic of topics) this.#wake(this.#byTopic.get(topic) ?? []);
  }

  touchAll(): void {
    this.#wake(this.#parked.keys());
  }

  clear(): readonly Entry[] {
    const entries = [...this.#parked.keys()];
    for (const entry of entries) this.remove(entry);
    return entries;
  }

  #wake(entries: Iterable<Entry>): void {
    for (const entry of [...entries]) if (this.remove(entry)) this.#options.wake(entry);
  }

  /** What another process commits touches no topic here; while anyone waits, a change of data_version wakes all. */
  #watchOthers(): void {
    const { dataVersion, pollMs } = this.#options;
    if (dataVersion === undefined || this.#poll !== undefined) return;
    // What was seen last stays from when calls waited before: if somebody has committed since, the first look wakes all.
    const look = async () => {
      const version = await dataVersion();
      if (version !== this.#seenVersion) this.#wake(this.#parked.keys());
      this.#seenVersion = version;
    };
    this.#poll = setInterval(() => void look().catch(() => undefined), pollMs);
  }

  #stopWatching(): void {
    clearInterval(this.#poll);
    this.#poll = undefined;
  }
}
