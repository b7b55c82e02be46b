// Joins calls of one tick into one call, where their operation defines how (D-007). Only neighbours are joined, so the
// calls of a client still run in order.
import type { Outgoing } from "./outgoing.ts";
import type { Answer } from "./wire.ts";

/** A unit of an envelope, with the facts that decide whether it can be joined. */
interface Joinable {
  readonly calls: readonly Outgoing[];
  /** True when it has a deadline or a signal of its own: it may be given up alone, so it is not joined. */
  readonly guarded: boolean;
  /** True when it was part of a joined call whose answer may not be true of it. */
  readonly separate: boolean;
}

/** Splits units into runs, in their order. The units of a run can be sent as one call. */
export function runsOf<Unit extends Joinable>(units: readonly Unit[]): Unit[][] {
  const runs: Unit[][] = [];
  for (const unit of units) {
    const run = runs.at(-1);
    if (run !== undefined && continues(run, unit)) run.push(unit);
    else runs.push([unit]);
  }
  return runs;
}

/** Returns the calls to send for a run: one call when it was joined. */
export function joinedCalls(run: readonly Joinable[]): readonly Outgoing[] {
  const { calls } = run[0] as Joinable;
  const [head] = calls as readonly [Outgoing];
  if (run.length === 1 || head.operation.joining === undefined) return calls;
  return [{ ...head, wire: head.operation.joining.join(run.map((unit) => firstCall(unit).wire)) }];
}

/** Checks whether a joined call failed in a way that may be untrue of some of its parts. */
export function isAmbiguous({ operation }: Outgoing, answer: Answer | undefined): boolean {
  return answer?.[0] === false && (operation.joining?.separateOn ?? []).includes(answer[1][0]);
}

function continues(run: readonly Joinable[], next: Joinable): boolean {
  const [first, last, following] = [firstCall(run[0]), firstCall(run.at(-1)), firstCall(next)];
  const { joining } = following.operation;
  if (joining === undefined || last.operation !== following.operation) return false;
  if (next.guarded || next.separate || run[0]?.guarded) return false;
  return isSameCaller(last, following) && joining.follows(following.wire, last.wire, first.wire);
}

function firstCall(unit: Joinable | undefined): Outgoing {
  return unit?.calls[0] as Outgoing;
}

/** An idempotency key stands for one call, so a call that has one is not joined. */
function isSameCaller({ caller: one }: Outgoing, { caller: other }: Outgoing): boolean {
  if (one?.[2] !== undefined || other?.[2] !== undefined) return false;
  return [0, 1, 6].every((part) => one?.[part] === other?.[part]);
}
