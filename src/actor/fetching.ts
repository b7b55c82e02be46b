// Fetches blocks of archived logs for calls whose bodies need them (D-119): outside of queues and transactions, and for a
// few calls at a time, because blocks stay in memory until their call is answered.
import type { StoreError } from "../errors.ts";
import type { BlockAddress, ExamineDepth, StoredChunk } from "../model/logBlocks.ts";
import type { BlocksNeeded, Call } from "../operation.ts";
import type { Answer } from "../wire.ts";
import type { Entry } from "./entry.ts";

/** Reads blocks of archived logs. */
export interface Blocks {
  /** Returns the chunks in a block that was read lately, by its name. */
  cached(name: string): readonly StoredChunk[] | undefined;
  /** Reads blocks, in a bounded time. Fails with io_error or corrupt. */
  read(blocks: readonly BlockAddress[]): Promise<ReadonlyMap<string, readonly StoredChunk[]>>;
  /** Returns the faults of blocks, in a bounded time. Fails with io_error. */
  examine(blocks: readonly BlockAddress[], depth: ExamineDepth): Promise<ReadonlyMap<string, string | null>>;
}

interface FetchingOptions {
  readonly blocks: Blocks;
  /** Receives an entry whose calls have their blocks, to run it again. */
  onFetched(entry: Entry): void;
  /** Receives an entry whose blocks could not be read. */
  onFailed(entry: Entry, error: StoreError, without: Answer): void;
}

/** The blocks that an entry needs, and its answer where there is no archive. */
interface Needed extends BlocksNeeded {
  readonly without: Answer;
}

/** The number of entries of one mailbox that have blocks, or are getting them. */
const entriesMax = 8;

export class Fetching {
  readonly #options: FetchingOptions;
  /** The entries that have blocks, or are getting them, until they are answered. */
  readonly #holders = new Set<Entry>();
  /** The entries that have to wait until others are answered, the first first, with the blocks that they need. */
  readonly #waiting = new Map<Entry, Needed>();

  constructor(options: FetchingOptions) {
    this.#options = options;
  }

  /** Fetches blocks for an entry. One that has blocks already gets the others at once: it blocks a place until then. */
  add(entry: Entry, needed: Needed): void {
    if (this.#holders.size >= entriesMax && !this.#holders.has(entry)) this.#waiting.set(entry, needed);
    else void this.#fetch(entry, needed);
  }

  /** Drops the blocks of an entry that was answered, dropped or parked, and gives its place to the next one. */
  release(entry: Entry): void {
    if (this.#holders.size === 0) return;
    this.#waiting.delete(entry);
    if (!this.#holders.delete(entry)) return;
    entry.calls = entry.calls.map((call) => ({ ...call, blocks: undefined, examined: undefined }));
    const [next] = this.#waiting;
    if (next === undefined) return;
    this.#waiting.delete(next[0]);
    void this.#fetch(...next);
  }

  /** Removes all entries that wait for blocks, and returns them. */
  clear(): readonly Entry[] {
    const entries = [...this.#waiting.keys(), ...[...this.#holders].filter(({ place }) => place === "fetching")];
    this.#waiting.clear();
    this.#holders.clear();
    return entries;
  }

  async #fetch(entry: Entry, needed: Needed): Promise<void> {
    this.#holders.add(entry);
    const { blocks, depth, without } = needed;
    let calls: readonly Call[];
    try {
      if (depth === undefined) {
        const fetched = await this.#options.blocks.read(blocks);
        calls = entry.calls.map((call) => ({ ...call, blocks: new Map([...(call.blocks ?? []), ...fetched]) }));
      } else {
        const faults = await this.#options.blocks.examine(blocks, depth);
        const known = (call: Call) => (call.examined === "no archive" ? [] : (call.examined ?? []));
        calls = entry.calls.map((call) => ({ ...call, examined: new Map([...known(call), ...faults]) }));
      }
    } catch (error) {
      if (!entry.done) this.#options.onFailed(entry, error as StoreError, without);
      return;
    }
    if (entry.done) return;
    entry.calls = calls;
    this.#options.onFetched(entry);
  }
}
