// The state of a call from its admission to its answer: its entry, the envelope in which it arrived, and the client
// that sent it.
import type { Call, Lane } from "../operation.ts";
import { type ServeTrace, traceAnswer } from "../tracing.ts";
import type { Answer, Reply } from "../wire.ts";
import type { Fifo } from "./fifo.ts";

// The life of an entry
//
//   admitted                  taken                   a result, or a failure
//   --------> in the queue  --------->  in a group  --------------------------> answered
//                ^  ^                     |    |                                    ^
//                |  '------ put back -----'    | nothing yet                        |
//                |                             v                                    |
//                '---------- woken ---------- parked -------------------------------'
//                                                    its time is up, or the mailbox closes
//
// Queue. Admission creates an entry for each call of an envelope, counts it for its client, and appends it to one of the
// client's three lanes. Nothing of its input has been read yet: that costs time, which must be the client's own. When
// its turn comes, the calls are decoded, and the entry joins a group or is answered with the reason why it is refused.
//
// Group. The entries of a group run in one transaction. Nothing can stop an entry now, because it may already have run.
// Most leave the group with their answer. Some are put back to the head of their client's lane and have not run: those
// that the group had no time for, and those that need the write lock while another process holds it.
//
// Parked. A call that may wait and found nothing yet leaves the group without an answer. It waits outside queues and
// transactions until one of its topics is touched, and then goes to the end of its client's normal lane. If a topic was
// touched elsewhere while its group ran, the call may have missed that commit, and goes to the queue at once. When its
// time is up, what it found last is its answer.
//
// On a reader. A read of a page or more may leave the group before it runs, or once the writes of its client before it
// are committed, and run on a reader (longReads.ts). It comes back with its answer, or to the queue, to run in a group
// after all. As it only reads, it can be cancelled at any time.
//
// Fetching. A call that needs blocks of an archived log leaves the group as if it had not run. While they are fetched it
// waits like a parked call, and then goes to the end of its client's lane.
//
// Answered. An entry is answered once, and `done` from then on. A call that is cancelled in the queue or while parked
// is answered with `aborted`. One that is cancelled in a group is answered with its result, or with `aborted` when it
// has not begun, or would be parked or put back. A mailbox that closes answers parked calls with `closed`, runs those in
// the queues, and parks no more. The entries of a client that disconnects are dropped: they are `done` without an
// answer.
//
// An entry that is done while in the queue keeps its place there, and still counts for its client, until the queue
// gives it out. Otherwise a client could fill the memory by sending and cancelling.

/** Calls that run as one: a single call, or all calls of an atomic envelope. */
export interface Entry {
  readonly client: Client;
  readonly envelope: OpenEnvelope;
  /** The index of its first answer in the envelope. */
  readonly slot: number;
  /** The number of its calls. */
  readonly width: number;
  /** The size of its inputs. */
  readonly bytes: number;
  /** The entities of its calls whose order matters, each once. */
  readonly entities: readonly string[];
  /** The lane in which it waits. One that has waited for a topic is an ordinary call of its client from then on. */
  lane: Lane;
  /** The calls of its envelope as they arrived; undefined once its own are decoded. */
  arrived: readonly unknown[] | undefined;
  /** Its calls. Empty until its turn comes. */
  calls: readonly Call[];
  /** The size that its results may have; known when its calls are. */
  resultBytes: number;
  /** The time that was spent on it outside a transaction and is not charged to its client yet. */
  spentMs: number;
  /** The time that its client was charged for it in advance. */
  chargedMs: number;
  place: "queue" | "group" | "parked" | "reader" | "fetching";
  /** True once it runs in a group whatever it reads, because no reader can run it. */
  stays: boolean;
  /** The kind of topic that woke it alone, if so (D-102): another one is woken after it, unless it finds nothing. */
  wokenFor: string | undefined;
  /** True once it was cancelled in a group. The group may have run it, so its result decides about its answer. */
  cancelled: boolean;
  /** True once it was answered, or dropped with its client. */
  done: boolean;
  /** The time at which it last joined the queue, other than by being put back. */
  queuedAtMs: number;
  /** The time at which it arrived, by the elapsed time of the store's clock, which a test may move. */
  readonly arrivedAtMs: number;
  /** The time at which a call that finds nothing stops waiting, by the same clock; set when it first finds nothing. */
  parkUntilMs: number | undefined;
  /** The message that describes it to those who listened when it arrived. */
  readonly trace: ServeTrace | undefined;
}

/** An envelope that is not answered yet. */
export interface OpenEnvelope {
  readonly client: Client;
  readonly id: number;
  readonly isAtomic: boolean;
  readonly entries: Entry[];
  /** The answers that were not sent yet, two values for each call, and the slots of their calls. */
  answers: unknown[];
  slots: number[];
  /** The size that the answers which were not sent yet may have. */
  resultBytes: number;
  /** The number of entries without an answer. */
  unanswered: number;
  /** True when some of its answers were sent. */
  inParts: boolean;
  /** Sends answers while others are missing. Without it they are sent together. */
  readonly onPart: ((part: Reply) => void) | undefined;
  /** Sends the last answers. */
  readonly resolve: (reply: Reply) => void;
}

/** A queue whose turns are decided by the time that it has used. */
export interface Flow {
  readonly queue: Fifo<Entry>;
  /** The time that its entries have used, divided by its share. */
  virtualMs: number;
}

export interface Client {
  readonly lanes: Readonly<Record<Lane, Flow>>;
  readonly envelopes: Map<number, OpenEnvelope>;
  readonly mayCall: (name: string) => boolean;
  /** The time that its entries have used. */
  virtualMs: number;
  /** The virtual time of the lane whose turn it was last. */
  laneVirtualMs: number;
  /** The time that one of its entries used of late. */
  costMs: number;
  /** The number of its normal entries that wait for their turn or for the end of their group, by the entity they name. */
  readonly ordinary: Map<string, number>;
  /** The totals over its entries. An entry counts from its admission until it is done and out of the queue. */
  calls: number;
  bytes: number;
  /** The number of its entries that are parked. */
  parked: number;
}

/** Adds an entry to the totals of its client. */
export function count({ client, width, bytes }: Entry): void {
  client.calls += width;
  client.bytes += bytes;
}

/** Subtracts an entry that is done and out of the queue from the totals of its client. */
export function uncount({ client, width, bytes }: Entry): void {
  client.calls -= width;
  client.bytes -= bytes;
}

/** Records that a normal entry has begun to wait for its turn, or that it has run or is parked. */
export function noteWaits({ client: { ordinary }, lane, entities }: Entry, change: 1 | -1): void {
  if (lane !== "normal") return;
  for (const entity of entities) {
    const waiting = (ordinary.get(entity) ?? 0) + change;
    if (waiting === 0) ordinary.delete(entity);
    else ordinary.set(entity, waiting);
  }
}

/** Records the answers of an entry in its envelope. Returns false when it was answered before. */
export function settle(entry: Entry, answers: readonly Answer[]): boolean {
  if (entry.done) return false;
  drop(entry);
  if (entry.place !== "queue") uncount(entry);
  const { envelope, slot, resultBytes } = entry;
  for (let index = 0; index < answers.length; index++) addAnswer(envelope, slot + index, answers[index] as Answer);
  envelope.resultBytes += resultBytes;
  envelope.unanswered--;
  if (entry.trace !== undefined) {
    const failed = answers.find((answer) => answer[0] === false) as Extract<Answer, readonly [false, unknown]>;
    traceAnswer(entry.trace, failed && { code: failed[1][0], outcome: failed[1][2] });
  }
  return true;
}

/** Adds an answer to those that are sent next. */
export function addAnswer({ answers, slots }: OpenEnvelope, slot: number, [ok, wire]: Answer): void {
  answers.push(ok, wire);
  slots.push(slot);
}

/** Marks an entry as done: it will not run any more. */
export function drop(entry: Entry): void {
  if ((entry.place === "queue" || entry.place === "group") && !entry.done) noteWaits(entry, -1);
  entry.done = true;
  entry.arrived = undefined;
}

/** Creates a value for each lane. */
export function byLane<Value>(create: (lane: Lane) => Value): Record<Lane, Value> {
  return { urgent: create("urgent"), normal: create("normal"), background: create("background") };
}

/** Checks whether one of the entry's calls may write. */
export function writes({ calls }: Entry): boolean {
  return calls.some(({ operation }) => operation.access === "write");
}
