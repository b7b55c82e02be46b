// Renews every lease of one runner, three times per lease duration, and passes on what the store answers: lost, or
// cancelled.
import { type Store, StoreError } from "../index.ts";
import { realTime } from "../realTime.ts";

/** Short, so that what a killed process holds is soon free again. */
export const leaseTtlMs = 15_000;

export type StopReason = "lost" | "cancelled" | "interrupted";

/** The lease of a worktree, or of a command. */
export interface HeldLease {
  readonly kind: "worktree" | "command";
  readonly id: string;
  /** The fencing token. */
  readonly fence: number;
  /** Fires with a StopReason. */
  readonly stop: AbortSignal;
  /** True when another holder may have it: the runner must touch and report nothing more. */
  readonly lost: boolean;
}

class Lease implements HeldLease {
  readonly kind: HeldLease["kind"];
  readonly id: string;
  readonly fence: number;
  readonly #stop = new AbortController();
  lost = false;

  constructor(kind: HeldLease["kind"], id: string, fence: number) {
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
  readonly #leases = new Set<Lease>();
  #timer: NodeJS.Timeout | undefined;
  #aliveUntilMs = realTime.elapsed() + leaseTtlMs;
  #stopped = false;

  constructor(store: Pick<Store, "runners">, runnerId: string) {
    this.#store = store;
    this.#runnerId = runnerId;
    this.#schedule(leaseTtlMs / 3);
  }

  /** Starts to renew a lease. */
  hold(kind: HeldLease["kind"], id: string, fence: number): HeldLease {
    const lease = new Lease(kind, id, fence);
    this.#leases.add(lease);
    return lease;
  }

  /** Stops renewing a lease. */
  drop(lease: HeldLease): void {
    this.#leases.delete(lease as Lease);
  }

  stop(): void {
    this.#stopped = true;
    realTime.clearTimeout(this.#timer);
  }

  #schedule(afterMs: number): void {
    realTime.clearTimeout(this.#timer);
    if (!this.#stopped) this.#timer = realTime.setTimeout(() => void this.beat(), afterMs);
  }

  /**
   * Sends one heartbeat. Never fails: it is repeated while the leases may be alive, and after that all of them are
   * lost.
   */
  async beat(): Promise<void> {
    const startedAtMs = realTime.elapsed();
    const leases = [...this.#leases];
    const refs = (kind: HeldLease["kind"]) =>
      leases.filter((lease) => lease.kind === kind).map(({ id, fence }) => ({ id, fence }));
    try {
      const { lost, cancel } = await this.#store.runners.heartbeat(
        { runnerId: this.#runnerId, worktrees: refs("worktree"), commands: refs("command"), ttlMs: leaseTtlMs },
        { timeoutMs: leaseTtlMs / 3 },
      );
      this.#aliveUntilMs = startedAtMs + leaseTtlMs;
      for (const lease of leases) {
        if (lost.some(({ id, fence }) => id === lease.id && fence === lease.fence)) lease.end("lost");
        else if (lease.kind === "command" && cancel.includes(lease.id)) lease.end("cancelled");
      }
      this.#schedule(leaseTtlMs / 3);
    } catch (error) {
      const isFinal = !(error instanceof StoreError && error.retryable);
      if (isFinal || realTime.elapsed() > this.#aliveUntilMs) for (const lease of leases) lease.end("lost");
      this.#schedule(isFinal ? leaseTtlMs / 3 : 1_000);
    }
  }
}
