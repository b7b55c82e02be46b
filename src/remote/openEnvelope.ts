// An envelope of a remote store that is not answered yet: which of its calls have an answer, which may have run, and what
// its caller hears.
import { type ErrorCode, errorCodes, type Outcome, type StoreError, type WireFailure } from "../errors.ts";
import { realTime } from "../realTime.ts";
import { callWidth, type Envelope, type Receiver, type Reply } from "../wire.ts";
import { isReading, isRepeatable, namesIn } from "./repeatable.ts";

export class OpenEnvelope {
  readonly envelope: Envelope;
  /** The number of answers that it gets: one for each call, or one for all of an atomic envelope. */
  readonly units: number;
  readonly #receiver: Receiver;
  readonly #answered = new Set<number>();
  /** The slots that may have reached the server, in this session or an earlier one. */
  readonly #sent = new Set<number>();
  /** The slots whose callers have given up. */
  readonly #givenUp = new Set<number>();
  #firstSentMs: number | undefined;

  constructor(envelope: Envelope, receiver: Receiver) {
    const [, isAtomic, calls] = envelope;
    this.envelope = envelope;
    this.units = isAtomic ? 1 : calls.length / callWidth;
    this.#receiver = receiver;
  }

  get isAnswered(): boolean {
    return this.#answered.size === this.units;
  }

  /** The slots that are not answered. */
  get slots(): readonly number[] {
    return Array.from({ length: this.units }, (_, slot) => slot).filter((slot) => !this.#answered.has(slot));
  }

  isOpen(slot: number): boolean {
    return slot < this.units && !this.#answered.has(slot);
  }

  giveUp(slot: number): void {
    this.#givenUp.add(slot);
  }

  isGivenUp(slot: number): boolean {
    return this.#givenUp.has(slot);
  }

  /** Records that slots may have reached the server. Returns those of which it was not recorded before. */
  sent(slots: readonly number[]): readonly number[] {
    this.#firstSentMs ??= realTime.elapsed();
    const fresh = slots.filter((slot) => !this.#sent.has(slot));
    for (const slot of fresh) this.#sent.add(slot);
    return fresh;
  }

  /** Takes `sent` back: the server has refused the request. */
  unsent(slots: readonly number[]): void {
    for (const slot of slots) this.#sent.delete(slot);
  }

  /** Checks whether a slot, whose session is over, can be sent again without running twice. */
  isRepeatable(slot: number, idempotencyMs: number): boolean {
    if (!this.#sent.has(slot)) return true;
    const agoMs = realTime.elapsed() - (this.#firstSentMs as number);
    return isRepeatable(this.envelope, slot, agoMs < idempotencyMs);
  }

  /** Passes on answers of the server. `slots` are those that the answers are of, in their order. */
  receive([epoch, commitSeq, answers]: Reply, slots: readonly number[]): void {
    const open = slots.filter((slot) => this.isOpen(slot));
    // Each slot is answered once, whatever a server sends.
    if (open.length !== slots.length || answers.length < 2 * slots.length) return;
    for (const slot of slots) this.#answered.add(slot);
    const isAll = slots.length === this.units;
    this.#receiver.receive(isAll ? [epoch, commitSeq, answers] : [epoch, commitSeq, answers, slots]);
  }

  /** Passes on that the server has not accepted the slots. */
  refuse(slots: readonly number[], [code, message, , details]: WireFailure): void {
    this.#fail(slots, [code, message, "not_run", details]);
  }

  /** Answers slots with a failure of the connection. Those that may have run are unknown, unless they only read. */
  fail(slots: readonly number[], code: ErrorCode, message?: string, details: StoreError["details"] = {}): void {
    const names = namesIn(this.envelope);
    const isRead = (slot: number) => (this.envelope[1] ? names : [names[slot] as string]).every(isReading);
    const outcomeOf = (slot: number): Outcome => (this.#sent.has(slot) && !isRead(slot) ? "unknown" : "not_run");
    for (const slot of slots) this.#fail([slot], [code, message ?? errorCodes[code].means, outcomeOf(slot), details]);
  }

  #fail(slots: readonly number[], failure: WireFailure): void {
    const open = slots.filter((slot) => this.isOpen(slot));
    if (open.length === 0) return;
    for (const slot of open) this.#answered.add(slot);
    this.#receiver.receive([0, 0, open.flatMap(() => [false, failure]), open]);
  }
}
