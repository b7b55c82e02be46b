// Can the database still store what it is given? The last write tells; after one that could not be stored, tries go on
// until one can.

import type { LastWrite } from "../context.ts";
import type { ErrorCode } from "../errors.ts";
import type { Limits } from "../limits.ts";

export class WriteWatch {
  readonly #limits: Limits;
  readonly #probe: () => Promise<unknown>;
  #last: { readonly atMs: number; readonly failed: ErrorCode | undefined } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(limits: Limits, probe: () => Promise<unknown>) {
    this.#limits = limits;
    this.#probe = probe;
  }

  get last(): LastWrite | undefined {
    return this.#last && { agoMs: Math.round(performance.now() - this.#last.atMs), failed: this.#last.failed };
  }

  note(failed: ErrorCode | undefined): void {
    this.#last = { atMs: performance.now(), failed };
    if (failed !== undefined) this.#tryLater();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #tryLater(): void {
    if (this.#timer !== undefined || this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      // Its outcome comes back as a note.
      void this.#probe();
    }, this.#limits.probeEveryMs);
    this.#timer.unref();
  }
}
