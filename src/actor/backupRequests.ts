// The owner's side of backups by the database thread: requests them and waits until they end.
import type { BackUpWatch } from "../driver.ts";
import { fromWireFailure, type WireFailure } from "../errors.ts";
import type { RemoteControl } from "./control.ts";
import type { Report } from "./thread.ts";

export class BackupRequests {
  readonly #control: RemoteControl;
  /** Receives true when the first backup begins and false when the last ends; keeps the process alive in between. */
  readonly #hold: (busy: boolean) => void;
  readonly #watches = new Map<number, BackUpWatch>();
  readonly #threadEnded = Promise.withResolvers<WireFailure>();
  #lastId = 0;

  constructor(control: RemoteControl, hold: (busy: boolean) => void) {
    this.#control = control;
    this.#hold = hold;
  }

  /**
   * Has the thread copy its database to the target. Fails as `Driver.backUp`, and with `closed` when the thread ends.
   */
  async run(target: string, watch: BackUpWatch): Promise<void> {
    const id = ++this.#lastId;
    const onAbort = (): void => void this.#control.stopBackup(id);
    this.#watches.set(id, watch);
    this.#hold(true);
    const ended = this.#control.backUp(id, target);
    if (watch.signal?.aborted) onAbort();
    watch.signal?.addEventListener("abort", onAbort);
    const failure = await Promise.race([ended, this.#threadEnded.promise]);
    watch.signal?.removeEventListener("abort", onAbort);
    this.#watches.delete(id);
    if (this.#watches.size === 0) this.#hold(false);
    if (failure !== undefined) throw fromWireFailure(failure, "backup");
  }

  /** Passes a report of the thread on to the request that it belongs to. */
  noteProgress({ id, doneBytes, totalBytes }: Extract<Report, { readonly type: "backupProgress" }>): void {
    this.#watches.get(id)?.onProgress?.(doneBytes, totalBytes);
  }

  /** Fails every request, because the thread has ended. */
  failAll(): void {
    this.#threadEnded.resolve(["closed", "the database thread ended during the backup", "rolled_back", {}]);
  }
}
