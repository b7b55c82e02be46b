// Renews all that one runner holds, three times in the length of a lease, and passes on what the store says of it: lost, or to be stopped.
import { StoreError } from "../errors.ts";
import type { Store } from "../storeTypes.ts";

/** Short, so that what a killed process held is free again soon. */
export const leaseTtlMs = 15_000;

export type StopReason = "lost" | "cancelled" | "interrupted";

/** A lease of a worktree, or of a command. */
export interface Holding {
  readonly kind: "worktree" | "command";
  readonly id: string;
  readonly fence: number;
  /** Fires with a StopReason. */
  readonly stop: AbortSignal;
  /** Somebody else may have it: touch nothing, report nothing. */
  readonly lost: boolean;
}

class Held implements Holding {
  readonly kind: Holding["kind"];
  readonly id: string;
  readonly fence: number;
  readonly #stop = new AbortController();
  lost = false;

  constructor(kind: Holding["kind"], id: string, fence: number) {
    this.kind = kind;
    this.id = id;
    this.fence = fence;
  }

  get stop(): AbortSignal {
    return this.#stop.signal;
  }

  end(reason: StopReason): void {
    if (reason === "lost") this.lost = true;
    this.#stop.abort(reason);
  }
}

export class Heartbeat {
  readonly #store: Pick<Store, "runners">;
  readonly #runnerId: string;
  readonly #held = new Set<Held>();
  #timer: NodeJS.Timeout | undefined;
  #aliveUntilMs = performance.now() + leaseTtlMs;
  #stopped = false;

  constructor(store: Pick<Store, "runners">, runnerId: string) {
    this.#store = store;
    this.#runnerId = runnerId;
    this.#schedule(leaseTtlMs / 3);
  }

  hold(kind: Holding["kind"], id: string, fence: number): Holding {
    const held = new Held(kind, id, fence);
    this.#held.add(held);
    return held;
  }

  drop(holding: Holding): void {
    this.#held.delete(holding as Held);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #schedule(afterMs: number): void {
    clearTimeout(this.#timer);
    if (!this.#stopped) this.#timer = setTimeout(() => void this.beat(), afterMs);
  }

  /** Never fails: as long as the leases may live a beat is repeated, and after that everything is lost. */
  async beat(): Promise<void> {
    const sentAtMs = performance.now();
    const asked = [...this.#held];
    const refs = (kind: Holding["kind"]) =>
      asked.filter((held) => held.kind === kind).map(({ id, fence }) => ({ id, fence }));
    try {
      const { lost, cancel } = await this.#store.runners.heartbeat(
        { runnerId: this.#runnerId, worktrees: refs("worktree"), commands: refs("command"), ttlMs: leaseTtlMs },
        { timeoutMs: leaseTtlMs / 3 },
      );
      this.#aliveUntilMs = sentAtMs + leaseTtlMs;
      for (const held of asked) {
        if (lost.some(({ id, fence }) => id === held.id && fence === held.fence)) held.end("lost");
        else if (held.kind === "command" && cancel.includes(held.id)) held.end("cancelled");
      }
      this.#schedule(leaseTtlMs / 3);
    } catch (error) {
      const hopeless = !(error instanceof StoreError && error.retryable);
      if (hopeless || performance.now() > this.#aliveUntilMs) for (const held of asked) held.end("lost");
      this.#schedule(hopeless ? leaseTtlMs / 3 : 1_000);
    }
  }
}
