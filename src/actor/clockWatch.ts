// Distinguishes a jump of the wall clock (sleep, time synchronization) from time that passed. After a jump, leases that
// were alive when the clock was last checked get one grace period instead of all expiring at once (D-021).
import { anonymous } from "../caller.ts";
import type { Clock } from "../clock.ts";
import type { Limits } from "../limits.ts";
import type { Call } from "../operation.ts";
import { extendLeases } from "../operations/maintenance.ts";

export function createClockWatch(clock: Clock, limits: Limits) {
  const currentOffsetMs = (): number => clock.now() - clock.elapsed();
  let offsetMs = currentOffsetMs();
  let aliveAt = new Date(clock.now());
  return {
    /** Returns the call that must run before any other, when the clock has jumped forward since it was last checked. */
    afterJump(): Call | undefined {
      if (currentOffsetMs() - offsetMs <= limits.clockJumpMs) return undefined;
      const input = { aliveAt } as never;
      return { name: "maintenance.extendLeases", operation: extendLeases, input, caller: anonymous, waitMs: 0 };
    },
    /**
     * Checks the clock at the end of a transaction. `extended` reports that the transaction extended leases. After a
     * jump without that, the previous check stays in force, so that the next transaction extends them.
     */
    settled(extended: boolean): void {
      const offset = currentOffsetMs();
      if (!extended && offset - offsetMs > limits.clockJumpMs) return;
      offsetMs = offset;
      aliveAt = new Date(clock.now());
    },
  };
}
