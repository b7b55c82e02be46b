// Calls on their way to the other side: gathers those of one tick into messages, keeps count of what is under way, and settles every call
// exactly once. Knows no thread, port or database.
import { type ErrorCode, type Outcome, StoreError } from "./errors.ts";
import { type Limits, timerMsMax } from "./limits.ts";
import type { AnyOperation } from "./operation.ts";
import type { Answer, Backend, Envelope, Reply, WireCaller } from "./wire.ts";

/** A call, checked and encoded. */
export interface Outgoing {
  readonly name: string;
  readonly operation: AnyOperation;
  readonly wire: readonly unknown[];
  readonly caller: WireCaller;
  /** The part of the input that the operation needs to complete the answer; it never travels. */
  readonly localPart: unknown;
}

/** When to stop waiting for an answer. */
export interface Patience {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number | undefined;
}

/** What was sent, or will be, as one unit of an envelope: one call, or all of an atomic one. */
interface Parcel {
  readonly calls: readonly Outgoing[];
  readonly atomic: boolean;
  /** It may be parked, so it travels alone, and nobody waits for its answer before closing. */
  readonly waits: boolean;
  /** It has a deadline of its own. */
  readonly guarded: boolean;
  readonly bytes: number;
  readonly settle: (answers: readonly Answer[]) => void;
  /** Sent by itself, because the joined call that it was part of had no answer that is true of it. */
  separate: boolean;
  /** Why it was given up, while it is not settled. */
  givenUp: ErrorCode | undefined;
  settled: boolean;
  envelopeId: number | undefined;
  slot: number;
  stop: () => void;
}

export class Courier {
  readonly #backend: Backend;
  readonly #limits: Limits;
  readonly #underWay = new Set<Parcel>();
  readonly #drained = Promise.withResolvers<void>();
  #waiting: Parcel[] = [];
  #calls = 0;
  #bytes = 0;
  /** Parcels that are not settled, without those that wait for something to happen. */
  #open = 0;
  #nextEnvelopeId = 1;
  #draining = false;
  #lost: string | undefined;

  constructor(backend: Backend, limits: Limits) {
    this.#backend = backend;
    this.#limits = limits;
    backend.onLost((reason) => this.#lose(reason));
  }

  /** Fails as #refuse does, at once; what comes of a call that was taken is its answer. */
  /** No further reply can come, and every call fails. */
  get lost(): boolean {
    return this.#lost !== undefined;
  }

  send(calls: readonly Outgoing[], atomic: boolean, { signal, timeoutMs }: Patience): Promise<readonly Answer[]> {
    const bytes = calls.reduce((sum, { wire }) => sum + weigh(wire), 0);
    this.#refuse(calls, bytes, { signal, timeoutMs });
    return new Promise((settle) => {
      const waitMs = waitMsOf(calls);
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
        slot: 0,
        stop: () => undefined,
      };
      if (parcel.guarded) parcel.stop = this.#guard(parcel, signal, timeoutMs ?? this.#limits.callMs + waitMs);
      this.#calls += calls.length;
      this.#bytes += bytes;
      if (!parcel.waits) this.#open++;
      if (this.#waiting.length === 0) process.nextTick(() => this.#flush());
      this.#waiting.push(parcel);
    });
  }

  /** Refuses new calls, and resolves when those that were made are settled; calls that wait for something are not waited for. */
  drain(): Promise<void> {
    this.#draining = true;
    if (this.#open === 0) this.#drained.resolve();
    return this.#drained.promise;
  }

  #refuse(calls: readonly Outgoing[], bytes: number, { signal, timeoutMs }: Patience): void {
    const operation = (calls[0] as Outgoing).name;
    if (timeoutMs !== undefined && !(timeoutMs >= 0)) {
      throw new StoreError("invalid_input", `timeoutMs: expected milliseconds from 0 on, not ${timeoutMs}`, {
        operation,
      });
    }
    if (this.#draining) throw new StoreError("closed", "the store is closed", { operation });
    if (this.#lost !== undefined) throw new StoreError("closed", this.#lost, { operation });
    if (signal?.aborted) throw new StoreError("aborted", undefined, { operation, cause: signal.reason });
    const { queueCalls, queueBytes, groupCalls, groupMs, envelopeBytes } = this.#limits;
    if (bytes > envelopeBytes)
      throw new StoreError("invalid_input", `one message may hold ${envelopeBytes} bytes, not ${bytes}`, { operation });
    if (this.#calls + calls.length <= queueCalls && this.#bytes + bytes <= queueBytes) return;
    const retryAfterMs = Math.ceil((this.#calls / groupCalls + 1) * groupMs);
    throw new StoreError("overloaded", undefined, {
      operation,
      details: { retryAfterMs, queuedCalls: this.#calls, queuedBytes: this.#bytes },
    });
  }

  /** Runs after everything that this tick set off, so that calls made by the receivers of one reply share the next message (D-006). */
  #flush(): void {
    const parcels = this.#waiting;
    this.#waiting = [];
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
    const calls: unknown[] = [];
    if (this.#underWay.size === 0) this.#backend.hold(true);
    const runs = runsOf(parcels);
    for (const [slot, run] of runs.entries()) {
      for (const parcel of run) {
        parcel.envelopeId = id;
        parcel.slot = slot;
        this.#underWay.add(parcel);
      }
      for (const { name, wire, caller } of joined(run)) calls.push(name, wire, caller);
    }
    const atomic = (parcels[0] as Parcel).atomic;
    const envelope: Envelope = [id, atomic, calls];
    // One timer for the calls that named no deadline of their own.
    const timer = setTimeout(() => {
      for (const parcel of parcels) if (!parcel.guarded) this.#giveUp(parcel, "deadline_exceeded");
    }, this.#limits.callMs);
    // The backend holds the event loop while calls are under way; when it is lost, nothing is left to wait for.
    timer.unref();
    this.#backend.send(envelope).then(
      (reply) => {
        clearTimeout(timer);
        this.#receive(runs, reply);
      },
      (error: unknown) => {
        clearTimeout(timer);
        const message = `the message was not sent: ${error instanceof Error ? error.message : String(error)}`;
        for (const parcel of parcels) this.#fail(parcel, "invalid_input", message, "not_run");
      },
    );
  }

  #receive(runs: readonly Parcel[][], [, , answers]: Reply): void {
    const ambiguous: Parcel[] = [];
    for (const run of runs) {
      const { slot, calls } = run[0] as Parcel;
      const own: Answer[] = [];
      const end = Math.min(slot + calls.length, answers.length / 2);
      for (let at = slot; at < end; at++) own.push([answers[at * 2], answers[at * 2 + 1]] as unknown as Answer);
      const asked =
        run.length > 1 && isAmbiguous(calls[0] as Outgoing, own[0])
          ? run.filter((parcel) => parcel.givenUp === undefined)
          : [];
      for (const parcel of run) if (!asked.includes(parcel)) this.#settle(parcel, own);
      ambiguous.push(...asked);
    }
    for (const parcel of ambiguous) parcel.separate = true;
    if (ambiguous.length > 0) this.#dispatch(ambiguous);
  }

  /** Of a parcel that is not under way any more. */
  #settle(parcel: Parcel, answers: readonly Answer[]): void {
    if (this.#underWay.delete(parcel) && this.#underWay.size === 0) this.#backend.hold(false);
    this.#calls -= parcel.calls.length;
    this.#bytes -= parcel.bytes;
    if (parcel.settled) return;
    const [first] = answers;
    // The other side confirms that the call has not run.
    const dropped = parcel.givenUp !== undefined && first !== undefined && !first[0] && first[1][0] === "aborted";
    this.#tell(
      parcel,
      dropped ? failed(parcel.givenUp as ErrorCode, givenUpMessage(parcel.givenUp as ErrorCode), "not_run") : answers,
    );
  }

  #tell(parcel: Parcel, answers: readonly Answer[]): void {
    parcel.settled = true;
    parcel.stop();
    parcel.settle(answers);
    if (!parcel.waits && --this.#open === 0 && this.#draining) this.#drained.resolve();
  }

  #fail(parcel: Parcel, code: ErrorCode, message: string, outcome: Outcome): void {
    this.#settle(parcel, failed(code, message, outcome));
  }

  #guard(parcel: Parcel, signal: AbortSignal | undefined, afterMs: number): () => void {
    const abort = () => this.#giveUp(parcel, "aborted");
    signal?.addEventListener("abort", abort, { once: true });
    const timer = setTimeout(() => this.#giveUp(parcel, "deadline_exceeded"), Math.min(afterMs, timerMsMax));
    return () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    };
  }

  /** Asks the other side to drop the call, and waits a moment to learn whether it had run (D-011). */
  #giveUp(parcel: Parcel, code: ErrorCode): void {
    if (parcel.settled || parcel.givenUp !== undefined) return;
    parcel.givenUp = code;
    if (parcel.envelopeId === undefined) {
      this.#fail(parcel, code, givenUpMessage(code), "not_run");
      return;
    }
    this.#backend.cancel(parcel.envelopeId, parcel.slot);
    const timer = setTimeout(() => {
      // It stays counted until its answer arrives: a side that answers nothing must not be sent ever more.
      if (!parcel.settled) this.#tell(parcel, failed(code, givenUpMessage(code), outcomeOf(parcel)));
    }, this.#limits.settleGraceMs);
    parcel.stop();
    parcel.stop = () => clearTimeout(timer);
  }

  #lose(reason: string): void {
    if (this.#lost !== undefined) return;
    this.#lost = reason;
    for (const parcel of this.#waiting) if (!parcel.settled) this.#fail(parcel, "closed", reason, "not_run");
    this.#waiting = [];
    for (const parcel of [...this.#underWay]) this.#fail(parcel, "closed", reason, outcomeOf(parcel));
  }
}

/** Neighbours that can be sent as one call, together; never one past another, because the calls of a client run in order (D-007). */
function runsOf(parcels: readonly Parcel[]): Parcel[][] {
  const runs: Parcel[][] = [];
  for (const parcel of parcels) {
    const run = runs.at(-1);
    if (run !== undefined && continues(run, parcel)) run.push(parcel);
    else runs.push([parcel]);
  }
  return runs;
}

/** A call with a deadline or a signal of its own can be given up alone, so it goes alone. */
function continues(run: readonly Parcel[], { calls, guarded, separate }: Parcel): boolean {
  const [first, last, next] = [run[0]?.calls[0], run.at(-1)?.calls[0], calls[0]] as [Outgoing, Outgoing, Outgoing];
  const { joining } = next.operation;
  // A key stands for one call.
  if (last.caller?.[2] !== undefined || next.caller?.[2] !== undefined) return false;
  if (joining === undefined || last.operation !== next.operation || guarded || run[0]?.guarded || separate)
    return false;
  if (last.caller?.[0] !== next.caller?.[0] || last.caller?.[1] !== next.caller?.[1]) return false;
  return joining.follows(next.wire, last.wire, first.wire);
}

function joined(run: readonly Parcel[]): readonly Outgoing[] {
  const { calls } = run[0] as Parcel;
  const [head] = calls as readonly [Outgoing];
  if (run.length === 1 || head.operation.joining === undefined) return calls;
  return [{ ...head, wire: head.operation.joining.join(run.map((parcel) => (parcel.calls[0] as Outgoing).wire)) }];
}

/** Checks whether the failure of a joined call may be untrue of some of its parts. */
function isAmbiguous({ operation }: Outgoing, answer: Answer | undefined): boolean {
  return answer?.[0] === false && (operation.joining?.separateOn ?? []).includes(answer[1][0]);
}

/** Of a call whose answer is lost. A read changes nothing, whether it ran or not. */
function outcomeOf({ calls }: Parcel): Outcome {
  return calls.every(({ operation }) => operation.access === "read") ? "not_run" : "unknown";
}

function failed(code: ErrorCode, message: string, outcome: Outcome): readonly Answer[] {
  return [[false, [code, message, outcome, {}]]];
}

function givenUpMessage(code: ErrorCode): string {
  return code === "aborted" ? "the caller's signal fired" : "the time given to the call is over";
}

function waitMsOf(calls: readonly Outgoing[]): number {
  return calls.reduce(
    (sum, { operation, wire }) => sum + (operation.waits ? operation.waitMs(operation.decode(wire)) : 0),
    0,
  );
}

/** Roughly what travels: strings and bytes. */
function weigh(wire: readonly unknown[]): number {
  let sum = 16;
  for (const value of wire) {
    if (typeof value === "string") sum += value.length;
    else if (value instanceof Uint8Array) sum += value.byteLength;
    else if (Array.isArray(value)) sum += weigh(value);
    else if (value !== null && typeof value === "object") sum += weigh(Object.values(value));
  }
  return sum;
}
