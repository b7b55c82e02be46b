// The owner's side of backups by the database thread: requests them and waits until they end.
import type { BackUpWatch } from "../driver.ts";
import { fromWireFailure, type WireFailure } from "../errors.ts";
import type { Control, Report } from "./thread.ts";

interface BackupRequest {
  readonly watch: BackUpWatch;
  readonly ended: PromiseWithResolvers<WireFailure | undefined>;
}

export class BackupRequests {
  readonly #control: (message: Control) => void;
  /** Receives true when the first backup begins and false when the last ends; keeps the process alive in between. */
  readonly #hold: (busy: boolean) => void;
  readonly #requests = new Map<number, BackupRequest>();
  #lastId = 0;

  constructor(control: (message: Control) => void, hold: (busy: boolean) => void) {
    this.#control = control;
    this.#hold = hold;
  }

  /**
   * Has the thread copy its database to the target. Fails as `Driver.backUp`, and with `closed` when the thread ends.
   */
  async run(target: string, watch: BackUpWatch): Promise<void> {
    const id = ++this.#lastId;
    const ended = Promise.withResolvers<WireFailure | undefined>();
    const onAbort = (): void => this.#control({ type: "stopBackup", id });
    this.#requests.set(id, { watch, ended });
    this.#hold(true);
    this.#control({ type: "backUp", id, target });
    if (watch.signal?.aborted) onAbort();
    watch.signal?.addEventListener("abort", onAbort);
    const failure = await ended.promise;
    watch.signal?.removeEventListener("abort", onAbort);
    this.#requests.delete(id);
    if (this.#requests.size === 0) this.#hold(false);
    if (failure !== undefined) throw fromWireFailure(failure, "backup");
  }

  /** Passes a report of the thread on to the request that it belongs to. */
  receive(report: Extract<Report, { readonly type: "backupProgress" | "backedUp" }>): void {
    const request = this.#requests.get(report.id);
    if (report.type === "backupProgress") request?.watch.onProgress?.(report.doneBytes, report.totalBytes);
    else request?.ended.resolve(report.failure);
  }

  /** Fails every request, because the thread has ended. */
  failAll(): void {
    for (const { ended } of this.#requests.values())
      ended.resolve(["closed", "the database thread ended during the backup", "rolled_back", {}]);
  }
}
