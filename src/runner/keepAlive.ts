// Keeps a runner and everything that it holds alive with one heartbeat, and tells each holding when its work must stop.
import { type Store, StoreError } from "../index.ts";
import { realTime } from "../realTime.ts";

/**
 * The reason why work must stop. `lost`: somebody else may have it, so nothing may be touched or reported any more.
 * `cancelled`: the store was asked to stop the command. `timed_out`: it is over its `timeoutMs`. `deadline`: its session
 * is over its deadline, which the store notices first, so that it knows the reason. `interrupted`: the runner itself has to stop.
 */
export type StopReason = "lost" | "cancelled" | "timed_out" | "deadline" | "interrupted";

/** The lease of a worktree, or of a command. */
export interface Lease {
  readonly kind: "worktree" | "command";
  readonly id: string;
  /** The fencing token. */
  readonly fence: number;
  /** The time after which a command is `timed_out`, in milliseconds from now. */
  readonly timeoutMs?: number | null;
  /** The time until the deadline of its session, in milliseconds from now. */
  readonly deadlineMs?: number | null;
}

/** A lease that is being renewed. */
export interface Holding {
  readonly kind: Lease["kind"];
  readonly id: string;
  readonly fence: number;
  /** Fires once, with a StopReason as its reason. A holding that was cancelled can still become lost. */
  readonly signal: AbortSignal;
  /** True when another holder may have it: nothing more may be touched or reported. */
  readonly isLost: boolean;
  /** Fires when the holding is lost, also if its signal has fired before for another reason. */
  readonly lost: AbortSignal;
  /**
   * Resolves when the first heartbeat has renewed the lease, and also when it is lost or dropped. Wait for it before work
   * begins: the grant may have been long on its way, and what it has left of its time is not known until then.
   */
  readonly confirmed: Promise<void>;
  /**
   * Returns the time for which nobody else can have it, in milliseconds; 0 when it is lost. Until it is confirmed, this is
   * counted from the arrival of the grant, and too much.
   */
  remainingMs(): number;
  /** Calls the listener after each renewal with the remaining time in milliseconds. Returns a function that ends this. */
  onRenewed(listener: (remainingMs: number) => void): () => void;
  /** Stops renewing it. */
  drop(): void;
}

export interface KeepAliveOptions {
  readonly runnerId: string;
  /** The time for which each heartbeat renews the leases, in milliseconds. Defaults to 30 000. At least 1 000. */
  readonly ttlMs?: number;
  /**
   * The time between two heartbeats, in milliseconds. A cancellation is noticed within this time. Defaults to 2 000, or a
   * third of `ttlMs` where that is less.
   */
  readonly intervalMs?: number;
  /** Receives the failures of heartbeats. They are repeated as long as the leases may be alive. */
  readonly onError?: (error: StoreError) => void;
}

export interface KeepAlive {
  /** The time for which each heartbeat renews the leases, in milliseconds. */
  readonly ttlMs: number;
  /** Fires when the store does not know the runner as alive any more: it must register again. All holdings are lost. */
  readonly gone: AbortSignal;
  /** Starts to renew a lease that was just granted, and soon sends a heartbeat, which confirms it. */
  hold(lease: Lease): Holding;
  /** Sends a heartbeat now. Resolves when it was answered or has failed. Never fails. */
  beat(): Promise<void>;
  /** Sends no more heartbeats, and drops all holdings: their leases run out. */
  close(): void;
}

/** Resolves when a holding is confirmed. Fails with the reason of the signal when that fires before, or has fired. */
export async function untilConfirmed(holding: Pick<Holding, "confirmed">, signal: AbortSignal): Promise<void> {
  const stopped = Promise.withResolvers<void>();
  const stop = () => stopped.resolve();
  signal.addEventListener("abort", stop, { once: true });
  if (!signal.aborted) await Promise.race([holding.confirmed, stopped.promise]);
  signal.removeEventListener("abort", stop);
  signal.throwIfAborted();
}

/** Timers hold at most 2^31 - 1 milliseconds: https://nodejs.org/api/timers.html#settimeoutcallback-delay-args */
const timerMsMax = 2 ** 31 - 1;

/** Starts to send heartbeats for a registered runner. */
export function keepAlive(store: Pick<Store, "runners">, options: KeepAliveOptions): KeepAlive {
  return new Heartbeats(store, options);
}

class Heartbeats implements KeepAlive {
  readonly ttlMs: number;
  readonly #intervalMs: number;
  readonly #store: Pick<Store, "runners">;
  readonly #options: KeepAliveOptions;
  readonly #holdings = new Set<Held>();
  readonly #gone = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #sending: Promise<void> | undefined;
  #isClosed = false;

  constructor(store: Pick<Store, "runners">, options: KeepAliveOptions) {
    this.#store = store;
    this.#options = options;
    this.ttlMs = options.ttlMs ?? 30_000;
    if (!(this.ttlMs >= 1_000)) throw new RangeError(`ttlMs: ${this.ttlMs} is too short: at least 1000 are needed`);
    this.#intervalMs = Math.min(options.intervalMs ?? 2_000, this.ttlMs / 3);
    this.#schedule(this.#intervalMs);
  }

  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  hold(lease: Lease): Holding {
    const held = new Held(lease, this.ttlMs, () => this.#holdings.delete(held));
    if (this.#gone.signal.aborted) held.end("lost");
    else this.#holdings.add(held);
    // Leases that are granted in the same turn share a heartbeat.
    this.#schedule(0);
    return held;
  }

  beat(): Promise<void> {
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined;
    });
    return this.#sending;
  }

  close(): void {
    this.#isClosed = true;
    realTime.clearTimeout(this.#timer);
    for (const held of this.#holdings) held.drop();
  }

  #schedule(afterMs: number): void {
    realTime.clearTimeout(this.#timer);
    if (!this.#isClosed) this.#timer = realTime.setTimeout(() => void this.#next(), afterMs);
  }

  async #next(): Promise<void> {
    // A heartbeat that is on its way does not know of the newest lease.
    await this.#sending;
    await this.beat();
  }

  async #send(): Promise<void> {
    const sentAtMs = realTime.elapsed();
    const sent = [...this.#holdings];
    const refs = (kind: Lease["kind"]) =>
      sent.filter((held) => held.kind === kind).map(({ id, fence }) => ({ id, fence }));
    try {
      const { lost, cancel } = await this.#store.runners.heartbeat(
        {
          runnerId: this.#options.runnerId,
          worktrees: refs("worktree"),
          commands: refs("command"),
          ttlMs: this.ttlMs,
        },
        { timeoutMs: this.ttlMs / 3 },
      );
      for (const held of sent) {
        // Dropped while the heartbeat was on its way.
        if (!this.#holdings.has(held)) continue;
        if (lost.some(({ id, fence }) => id === held.id && fence === held.fence)) held.end("lost");
        else held.renew(sentAtMs + this.ttlMs);
        if (held.kind === "command" && cancel.includes(held.id)) held.end(held.stopReason());
      }
      this.#schedule(this.#intervalMs);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.#options.onError?.(error);
      // The store no longer knows the runner, or knows it as gone.
      if (error.code === "not_found" || error.code === "invalid_transition") return this.#end();
      this.#schedule(Math.min(1_000, this.#intervalMs));
    }
  }

  #end(): void {
    const holdings = [...this.#holdings];
    this.close();
    for (const held of holdings) held.end("lost");
    this.#gone.abort("lost" satisfies StopReason);
  }
}

class Held implements Holding {
  readonly kind: Lease["kind"];
  readonly id: string;
  readonly fence: number;
  readonly #stop = new AbortController();
  readonly #lost = new AbortController();
  readonly #confirmed = Promise.withResolvers<void>();
  readonly #listeners = new Set<(remainingMs: number) => void>();
  readonly #onDropped: () => void;
  readonly #timeoutAtMs: number;
  readonly #deadlineAtMs: number;
  readonly #cancelTimeout: () => void;
  #aliveUntilMs: number;
  #cancelExpiry: () => void;

  constructor({ kind, id, fence, timeoutMs, deadlineMs }: Lease, ttlMs: number, onDropped: () => void) {
    this.kind = kind;
    this.id = id;
    this.fence = fence;
    this.#onDropped = onDropped;
    const nowMs = realTime.elapsed();
    this.#aliveUntilMs = nowMs + ttlMs;
    this.#timeoutAtMs = nowMs + (timeoutMs ?? Number.POSITIVE_INFINITY);
    this.#deadlineAtMs = nowMs + (deadlineMs ?? Number.POSITIVE_INFINITY);
    this.#cancelTimeout = wakeAt(this.#timeoutAtMs, () => this.end("timed_out"));
    this.#cancelExpiry = this.#watchExpiry();
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  get isLost(): boolean {
    return this.#lost.signal.aborted;
  }

  get confirmed(): Promise<void> {
    return this.#confirmed.promise;
  }

  remainingMs(): number {
    return this.isLost ? 0 : Math.max(0, this.#aliveUntilMs - realTime.elapsed());
  }

  onRenewed(listener: (remainingMs: number) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  drop(): void {
    this.#cancelTimeout();
    this.#cancelExpiry();
    this.#listeners.clear();
    this.#confirmed.resolve();
    this.#onDropped();
  }

  renew(untilMs: number): void {
    if (this.isLost) return;
    this.#aliveUntilMs = Math.max(this.#aliveUntilMs, untilMs);
    this.#cancelExpiry();
    this.#cancelExpiry = this.#watchExpiry();
    this.#confirmed.resolve();
    for (const listener of this.#listeners) listener(this.remainingMs());
  }

  /** Returns the reason why the store wants the command to be stopped, as far as the times tell. */
  stopReason(): StopReason {
    const nowMs = realTime.elapsed();
    if (nowMs >= this.#deadlineAtMs) return "deadline";
    return nowMs >= this.#timeoutAtMs ? "timed_out" : "cancelled";
  }

  end(reason: StopReason): void {
    if (reason === "lost") {
      this.#lost.abort(reason);
      this.drop();
    }
    this.#stop.abort(reason);
  }

  /** The lease is lost as soon as it may have run out, whether or not the store can be asked. */
  #watchExpiry(): () => void {
    return wakeAt(this.#aliveUntilMs, () => this.end("lost"));
  }
}

/** Calls the function at a time of `realTime.elapsed`, or never if it is infinite. Returns a function that cancels this. */
function wakeAt(atMs: number, run: () => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  const arm = (): void => {
    const afterMs = Math.max(0, atMs - realTime.elapsed());
    timer = realTime.setTimeout(afterMs > timerMsMax ? arm : run, Math.min(afterMs, timerMsMax));
  };
  if (atMs !== Number.POSITIVE_INFINITY) arm();
  return () => realTime.clearTimeout(timer);
}
