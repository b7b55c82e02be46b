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

/** Fails with `lease_lost`: the caller's fencing token is not, or no longer, that of the current lease. */
export function leaseLost(row: { readonly fence: number; readonly state: string }, fence: number): never {
  const message = `fence ${fence} holds no lease: the current fence is ${row.fence}, the state ${row.state}`;
  fail("lease_lost", { currentFence: row.fence, state: row.state }, message);
}

/** Fails with `lease_expired`: the caller still holds the lease, but its time has passed. */
export function leaseExpired(expiresAtMs: number): never {
  const expiredAt = new Date(expiresAtMs);
  fail("lease_expired", { expiredAt }, `the lease expired at ${expiredAt.toISOString()}: renew it sooner`);
}

function nounOf(entity: string): string {
  return entity.replaceAll("_", " ");
}
