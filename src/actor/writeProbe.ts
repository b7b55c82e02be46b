// Remembers the outcome of the last write, which shows whether the database can store rows. After a write that failed,
// a probe is written at intervals until a write succeeds.

import type { LastWrite } from "../context.ts";
import type { Driver } from "../driver.ts";
import type { ErrorCode } from "../errors.ts";
import type { Limits } from "../limits.ts";
import { realTime } from "../realTime.ts";

export class WriteProbe {
  readonly #limits: Limits;
  readonly #probe: () => Promise<unknown>;
  readonly #findProblem: Driver["findProblem"];
  /** True while something keeps some operations from writing, so that a write that was stored shows nothing. */
  #lasts = false;
  #last: { readonly atMs: number; readonly failed: ErrorCode | undefined } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  /**
   * `probe` writes a row. Its outcome arrives through `note`, like that of every write. `findProblem` is that of the
   * driver.
   */
  constructor(limits: Limits, probe: () => Promise<unknown>, findProblem?: Driver["findProblem"]) {
    this.#limits = limits;
    this.#probe = probe;
    this.#findProblem = findProblem;
  }

  get last(): LastWrite | undefined {
    return this.#last && { agoMs: Math.round(realTime.elapsed() - this.#last.atMs), failed: this.#last.failed };
  }

  note(failed: ErrorCode | undefined): void {
    if (failed === undefined && this.#lasts) return;
    this.#lasts = failed === "incompatible" && this.#findProblem !== undefined;
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
      void this.#try();
    }, this.#limits.probeEveryMs);
    this.#timer.unref();
  }

  async #try(): Promise<void> {
    if (this.#lasts) {
      try {
        await this.#findProblem?.();
        this.#lasts = false;
      } catch {
        return this.#scheduleProbe();
      }
    }
    await this.#probe();
  }
}
