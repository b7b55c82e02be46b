// Reports a fault that lasts, such as a missing right, once a minute and not with every call and pass that it fails.

import type { ErrorCode } from "../errors.ts";
import type { StoreEvent } from "../events.ts";
import { realTime } from "../realTime.ts";

/** The codes of what surrounds the store. Faults of the store itself, and of the data, are each reported. */
const lasting: ReadonlySet<string> = new Set<ErrorCode>(["incompatible", "busy", "deadline_exceeded"]);

/** The time in which the same fault is reported once. */
const onceInMs = 60_000;

/** The number of different faults that are remembered. */
const faultsMax = 100;

/** Returns a listener that passes events on, except for faults that it has passed on lately. */
export function withoutRepetitions(onEvent: (event: StoreEvent) => void): (event: StoreEvent) => void {
  const reportedAtMs = new Map<string, number>();
  return (event) => {
    if (event.type === "fault" && lasting.has(event.code)) {
      const fault = `${event.code} ${event.message}`;
      const nowMs = realTime.elapsed();
      if (nowMs - (reportedAtMs.get(fault) ?? Number.NEGATIVE_INFINITY) < onceInMs) return;
      if (reportedAtMs.size >= faultsMax) reportedAtMs.clear();
      reportedAtMs.set(fault, nowMs);
    }
    onEvent(event);
  };
}
