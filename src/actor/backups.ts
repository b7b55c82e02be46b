// The owner's side of backups that the database thread makes: which are under way, and how they end.
import type { BackUpWatch } from "../driver.ts";
import { fromWireFailure, type WireFailure } from "../errors.ts";
import type { Control, Report } from "./thread.ts";

interface UnderWay {
  readonly watch: BackUpWatch;
  readonly over: PromiseWithResolvers<WireFailure | undefined>;
}

export class Backups {
  readonly #control: (message: Control) => void;
  /** Told when the first begins and the last has ended: meanwhile the process has something to do. */
  readonly #hold: (busy: boolean) => void;
  readonly #underWay = new Map<number, UnderWay>();
  #lastId = 0;

  constructor(control: (message: Control) => void, hold: (busy: boolean) => void) {
    this.#control = control;
    this.#hold = hold;
  }

  /** Fails as Driver.backUp, and closed when the thread ends. */
  async make(target: string, watch: BackUpWatch): Promise<void> {
    const id = ++this.#lastId;
    const over = Promise.withResolvers<WireFailure | undefined>();
    const onAbort = (): void => this.#control({ type: "stopBackup", id });
    this.#underWay.set(id, { watch, over });
    this.#hold(true);
    this.#control({ type: "backUp", id, target });
    if (watch.signal?.aborted) onAbort();
    watch.signal?.addEventListener("abort", onAbort);
    const failure = await over.promise;
    watch.signal?.removeEventListener("abort", onAbort);
    this.#underWay.delete(id);
    if (this.#underWay.size === 0) this.#hold(false);
    if (failure !== undefined) throw fromWireFailure(failure, "backup");
  }

  hear(report: Extract<Report, { readonly type: "backupProgress" | "backedUp" }>): void {
    const one = this.#underWay.get(report.id);
    if (report.type === "backupProgress") one?.watch.onProgress?.(report.doneBytes, report.totalBytes);
    else one?.over.resolve(report.failure);
  }

  /** The thread has ended. */
  lose(): void {
    for (const { over } of this.#underWay.values())
      over.resolve(["closed", "the store was closed during the backup", "rolled_back", {}]);
  }
}
