// The workers of a program of Node: lets them run, and reports them as threads that run.
import type { Reports } from "../reports.ts";
import type { Inspector } from "./inspector.ts";

export class Workers {
  readonly #reports: Reports;
  readonly #names = new Map<number, string>();
  #lastId: number;

  /** Numbers workers from the id of the main thread on. */
  constructor(reports: Reports, mainId: number) {
    this.#reports = reports;
    this.#lastId = mainId;
  }

  /** The workers that have not ended, as threads of the protocol. */
  get threads(): readonly { readonly id: number; readonly name: string }[] {
    return [...this.#names].map(([id, name]) => ({ id, name }));
  }

  /** Follows the workers of the main thread, which are also those that workers start. */
  async follow(inspector: Inspector): Promise<void> {
    // A worker that ends while it is being prepared needs nothing more.
    await inspector.followWorkers((worker, name) => void this.#start(worker, name).catch(() => undefined));
  }

  async #start(worker: Inspector, name: string): Promise<void> {
    const threadId = ++this.#lastId;
    this.#names.set(threadId, name);
    void this.#reports.event("thread", { reason: "started", threadId });
    void worker.closed.then(() => {
      this.#names.delete(threadId);
      return this.#reports.event("thread", { reason: "exited", threadId });
    });
    await worker.send("Runtime.runIfWaitingForDebugger");
  }
}
