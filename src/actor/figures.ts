// The figures that a mailbox counts for maintenance.stats, and their sums over the mailboxes of a server.
import type { Lane } from "../operation.ts";
import { byLane } from "./entry.ts";

type Counts = Record<string, number>;

export class Figures {
  readonly #totals = {
    groups: 0,
    calls: 0,
    groupCallsMax: 0,
    waitMsTotal: 0,
    waitMsMax: 0,
    busyRetries: 0,
    clockJumps: 0,
  };
  readonly #lanes = byLane(() => ({ calls: 0, waitMsTotal: 0, waitMsMax: 0 }));

  /** Counts a group that ran, with the number of its entries. */
  countGroup(entries: number): void {
    this.#totals.groups++;
    this.#totals.calls += entries;
    this.#totals.groupCallsMax = Math.max(this.#totals.groupCallsMax, entries);
  }

  /** Counts an entry that was answered, with the time from its last turn in a queue to the start of its group. */
  countAnswer(lane: Lane, waitMs: number): void {
    this.#lanes[lane].calls++;
    addWait(this.#totals, waitMs);
    addWait(this.#lanes[lane], waitMs);
  }

  countBusyRetry(): void {
    this.#totals.busyRetries++;
  }

  countClockJump(): void {
    this.#totals.clockJumps++;
  }

  totals(): Counts {
    return { ...this.#totals };
  }

  /** Returns the figures of each lane; `queued` holds the numbers of entries that wait now. */
  lanes(queued: Readonly<Record<Lane, number>>): Record<Lane, Counts> {
    return byLane((lane) => ({ queued: queued[lane], ...this.#lanes[lane] }));
  }
}

function addWait(waits: { waitMsTotal: number; waitMsMax: number }, waitMs: number): void {
  waits.waitMsTotal += waitMs;
  if (waitMs > waits.waitMsMax) waits.waitMsMax = waitMs;
}

/** Adds up the figures of several mailboxes; of a figure that is a maximum it takes the largest. */
export function sumFigures(all: readonly Readonly<Counts>[]): Counts {
  const sums: Counts = {};
  for (const figures of all) {
    for (const [name, value] of Object.entries(figures)) {
      sums[name] = name.endsWith("Max") ? Math.max(sums[name] ?? 0, value) : (sums[name] ?? 0) + value;
    }
  }
  return sums;
}
