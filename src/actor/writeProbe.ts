// Remembers the outcome of the last write, which shows whether the database can store rows. After a write that failed,
// a probe is written at intervals until a write succeeds.

import type { LastWrite } from "../context.ts";
import type { ErrorCode } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { realTime } from "../realTime.ts";

export class WriteProbe {
  readonly #limits: Limits;
  readonly #probe: () => Promise<unknown>;
  #last: { readonly atMs: number; readonly failed: ErrorCode | undefined } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  /** `probe` writes a row. Its outcome arrives through `note`, like that of every write. */
  constructor(limits: Limits, probe: () => Promise<unknown>) {
    this.#limits = limits;
    this.#probe = probe;
  }

  get last(): LastWrite | undefined {
    return this.#last && { agoMs: Math.round(realTime.elapsed() - this.#last.atMs), failed: this.#last.failed };
  }

  note(failed: ErrorCode | undefined): void {
    this.#last = { atMs: realTime.elapsed(), failed };
    if (failed !== undefined) this.#scheduleProbe();
  }

  stop(): void {
    this.#stopped = true;
    realTime.clearTimeout(this.#timer);
  }

  #scheduleProbe(): void {
    if (this.#timer !== undefined || this.#stopped) return;
    this.#timer = realTime.setTimeout(() => {
      this.#timer = undefined;
      void this.#probe();
    }, this.#limits.probeEveryMs);
    this.#timer.unref();
  }
}
