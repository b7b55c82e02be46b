// Makes calls until the time is up, with a given number in flight, and measures the latency of each. Knows no database.
import { setTimeout as sleep } from "node:timers/promises";

/** The log of one running command, which has no other writer. */
export interface Slot {
  readonly commandId: string;
  readonly fence: number;
  /** The number of bytes that were acknowledged. */
  offset: number;
}

/** The start and the end of a measurement in Unix milliseconds, because all threads share that clock. */
export interface Span {
  readonly startAtMs: number;
  readonly endAtMs: number;
}

/** The work of one thread. */
export interface Load {
  readonly slots: readonly Slot[];
  /** The number of calls in flight per slot. A runner sends the next chunk before the last one is acknowledged. */
  readonly inFlight: number;
  readonly span: Span;
  /** The number of bytes of each append. */
  readonly size: number;
}

/** The results of one thread. */
export interface Tally {
  /** The number of calls that were acknowledged before the time was up. */
  readonly calls: number;
  /** The time from the first call to the last answer, which may arrive after the time was up. */
  readonly elapsedMs: number;
  /** The latency of every acknowledged call, including those acknowledged after the time was up. */
  readonly latenciesMs: Float64Array;
  /** The longest latency, including that of calls that were abandoned. */
  readonly worstMs: number;
  /** The number of failed attempts by code. A call is retried until the time is up; its latency covers all attempts. */
  readonly errors: Readonly<Record<string, number>>;
  /** The slots with their new offsets. */
  readonly slots: readonly Slot[];
}

/** The time in which every thread receives its load before the span starts. */
const leadMs = 50;

export function nextSpan(seconds: number): Span {
  const startAtMs = Date.now() + leadMs;
  return { startAtMs, endAtMs: startAtMs + seconds * 1_000 };
}

/** Returns one line of text. It is not a view, because a message would copy the whole buffer below a view. */
export function lineOf(size: number): Uint8Array<ArrayBuffer> {
  const line = new Uint8Array(size).fill("x".charCodeAt(0));
  line[size - 1] = "\n".charCodeAt(0);
  return line;
}

export async function waitFor({ startAtMs }: Span): Promise<void> {
  await sleep(Math.max(0, startAtMs - Date.now()));
}

/**
 * Keeps `inFlight` calls in flight per slot. `append` adds a line to the slot's log and moves its offset, or throws.
 */
export async function keepInFlight(
  { slots, inFlight, span }: Load,
  append: (slot: Slot) => Promise<void>,
): Promise<Tally> {
  await waitFor(span);
  const meter = new Meter(span);
  await Promise.all(
    slots
      .flatMap((slot) => Array<Slot>(inFlight).fill(slot))
      .map(async (slot) => {
        // Once at least, because a busy machine may take all of a short span to come here.
        do await untilAcknowledged(meter, () => append(slot));
        while (meter.open);
      }),
  );
  return meter.tally(slots);
}

async function untilAcknowledged(meter: Meter, run: () => Promise<void>): Promise<void> {
  const startedAtMs = performance.now();
  for (;;) {
    try {
      await run();
      meter.recordSuccess(startedAtMs);
      return;
    } catch (error) {
      if (!meter.mayRetry(error, startedAtMs)) return;
    }
  }
}

/** Appends to the slots in turn, for a database that is called synchronously. */
export function appendInTurn({ slots, span }: Load, append: (slot: Slot) => void): Tally {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Math.max(0, span.startAtMs - Date.now()));
  const meter = new Meter(span);
  let turn = 0;
  do untilAcknowledgedSync(meter, () => append(slots[turn++ % slots.length] as Slot));
  while (meter.open);
  return meter.tally(slots);
}

function untilAcknowledgedSync(meter: Meter, run: () => void): void {
  const startedAtMs = performance.now();
  for (;;) {
    try {
      run();
      meter.recordSuccess(startedAtMs);
      return;
    } catch (error) {
      if (!meter.mayRetry(error, startedAtMs)) return;
    }
  }
}

/** Measures the calls of one thread during a span. */
class Meter {
  readonly #startedAtMs = performance.now();
  readonly #endAtMs: number;
  readonly #latenciesMs: number[] = [];
  readonly #errors: Record<string, number> = {};
  #calls = 0;
  #worstMs = 0;

  constructor({ endAtMs }: Span) {
    this.#endAtMs = performance.now() + endAtMs - Date.now();
  }

  get open(): boolean {
    return performance.now() < this.#endAtMs;
  }

  recordSuccess(startedAtMs: number): void {
    const nowMs = performance.now();
    const latencyMs = nowMs - startedAtMs;
    this.#latenciesMs.push(latencyMs);
    if (latencyMs > this.#worstMs) this.#worstMs = latencyMs;
    if (nowMs <= this.#endAtMs) this.#calls++;
  }

  /** Counts a failed attempt. Returns false when the time is up and the call must be abandoned. */
  mayRetry(error: unknown, startedAtMs: number): boolean {
    const { code = String(error) } = error as { code?: string };
    this.#errors[code] = (this.#errors[code] ?? 0) + 1;
    if (this.open) return true;
    this.#worstMs = Math.max(this.#worstMs, performance.now() - startedAtMs);
    return false;
  }

  tally(slots: readonly Slot[]): Tally {
    const elapsedMs = performance.now() - this.#startedAtMs;
    return {
      calls: this.#calls,
      elapsedMs,
      latenciesMs: Float64Array.from(this.#latenciesMs),
      worstMs: this.#worstMs,
      errors: this.#errors,
      slots,
    };
  }
}
