// The change feed of this tab: which rows have changed, in batches. Without its scope, the page asks again by itself.
import { type Api, Problem } from "./api.ts";
import type { ChangeJson } from "./json.ts";

export type LiveState = "connecting" | "live" | "polling" | "lost";

export interface FeedWatcher {
  onChanges(changes: readonly ChangeJson[]): void;
  /** Called when anything may have changed. */
  onReset(): void;
  onState(state: LiveState): void;
}

/** The time for which changes are collected before they are shown, in milliseconds. */
const batchMs = 250;
const pollMs = 5_000;

export class Feed {
  readonly #api: Api;
  readonly #watcher: FeedWatcher;
  readonly #ended = new AbortController();
  #after = 0;
  #batch: ChangeJson[] = [];
  #timer = 0;

  constructor(api: Api, watcher: FeedWatcher) {
    this.#api = api;
    this.#watcher = watcher;
  }

  end(): void {
    this.#ended.abort();
    clearTimeout(this.#timer);
  }

  async run(): Promise<void> {
    const { signal } = this.#ended;
    if (!this.#api.may("changes:read")) return this.#poll();
    while (!signal.aborted) {
      try {
        const { nextSeq } = await this.#api.call<{ nextSeq: number }>("changes.since", { limit: 0 }, signal);
        this.#after = nextSeq;
        this.#watcher.onState("live");
        this.#watcher.onReset();
        const changes = this.#api.follow<ChangeJson>("changes.watch", () => ({ after: this.#after }), signal);
        for await (const change of changes) this.#add(change);
      } catch (error) {
        if (signal.aborted || (error instanceof Problem && error.status === 401)) return;
        // The feed was cut, or is another one after a restore: read everything again.
        await new Promise((resolve) => setTimeout(resolve, 1_000));
      }
    }
  }

  #add(change: ChangeJson): void {
    this.#after = change.seq;
    this.#batch.push(change);
    if (this.#timer === 0)
      this.#timer = window.setTimeout(() => {
        this.#timer = 0;
        const changes = this.#batch;
        this.#batch = [];
        this.#watcher.onChanges(changes);
      }, batchMs);
  }

  #poll(): void {
    this.#watcher.onState("polling");
    this.#watcher.onReset();
    const timer = setInterval(() => {
      if (this.#ended.signal.aborted) clearInterval(timer);
      else if (!document.hidden) this.#watcher.onReset();
    }, pollMs);
  }
}
