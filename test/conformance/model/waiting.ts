// Calls that wait: what a store may do with one that waits while others are made.
import { type Made, ordersOf } from "./explain.ts";
import type { ModelOperation } from "./operation.ts";
import { modelled } from "./operations.ts";
import { Failure, type State } from "./state.ts";

/** Shorter than the clock of a run moves, and longer than a store needs to wake a call. */
export const waitMs = 30_000;

/** The operations that wait. */
export const waiting = Object.keys(modelled).filter((name) => modelled[name]?.waits !== undefined);

/** The operations that wake most of the calls that wait. The ones that wake nothing may be made as well. */
export const waking = [
  "commands.enqueue",
  "commands.cancel",
  "commands.finish",
  "sessions.create",
  "sessions.cancel",
  "sessions.complete",
  "worktrees.release",
  "worktrees.register",
  "worktrees.restore",
  "worktrees.adopt",
  "worktrees.completeEvict",
  "repositories.upsert",
  "runners.drain",
] as const;

/** Returns the input of a call that waits. */
export function waitingInput(name: string, input: object): object {
  const { waits } = modelled[name] as ModelOperation;
  return waits === undefined ? input : { ...input, [waits]: waitMs };
}

/**
 * Returns the orders of the calls that may explain the outcomes, if one of them waits. That one runs when it arrives and
 * when it is woken, here at most twice without finding anything. It has no outcome when it was cancelled.
 */
export function* ordersWith(waits: Made, others: readonly Made[]): Generator<readonly Made[]> {
  const misses: Made = { ...waits, outcome: undefined, finds: false };
  const all = waits.outcome === undefined ? others : [...others, { ...waits, finds: true }];
  for (const order of ordersOf(all)) {
    const end = waits.outcome === undefined ? order.length : order.findIndex(({ finds }) => finds === true);
    if (waits.outcome !== undefined) yield order;
    for (let first = 0; first <= end; first++) {
      yield order.toSpliced(first, 0, misses);
      for (let second = first + 1; second <= end; second++)
        yield order.toSpliced(second, 0, misses).toSpliced(first, 0, misses);
    }
  }
}

/** Checks whether a call would find nothing in this state. */
export function findsNothing(state: State, call: Pick<Made, "name" | "input">): boolean {
  const { operation, result, after } = tryCall(state, call);
  return operation.isMiss(call.input, result, after);
}

/** Returns the state to which calls probably lead that are made one after the other. */
export function stateAfter(state: State, calls: readonly Pick<Made, "name" | "input">[]): State {
  return calls.reduce((before, call) => tryCall(before, call).after, state);
}

/** Makes a call in a copy of the state. Of rows that are equally good, it takes the first one. */
function tryCall(state: State, { name, input }: Pick<Made, "name" | "input">) {
  const operation = modelled[name] as ModelOperation;
  const after = state.copy();
  after.choices = { of: ([first]) => first };
  try {
    return { operation, result: operation.run(input, after), after };
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    return { operation, result: error, after: error.keepsChanges ? after : state };
  }
}
