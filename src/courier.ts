// Carries calls to the other side: packs the calls of one tick into messages, bounds the calls in flight, and settles
// every call exactly once. Knows no thread, port or database.

import { type ErrorCode, errorCodes, type Outcome, StoreError } from "./errors.ts";
import { isAmbiguous, joinedCalls, runsOf } from "./joining.ts";
import { type Limits, timerMsMax } from "./limits.ts";
import { callBytes, overloadOf } from "./load.ts";
import { messageOf } from "./model/realms.ts";
import type { Outgoing } from "./outgoing.ts";
import { unpack } from "./packed.ts";
import { realTime } from "./realTime.ts";
import { waitMsOf } from "./recording.ts";
import type { Answer, Backend, Envelope, Reply } from "./wire.ts";

/** The conditions under which the caller stops waiting. */
interface Patience {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
}

/** One unit of an envelope: a single call, or all calls of an atomic envelope. */
interface Parcel {
  readonly calls: readonly Outgoing[];
  readonly atomic: boolean;
  /** True when the other side may park it: it then travels alone, and closing does not wait for its answer. */
  readonly waits: boolean;
  /** True when it has a deadline or a signal of its own. */
  readonly guarded: boolean;
  readonly bytes: number;
  readonly settle: (answers: readonly Answer[]) => void;
  /** True when it must not be joined again, because the answer of the joined call may not be true of it. */
  separate: boolean;
  /** The reason why the caller stopped waiting, while the other side may still answer. */
  givenUp: ErrorCode | undefined;
  settled: boolean;
  envelopeId: number | undefined;
  sentAtMs: number;
  /** The index of its first call in the envelope. */
  slot: number;
  /** Removes its timer and its listener on the signal. */
  stop: () => void;
}

/**
 * Fails when calls cannot be sent: their deadline is no time, the store is closed (`lost` says why), their signal has
 * fired, or they are larger than a message. The stub for tests refuses the same.
 */
export function refuseUnsendable(
  operation: string,
  bytes: number,
  { signal, timeoutMs }: Patience,
  { envelopeBytes }: Pick<Limits, "envelopeBytes">,
  lost: string | undefined,
): void {
  if (timeoutMs !== undefined && !(timeoutMs >= 0)) {
    throw new StoreError("invalid_input", `timeoutMs: expected 0 or more milliseconds, not ${timeoutMs}`, {
      operation,
    });
  }
  if (lost !== undefined) throw new StoreError("closed", lost, { operation });
  if (signal?.aborted) throw new StoreError("aborted", undefined, { operation, cause: signal.reason });
  if (bytes > envelopeBytes)
    throw new StoreError(
      "invalid_input",
      `the call has ${bytes} bytes; a message has at most ${envelopeBytes} (limits.envelopeBytes)`,
      { operation },
    );
}

export class Courier {
  readonly #backend: Backend;
  readonly #limits: Limits;
  /** The parcels that were sent, in this order. */
  readonly #inFlight = new Set<Parcel>();
  readonly #drained = Promise.withResolvers<void>();
  /** The parcels of this tick, which are sent at its end. */
  #waiting: Parcel[] = [];
  /** The calls that count toward the bounds of the queue, and their bytes. */
  #calls = 0;
  #bytes = 0;
  /** The number of unsettled parcels that closing waits for. */
  #open = 0;
  #nextEnvelopeId = 1;
  #timer: NodeJS.Timeout | undefined;
  #draining = false;
  #lost: string | undefined;

  constructor(backend: Backend, limits: Limits) {
    this.#backend = backend;
    this.#limits = limits;
    backend.onLost((reason) => this.#lose(reason));
  }

  /** True when no further reply can come, so that every call fails. */
  get lost(): boolean {
    return this.#lost !== undefined;
  }

  /**
   * Sends calls as one unit and resolves to their answers. Throws synchronously when it refuses them; every later
   * failure is an answer.
   */
  send(calls: readonly Outgoing[], atomic: boolean, patience: Patience): Promise<readonly Answer[]> {
    const bytes = bytesOf(calls);
    this.#refuse(calls, bytes, patience);
    const { signal, timeoutMs } = patience;
    return new Promise((settle) => {
      let waitMs = 0;
      for (const call of calls) waitMs += waitMsOf(call);
      const parcel: Parcel = {
        calls,
        atomic,
        waits: waitMs > 0,
        guarded: signal !== undefined || timeoutMs !== undefined || waitMs > 0,
        bytes,
        settle,
        separate: false,
        givenUp: undefined,
        settled: false,
        envelopeId: undefined,
        sentAtMs: 0,
        slot: 0,
        stop: nothing,
      };
      if (parcel.guarded) parcel.stop = this.#guard(parcel, signal, timeoutMs ?? this.#limits.callMs + waitMs);
      this.#calls += calls.length;
      this.#bytes += bytes;
      if (!parcel.waits) this.#open++;
      this.#waiting.push(parcel);
      // A call that waits travels alone, so it gains nothing from the end of the tick. Sent at once, its wait begins now:
      // a test that moves the clock of a store in its own thread can do so in the next line.
      if (parcel.waits) this.#flush();
      else if (this.#waiting.length === 1) realTime.nextTick(() => this.#flush());
    });
  }

  /** Refuses new calls, and resolves when the earlier ones are settled, except for calls that may be parked. */
  drain(): Promise<void> {
    this.#draining = true;
    if (this.#open === 0) this.#drained.resolve();
    return this.#drained.promise;
  }

  #refuse(calls: readonly Outgoing[], bytes: number, patience: Patience): void {
    const [{ name }] = calls as readonly [Outgoing];
    const lost = this.#draining ? "the store is closed" : this.#lost;
    refuseUnsendable(name, bytes, patience, this.#limits, lost);
    const queued = { calls: this.#calls, bytes: this.#bytes };
    const overload = overloadOf(queued, { calls: calls.length, bytes }, this.#limits, name);
    if (overload !== undefined) throw overload;
  }

  /**
   * Runs at the end of the tick, so that calls made in response to one reply share the next message (D-006). A call that
   * waits sends those before it earlier, in their order.
   */
  #flush(): void {
    const parcels = this.#waiting;
    this.#waiting = [];
    if (parcels.length === 1) {
      if (!(parcels[0] as Parcel).settled) this.#dispatch(parcels);
      return;
    }
    let together: Parcel[] = [];
    let bytes = 0;
    for (const parcel of parcels) {
      if (parcel.settled) continue;
      const alone = parcel.atomic || parcel.waits;
      const full = together.length >= this.#limits.groupCalls || bytes + parcel.bytes > this.#limits.envelopeBytes;
      if (together.length > 0 && (alone || full)) {
        this.#dispatch(together);
        together = [];
        bytes = 0;
      }
      if (alone) this.#dispatch([parcel]);
      else {
        together.push(parcel);
        bytes += parcel.bytes;
      }
    }
    if (together.length > 0) this.#dispatch(together);
  }

  #dispatch(parcels: readonly Parcel[]): void {
    const id = this.#nextEnvelopeId++;
    const nowMs = realTime.elapsed();
    const runs = parcels.length === 1 ? [parcels] : runsOf(parcels);
    const calls: unknown[] = [];
    if (this.#inFlight.size === 0) this.#backend.hold(true);
    for (let slot = 0; slot < runs.length; slot++) {
      const run = runs[slot] as readonly Parcel[];
      for (const parcel of run) {
        parcel.envelopeId = id;
        parcel.sentAtMs = nowMs;
        parcel.slot = slot;
        this.#inFlight.add(parcel);
      }
      for (const { name, wire, caller } of joinedCalls(run)) calls.push(name, wire, caller);
    }
    this.#watchTime(this.#limits.callMs);
    const envelope: Envelope = [id, (parcels[0] as Parcel).atomic, calls];
    const refuse = (reason: string): void => {
      for (const parcel of parcels)
        this.#fail(parcel, "invalid_input", `the message was not sent: ${reason}`, "not_run");
    };
    try {
      this.#backend.send(envelope, { receive: (reply) => this.#receive(runs, reply), refuse });
    } catch (error) {
      refuse(messageOf(error));
    }
  }

  /** Gives up the parcels that have no deadline of their own and were sent `callMs` ago. One timer serves all of them. */
  #watchTime(delayMs: number): void {
    if (this.#timer !== undefined) return;
    this.#timer = realTime.setTimeout(
      () => {
        this.#timer = undefined;
        const nowMs = realTime.elapsed();
        for (const parcel of this.#inFlight) {
          const leftMs = parcel.sentAtMs + this.#limits.callMs - nowMs;
          if (leftMs > 0) return this.#watchTime(Math.max(1, leftMs));
          if (!parcel.guarded) this.#giveUp(parcel, "deadline_exceeded");
        }
      },
      Math.min(delayMs, timerMsMax),
    );
    // `hold` keeps the event loop alive while calls are in flight. Once the backend is lost, no answer is left to wait
    // for.
    this.#timer.unref();
  }

  /** Settles the runs that a reply answers: all of an envelope, or a part of them. */
  #receive(runs: readonly (readonly Parcel[])[], [, , answers, slots]: Reply): void {
    const ambiguous: Parcel[] = [];
    const count = slots?.length ?? runs.length;
    for (let index = 0; index < count; index++) {
      const run = runs[slots?.[index] ?? index] as readonly Parcel[];
      const { calls } = run[0] as Parcel;
      const runAnswers: Answer[] = [];
      // A failed atomic envelope has one answer for all its calls.
      const end = Math.min(index + calls.length, answers.length / 2);
      for (let at = index; at < end; at++)
        runAnswers.push(unpack([answers[at * 2], answers[at * 2 + 1]] as unknown as Answer));
      const isResent = run.length > 1 && isAmbiguous(calls[0] as Outgoing, runAnswers[0]);
      for (const parcel of run) {
        if (isResent && parcel.givenUp === undefined) ambiguous.push(parcel);
        else this.#settle(parcel, runAnswers);
      }
    }
    if (ambiguous.length === 0) return;
    for (const parcel of ambiguous) {
      parcel.separate = true;
      this.#inFlight.delete(parcel);
    }
    this.#dispatch(ambiguous);
  }

  /** Takes a parcel out of the counts, and delivers its answers unless the caller already has one. */
  #settle(parcel: Parcel, answers: readonly Answer[]): void {
    if (this.#inFlight.delete(parcel) && this.#inFlight.size === 0) this.#backend.hold(false);
    this.#calls -= parcel.calls.length;
    this.#bytes -= parcel.bytes;
    if (parcel.settled) return;
    const [first] = answers;
    // The answer `aborted` confirms that a call that was given up has not run.
    const dropped = parcel.givenUp !== undefined && first !== undefined && !first[0] && first[1][0] === "aborted";
    this.#deliver(
      parcel,
      dropped ? failed(parcel.givenUp as ErrorCode, errorCodes[parcel.givenUp as ErrorCode].means, "not_run") : answers,
    );
  }

  #deliver(parcel: Parcel, answers: readonly Answer[]): void {
    parcel.settled = true;
    parcel.stop();
    parcel.settle(answers);
    if (!parcel.waits && --this.#open === 0 && this.#draining) this.#drained.resolve();
  }

  #fail(parcel: Parcel, code: ErrorCode, message: string, outcome: Outcome): void {
    this.#settle(parcel, failed(code, message, outcome));
  }

  /** Gives the parcel up when its signal fires or its time has passed. Returns a function that stops watching. */
  #guard(parcel: Parcel, signal: AbortSignal | undefined, afterMs: number): () => void {
    const abort = () => this.#giveUp(parcel, "aborted");
    signal?.addEventListener("abort", abort, { once: true });
    const timer = realTime.setTimeout(() => this.#giveUp(parcel, "deadline_exceeded"), Math.min(afterMs, timerMsMax));
    return () => {
      realTime.clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    };
  }

  /**
   * Asks the other side to drop the call, and waits `settleGraceMs` for an answer that shows whether it had run
   * (D-011).
   */
  #giveUp(parcel: Parcel, code: ErrorCode): void {
    if (parcel.settled || parcel.givenUp !== undefined) return;
    parcel.givenUp = code;
    if (parcel.envelopeId === undefined) {
      this.#fail(parcel, code, errorCodes[code].means, "not_run");
      return;
    }
    this.#backend.cancel(parcel.envelopeId, parcel.slot);
    const timer = realTime.setTimeout(() => {
      // The call counts toward the bounds until its answer arrives. Otherwise a server that has stopped answering would
      // be sent more and more calls.
      if (!parcel.settled) this.#deliver(parcel, failed(code, errorCodes[code].means, lostOutcome(parcel)));
    }, this.#limits.settleGraceMs);
    parcel.stop();
    parcel.stop = () => realTime.clearTimeout(timer);
  }

  #lose(reason: string): void {
    if (this.#lost !== undefined) return;
    this.#lost = reason;
    for (const parcel of this.#waiting) if (!parcel.settled) this.#fail(parcel, "closed", reason, "not_run");
    this.#waiting = [];
    for (const parcel of [...this.#inFlight]) this.#fail(parcel, "closed", reason, lostOutcome(parcel));
  }
}

export function bytesOf(calls: readonly Outgoing[]): number {
  let bytes = 0;
  for (const { name, wire, caller } of calls) bytes += callBytes(name, wire, caller);
  return bytes;
}

function nothing(): void {}

/** Returns the outcome of a parcel whose answer is lost. A read changes nothing, whether it ran or not. */
function lostOutcome({ calls }: Parcel): Outcome {
  return calls.every(({ operation }) => operation.access === "read") ? "not_run" : "unknown";
}

function failed(code: ErrorCode, message: string, outcome: Outcome): readonly Answer[] {
  return [[false, [code, message, outcome, {}]]];
}
