// Tells a jump of the wall clock (sleep, time synchronization) from time that passed. After a jump, leases that were
// alive at the last look get one grace period instead of all expiring at once (D-021).

import { anonymous } from "../caller.ts";
import type { Clock } from "../clock.ts";
import type { Limits } from "../limits.ts";
import type { Call } from "../operation.ts";
import { extendLeases } from "../operations/maintenance.ts";

export function createClockWatch(clock: Clock, limits: Limits) {
  let offsetMs = clock.now() - clock.elapsed();
  let aliveAt = new Date(clock.now());
  return {
    /** The call to run before anything else, if the clock has jumped forward since the last look. */
    afterJump(): Call | undefined {
      const jumpedMs = clock.now() - clock.elapsed() - offsetMs;
      if (jumpedMs <= limits.clockJumpMs) return undefined;
      const input = { aliveAt } as never;
      return { name: "maintenance.extendLeases", operation: extendLeases, input, caller: anonymous, waitMs: 0 };
    },
    /** A transaction has ended; after a jump that nobody has dealt with yet, the last look stays what it was. */
    settled(extended: boolean): void {
      const offset = clock.now() - clock.elapsed();
      if (!extended && offset - offsetMs > limits.clockJumpMs) return;
      offsetMs = offset;
      aliveAt = new Date(clock.now());
    },
  };
}
