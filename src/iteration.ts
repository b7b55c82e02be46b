// Iterates over items that arrive in pages. An async generator could not end while it waits for a page, because its
// `return` waits too; this iteration ends at once, and cancels the call that loads the page (D-088).
import { StoreError } from "./errors.ts";

export interface LoadedPage<Item> {
  readonly items: readonly Item[];
  /** True when no page follows. */
  readonly isLast: boolean;
}

/** Loads the next page. The signal fires when the iteration is left, and when the caller's own signal fires. */
export type LoadPage<Item> = (signal: AbortSignal) => Promise<LoadedPage<Item>>;

interface IterationOptions {
  /** The name of the operation, for errors. */
  readonly name: string;
  /** The caller's signal: when it has fired, the iteration fails with `aborted` before its next item. */
  readonly signal: AbortSignal | undefined;
  /** Called once, when the iteration has ended: by its last item, by a failure, or because it was left. */
  readonly onEnd?: () => void;
}

/** Behaves like an async generator, except that `return` and `throw` also end the calls of `next` that wait. */
export class Iteration<Item> implements AsyncGenerator<Item, void, undefined> {
  readonly #load: LoadPage<Item>;
  readonly #options: IterationOptions;
  #page: LoadedPage<Item> = { items: [], isLast: false };
  /** The index of the next item in the page. */
  #at = 0;
  #ended = false;
  /** Resolves when every earlier call of `next` is answered. Calls are answered in the order in which they are made. */
  #answered: Promise<void> = Promise.resolve();
  /** Stops waiting for the page that is being loaded. */
  #stopLoading: () => void = () => undefined;

  constructor(load: LoadPage<Item>, options: IterationOptions) {
    this.#load = load;
    this.#options = options;
  }

  async next(): Promise<IteratorResult<Item, void>> {
    const earlierAnswered = this.#answered;
    const answered = Promise.withResolvers<void>();
    this.#answered = answered.promise;
    await earlierAnswered;
    try {
      // Without this await, the stack trace of an error would not name the caller (D-017).
      return await this.#nextItem();
    } catch (error) {
      this.#end();
      throw error;
    } finally {
      answered.resolve();
    }
  }

  async return(value?: void | PromiseLike<void>): Promise<IteratorResult<Item, void>> {
    this.#end();
    await this.#answered;
    return { done: true, value: await value };
  }

  async throw(error: unknown): Promise<IteratorResult<Item, void>> {
    this.#end();
    await this.#answered;
    throw error;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  async #nextItem(): Promise<IteratorResult<Item, void>> {
    const { name, signal } = this.#options;
    while (!this.#ended) {
      const isRead = this.#at === this.#page.items.length;
      if (isRead && this.#page.isLast) break;
      if (signal?.aborted) throw new StoreError("aborted", undefined, { operation: name, cause: signal.reason });
      if (!isRead) return { done: false, value: this.#page.items[this.#at++] as Item };
      const page = await this.#loadUnlessLeft();
      if (page === undefined) break;
      this.#page = page;
      this.#at = 0;
    }
    this.#end();
    return { done: true, value: undefined };
  }

  /** Loads the next page. Resolves to undefined as soon as the iteration is left. */
  async #loadUnlessLeft(): Promise<LoadedPage<Item> | undefined> {
    const { signal } = this.#options;
    const aborter = new AbortController();
    const left = Promise.withResolvers<undefined>();
    const abort = () => aborter.abort(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    this.#stopLoading = () => {
      left.resolve(undefined);
      aborter.abort();
    };
    try {
      return await Promise.race([left.promise, this.#load(aborter.signal)]);
    } finally {
      this.#stopLoading = () => undefined;
      signal?.removeEventListener("abort", abort);
    }
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#page = { items: [], isLast: true };
    this.#at = 0;
    this.#stopLoading();
    this.#options.onEnd?.();
  }
}
