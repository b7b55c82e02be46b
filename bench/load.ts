// Load: appends calls one after the other, so many at a time, until the time is up, and notes how long each took. Knows no database.
import { setTimeout as sleep } from "node:timers/promises";

/** The log of one running command; nobody else appends to it. */
export interface Slot {
  readonly commandId: string;
  readonly fence: number;
  /** Bytes that were acknowledged. */
  offset: number;
}

/** From when to when, in Unix milliseconds: a clock that all threads share. */
export interface Span {
  readonly startAtMs: number;
  readonly endAtMs: number;
}

/** The work of one thread. */
export interface Load {
  readonly slots: readonly Slot[];
  /** Calls in flight for each slot: a runner does not wait for one chunk's answer before it sends the next. */
  readonly inFlight: number;
  readonly span: Span;
  /** Bytes of each append. */
  readonly size: number;
}

/** The result of one thread. */
export interface Tally {
  /** Acknowledged before the time was up. */
  readonly calls: number;
  /** From the first call to the last answer, which may come after the time was up. */
  readonly elapsedMs: number;
  /** The latencies of all acknowledged calls, including those acknowledged late. */
  readonly latenciesMs: Float64Array;
  /** The longest, also among calls that were given up. */
  readonly worstMs: number;
  /** Failed tries by code. A call that failed is tried again and its time runs on; when the time is up it is given up. */
  readonly errors: Readonly<Record<string, number>>;
  /** As they stand now. */
  readonly slots: readonly Slot[];
}

/** Enough time for every thread to receive its load before the span starts. */
const leadMs = 50;

export function nextSpan(seconds: number): Span {
  const startAtMs = Date.now() + leadMs;
  return { startAtMs, endAtMs: startAtMs + seconds * 1_000 };
}

/** One line of text. It owns its memory: of a view, the whole buffer below it would travel. */
export function lineOf(size: number): Uint8Array<ArrayBuffer> {
  const line = new Uint8Array(size).fill("x".charCodeAt(0));
  line[size - 1] = "\n".charCodeAt(0);
  return line;
}

export async function waitFor({ startAtMs }: Span): Promise<void> {
  await sleep(Math.max(0, startAtMs - Date.now()));
}

/** So many calls in flight for each slot. `append` moves the slot's offset and adds a line to its log, or throws. */
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
        while (meter.open) await attempt(meter, () => append(slot));
      }),
  );
  return meter.tally(slots);
}

async function attempt(meter: Meter, run: () => Promise<void>): Promise<void> {
  const startedAtMs = performance.now();
  for (;;) {
    try {
      await run();
      meter.acknowledged(startedAtMs);
      return;
    } catch (error) {
      if (!meter.retries(error, startedAtMs)) return;
    }
  }
}

/** The same for a database that is called synchronously: the slots take turns. */
export function appendInTurn({ slots, span }: Load, append: (slot: Slot) => void): Tally {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Math.max(0, span.startAtMs - Date.now()));
  const meter = new Meter(span);
  for (let turn = 0; meter.open; turn++) attemptSync(meter, () => append(slots[turn % slots.length] as Slot));
  return meter.tally(slots);
}

function attemptSync(meter: Meter, run: () => void): void {
  const startedAtMs = performance.now();
  for (;;) {
    try {
      run();
      meter.acknowledged(startedAtMs);
      return;
    } catch (error) {
      if (!meter.retries(error, startedAtMs)) return;
    }
  }
}

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

  acknowledged(startedAtMs: number): void {
    const nowMs = performance.now();
    const latencyMs = nowMs - startedAtMs;
    this.#latenciesMs.push(latencyMs);
    if (latencyMs > this.#worstMs) this.#worstMs = latencyMs;
    if (nowMs <= this.#endAtMs) this.#calls++;
  }

  /** False when the time is up: the call is given up. */
  retries(error: unknown, startedAtMs: number): boolean {
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
