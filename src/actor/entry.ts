// The state of a call from its admission to its answer: its entry, the envelope in which it arrived, and the client
// that sent it.
import type { Call, Lane } from "../operation.ts";
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
// Queue. Admission creates an entry for each call that passes its checks, counts it for its client, and appends it to
// one of the client's three queues. The queues hand entries out in turns, as groups.
//
// Group. The entries of a group run in one transaction. Nothing can stop an entry now, because it may already have run.
// Most leave the group with their answer. Some are put back to the head of their client's queue and have not run: those
// that the group had no time for, and those that need the write lock while another process holds it.
//
// Parked. A call that may wait and found nothing yet leaves the group without an answer. It waits outside queues and
// transactions until one of its topics is touched, and then goes to the end of its client's normal queue. If a topic
// was touched elsewhere while its group ran, the call may have missed that commit, and goes to the queue at once. When
// its time is up, what it found last is its answer.
//
// Answered. An entry is answered once, and `done` from then on. A call that is cancelled in the queue or while parked
// is answered with `aborted`. One that is cancelled in a group is answered with its result, or with `aborted` when it
// would be parked or put back instead. A mailbox that closes answers parked calls with `closed`, runs those in the
// queues, and parks no more. The entries of a client that disconnects are dropped: they are `done` without an answer.
//
// An entry that is done while in the queue keeps its place there, and still counts for its client, until the queue
// gives it out. Otherwise a client could fill the memory by sending and cancelling.

/** Calls that run as one: a single call, or all calls of an atomic envelope. */
export interface Entry {
  readonly client: Client;
  readonly envelope: OpenEnvelope;
  /** The index of its first answer in the envelope. */
  readonly slot: number;
  readonly calls: readonly Call[];
  /** The size of its inputs. */
  readonly bytes: number;
  /** The size that its results may have. */
  readonly resultBytes: number;
  /**
   * True when the results count for the client from the admission on, because they are kept until the whole envelope is
   * answered. A call that may wait and travels alone has no result before its last group, and counts only there.
   */
  readonly reservesResults: boolean;
  place: "queue" | "group" | "parked";
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
}

/** An envelope that is not answered yet. */
export interface OpenEnvelope {
  readonly id: number;
  /** Two values for each call, as in a reply. */
  readonly answers: unknown[];
  readonly entries: Entry[];
  /** The number of entries without an answer; the reply is sent when it reaches 0. */
  unanswered: number;
  resolve(reply: Reply): void;
}

export interface Client {
  readonly queues: Readonly<Record<Lane, Fifo<Entry>>>;
  readonly envelopes: Map<number, OpenEnvelope>;
  readonly mayCall: (name: string) => boolean;
  /** The totals over its entries. An entry counts from its admission until it is done and out of the queue. */
  calls: number;
  bytes: number;
  /** The total of the entries that reserve their results. */
  resultBytes: number;
  /** The number of its entries that are parked. */
  parked: number;
}

/** Adds an entry to the totals of its client. */
export function count({ client, calls, bytes, resultBytes, reservesResults }: Entry): void {
  client.calls += calls.length;
  client.bytes += bytes;
  if (reservesResults) client.resultBytes += resultBytes;
}

/** Subtracts an entry that is done and out of the queue from the totals of its client. */
export function uncount({ client, calls, bytes, resultBytes, reservesResults }: Entry): void {
  client.calls -= calls.length;
  client.bytes -= bytes;
  if (reservesResults) client.resultBytes -= resultBytes;
}

/**
 * Records the answers of an entry in its envelope. Returns true when all entries of the envelope are answered, so that
 * the reply can be sent.
 */
export function settle(entry: Entry, answers: readonly Answer[]): boolean {
  if (entry.done) return false;
  entry.done = true;
  if (entry.place !== "queue") uncount(entry);
  const { client, envelope, slot, calls } = entry;
  // One failure stands for all calls of an atomic envelope.
  if (answers.length < calls.length) envelope.answers.length = 2;
  for (let index = 0; index < answers.length; index++) {
    const [ok, wire] = answers[index] as Answer;
    envelope.answers[(slot + index) * 2] = ok;
    envelope.answers[(slot + index) * 2 + 1] = wire;
  }
  if (--envelope.unanswered > 0) return false;
  client.envelopes.delete(envelope.id);
  return true;
}

/** Returns the lane of an entry. One that has waited before is an ordinary call of its client. */
export function laneOf({ calls, parkUntilMs }: Entry): Lane {
  return calls.length === 1 && parkUntilMs === undefined ? (calls[0] as Call).operation.lane : "normal";
}

/** Creates a value for each lane. */
export function byLane<Value>(create: (lane: Lane) => Value): Record<Lane, Value> {
  return { urgent: create("urgent"), normal: create("normal"), background: create("background") };
}

/** Checks whether one of the entry's calls may write. */
export function writes({ calls }: Entry): boolean {
  return calls.some(({ operation }) => operation.access === "write");
}
