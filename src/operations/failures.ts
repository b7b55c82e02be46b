// The failures that operations share. Each has the details that callers read, and a message that names the row.
import { fail } from "../operation.ts";

/** Fails with `not_found`. */
export function notFound(entity: string, id: string): never {
  fail("not_found", { entity, id }, `there is no ${nounOf(entity)} ${id}`);
}

/** Fails with `invalid_transition`, for a rule that `requireState` cannot express. */
export function invalidTransition(entity: string, state: string, message: string): never {
  fail("invalid_transition", { entity, state }, message);
}

/** Fails with `invalid_transition` unless the row is in one of the states. */
export function requireState<State extends string>(
  { id, state }: { readonly id: string; readonly state: State },
  entity: string,
  states: readonly State[],
): void {
  if (states.includes(state)) return;
  invalidTransition(entity, state, `${nounOf(entity)} ${id} is ${state}; expected ${states.join(" or ")}`);
}

/** Fails with `lease_lost`: the caller's fencing token is not, or no longer, that of a lease. */
export function leaseLost(row: { readonly fence: number; readonly state: string }, fence: number): never {
  const reason =
    fence === row.fence
      ? "its lease has ended (it ran out, was released, or its command ended)"
      : `the current fence is ${row.fence}`;
  const message = `fence ${fence} holds no lease: ${reason}, the state is ${row.state}`;
  fail("lease_lost", { currentFence: row.fence, state: row.state }, message);
}

function nounOf(entity: string): string {
  return entity.replaceAll("_", " ");
}
