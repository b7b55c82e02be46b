// Joins neighbouring calls of one tick into one call, where their operation says how (D-007). A call never overtakes
// another, because the calls of a client run in order.
import type { Outgoing } from "./outgoing.ts";
import type { Answer } from "./wire.ts";

/** A unit of an envelope, as far as joining looks at it. */
export interface Joinable {
  readonly calls: readonly Outgoing[];
  /** It has a deadline or a signal of its own: it can be given up alone, so it goes alone. */
  readonly guarded: boolean;
  /** It was part of a joined call whose answer may not be true of it. */
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
  return [{ ...head, wire: head.operation.joining.join(run.map((unit) => (unit.calls[0] as Outgoing).wire)) }];
}

/** Checks whether the failure of a joined call may be untrue of some of its parts. */
export function isAmbiguous({ operation }: Outgoing, answer: Answer | undefined): boolean {
  return answer?.[0] === false && (operation.joining?.separateOn ?? []).includes(answer[1][0]);
}

function continues(run: readonly Joinable[], next: Joinable): boolean {
  const [first, last, following] = [run[0], run.at(-1), next].map((unit) => unit?.calls[0]) as [
    Outgoing,
    Outgoing,
    Outgoing,
  ];
  const { joining } = following.operation;
  if (joining === undefined || last.operation !== following.operation) return false;
  if (next.guarded || next.separate || run[0]?.guarded) return false;
  return isSameCaller(last, following) && joining.follows(following.wire, last.wire, first.wire);
}

/** An idempotency key stands for one call, so a call that has one is joined with none. */
function isSameCaller({ caller: one }: Outgoing, { caller: other }: Outgoing): boolean {
  if (one?.[2] !== undefined || other?.[2] !== undefined) return false;
  return one?.[0] === other?.[0] && one?.[1] === other?.[1];
}
