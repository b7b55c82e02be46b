// Sends the answers of envelopes: all of one in one reply, or in parts when some take longer.
import { realTime } from "../realTime.ts";
import type { OpenEnvelope } from "./entry.ts";

/**
 * The time for which answers wait for others of their envelope while none arrives, and while some do. Parts cost
 * throughput: when every envelope was sent in two of them, 16 clients with 256 calls in flight made 0.85 of the calls.
 */
const [partMs, partMsMax] = [25, 250];

export class Outbox {
  readonly #epoch: number;
  /** The size of the answers that are sent without waiting for others. */
  readonly #resultBytesMax: number;
  /** The number of commits so far, which every reply names. */
  commitSeq = 0;
  /** The envelopes with answers that were not sent yet. */
  readonly #answered = new Set<OpenEnvelope>();
  /** Those that are answered in part, with the time since when, and the number of answers when the timer last looked. */
  readonly #inParts = new Map<OpenEnvelope, { readonly sinceMs: number; answers: number }>();
  #partTimer: NodeJS.Timeout | undefined;

  constructor(epoch: number, resultBytesMax: number) {
    this.#epoch = epoch;
    this.#resultBytesMax = resultBytesMax;
  }

  /** Notes that an envelope has another answer. */
  add(envelope: OpenEnvelope): void {
    this.#answered.add(envelope);
  }

  /** Sends at once what an envelope has, if that waits for other answers. */
  sendWaiting(envelope: OpenEnvelope): void {
    if (this.#inParts.delete(envelope)) this.send(envelope);
  }

  /**
   * Sends the answers of the envelopes that are answered. Those of others are sent in parts, a little later: the calls
   * that a client makes in response share a message.
   */
  sendAnswered(): void {
    for (const envelope of this.#answered) {
      const isFull = envelope.resultBytes >= this.#resultBytesMax;
      if (envelope.unanswered > 0 && envelope.onPart !== undefined && !isFull) {
        if (!this.#inParts.has(envelope)) this.#inParts.set(envelope, { sinceMs: realTime.elapsed(), answers: 0 });
      } else {
        this.#inParts.delete(envelope);
        this.send(envelope);
      }
    }
    this.#answered.clear();
    this.#startPartTimer();
  }

  #sendParts(): void {
    this.#partTimer = undefined;
    for (const [envelope, waiting] of this.#inParts) {
      const { length } = envelope.slots;
      const isMoving = length > waiting.answers && realTime.elapsed() - waiting.sinceMs < partMsMax;
      waiting.answers = length;
      if (isMoving) continue;
      this.#inParts.delete(envelope);
      this.send(envelope);
    }
    this.#startPartTimer();
  }

  #startPartTimer(): void {
    if (this.#inParts.size > 0) this.#partTimer ??= realTime.setTimeout(() => this.#sendParts(), partMs);
  }

  /** Sends the answers that an envelope has got, as one reply if these are all. */
  send(envelope: OpenEnvelope): void {
    const { client, id, answers, slots, unanswered, onPart, resolve } = envelope;
    if (unanswered > 0) {
      if (onPart === undefined) return;
      envelope.answers = [];
      envelope.slots = [];
      envelope.resultBytes = 0;
      envelope.inParts = true;
      onPart([this.#epoch, this.commitSeq, answers, slots]);
      return;
    }
    client.envelopes.delete(id);
    if (envelope.inParts) resolve([this.#epoch, this.commitSeq, answers, slots]);
    else resolve([this.#epoch, this.commitSeq, inOrder(answers, slots)]);
  }
}

/** Returns the answers by the slots of their calls. */
function inOrder(answers: readonly unknown[], slots: readonly number[]): readonly unknown[] {
  if (slots.every((slot, index) => slot === index)) return answers;
  const ordered = new Array(answers.length);
  for (const [index, slot] of slots.entries()) {
    ordered[slot * 2] = answers[index * 2];
    ordered[slot * 2 + 1] = answers[index * 2 + 1];
  }
  return ordered;
}
