// Holds calls that found nothing yet, outside of queues and transactions, and wakes them after a commit that touched
// one of their topics (D-013).
import { isServedByOthers, serves } from "../operations/topics.ts";
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
  readonly kinds: readonly string[];
  readonly timer: NodeJS.Timeout;
}

/** The reasons for which a parked entry wakes. */
interface Parked {
  /** Each of these wakes it. */
  readonly topics: readonly string[];
  /** The kinds of topics that it waits for beside others: a topic of the kind wakes one of them. */
  readonly kinds?: readonly string[] | undefined;
  /** The time after which it wakes by itself. */
  readonly againMs?: number | undefined;
}

export class Parking {
  readonly #options: ParkingOptions;
  readonly #spaces = new Map<Entry, Space>();
  readonly #byTopic = new Map<string, Set<Entry>>();
  readonly #byKind = new Map<string, Set<Entry>>();
  #poll: NodeJS.Timeout | undefined;
  #lastVersion: number | undefined;

  constructor(options: ParkingOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#spaces.size;
  }

  /** Parks an entry until it is woken, for at most `leftMs`; after that `atTimeout` is its answer. */
  add(entry: Entry, { topics, kinds = [], againMs = Infinity }: Parked, atTimeout: Answer, leftMs: number): void {
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
    this.#spaces.set(entry, { topics, kinds, timer });
    for (const topic of topics) addTo(this.#byTopic, topic, entry);
    for (const kind of kinds) addTo(this.#byKind, kind, entry);
    this.#startPolling();
  }

  /** Removes an entry. Returns false when it was not parked. */
  remove(entry: Entry): boolean {
    const space = this.#spaces.get(entry);
    if (space === undefined) return false;
    realTime.clearTimeout(space.timer);
    entry.client.parked--;
    this.#spaces.delete(entry);
    for (const topic of space.topics) removeFrom(this.#byTopic, topic, entry);
    for (const kind of space.kinds) removeFrom(this.#byKind, kind, entry);
    if (this.#spaces.size === 0) this.#stopPolling();
    return true;
  }

  /**
   * Wakes the entries that wait for one of the topics. With "all", any topic may have been touched: of the entries that
   * wait for a kind it wakes the first.
   */
  touch(topics: Iterable<string> | "all"): void {
    if (this.#spaces.size === 0) return;
    if (topics !== "all") {
      for (const topic of topics) this.#wake(this.#byTopic.get(topic) ?? []);
      return;
    }
    this.#wake([...this.#spaces].filter(([, { kinds }]) => kinds.length === 0).map(([entry]) => entry));
    for (const kind of [...this.#byKind.keys()]) this.wakeOne(kind);
  }

  /** Wakes the entry that has waited longest for a kind of topic. Returns false when there is none. */
  wakeOne(kind: string): boolean {
    const [entry] = this.#byKind.get(kind) ?? this.#entriesServing(kind);
    if (entry === undefined) return false;
    entry.wokenFor = kind;
    this.#wake([entry]);
    return true;
  }

  /** Returns the entries of the first other kind that can use what touches a topic of this one. */
  #entriesServing(kind: string): Iterable<Entry> {
    if (!isServedByOthers(kind)) return [];
    for (const [waiting, entries] of this.#byKind) if (serves(waiting, kind)) return entries;
    return [];
  }

  /** Wakes all entries. */
  wakeAll(): void {
    this.#wake(this.#spaces.keys());
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

function addTo(sets: Map<string, Set<Entry>>, name: string, entry: Entry): void {
  const entries = sets.get(name);
  if (entries === undefined) sets.set(name, new Set([entry]));
  else entries.add(entry);
}

function removeFrom(sets: Map<string, Set<Entry>>, name: string, entry: Entry): void {
  const entries = sets.get(name);
  entries?.delete(entry);
  if (entries?.size === 0) sets.delete(name);
}
