// The figures that a mailbox and a server count for maintenance.stats, and the sums over the mailboxes of a server.
import type { CountOf, Measure } from "../context.ts";
import { Counts, type Distribution, type Distributions, type Ended, sumDistributions } from "../model/distributions.ts";
import { commandOutcomes, sessionOutcomes } from "../model/vocabulary.ts";
import type { Lane } from "../operation.ts";
import { byLane } from "./entry.ts";

type Totals = Record<string, number>;

/** The bounds of the distributions. */
const groupBounds = [1, 2, 4, 8, 16, 32, 64, 128, 256];
const callBoundsMs = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000];
const seconds = 1_000;
const startBoundsMs = [0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3_600].map((one) => one * seconds);
const commandBoundsMs = [0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 14_400].map(
  (one) => one * seconds,
);

/** The distributions that each mailbox counts by itself. */
type OfMailbox = Pick<Distributions, "groupCalls" | "commitMs" | "waitMs">;

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
  readonly #groupCalls = new Counts(groupBounds);
  readonly #commitMs = new Counts(callBoundsMs);
  readonly #waitMs = byLane(() => new Counts(callBoundsMs));

  /** Counts a group that ran, with the number of its entries. */
  countGroup(entries: number): void {
    this.#totals.groups++;
    this.#totals.calls += entries;
    this.#totals.groupCallsMax = Math.max(this.#totals.groupCallsMax, entries);
    this.#groupCalls.add(entries);
  }

  /** Counts a COMMIT of rows. */
  countCommit(ms: number): void {
    this.#commitMs.add(ms);
  }

  /** Counts an entry that was answered, with the time from its last turn in a queue to the start of its group. */
  countAnswer(lane: Lane, waitMs: number): void {
    this.#lanes[lane].calls++;
    addWait(this.#totals, waitMs);
    addWait(this.#lanes[lane], waitMs);
    this.#waitMs[lane].add(waitMs);
  }

  countBusyRetry(): void {
    this.#totals.busyRetries++;
  }

  countClockJump(): void {
    this.#totals.clockJumps++;
  }

  totals(): Totals {
    return { ...this.#totals };
  }

  /** Returns the figures of each lane; `queued` holds the numbers of entries that wait now. */
  lanes(queued: Readonly<Record<Lane, number>>): Record<Lane, Totals> {
    return byLane((lane) => ({ queued: queued[lane], ...this.#lanes[lane] }));
  }

  distributions(): OfMailbox {
    return {
      groupCalls: this.#groupCalls.distribution(),
      commitMs: this.#commitMs.distribution(),
      waitMs: byLane((lane) => this.#waitMs[lane].distribution()),
    };
  }
}

/** Counts what happens to commands and sessions on a server. */
export class WorkFigures {
  readonly #startMs = new Counts(startBoundsMs);
  readonly #commandMs = byName(commandOutcomes, () => new Counts(commandBoundsMs));
  readonly #ended: { readonly [Entity in CountOf["entity"]]?: Record<string, number> } = {
    command: byName(commandOutcomes, () => 0),
    session: byName(sessionOutcomes, () => 0),
  };

  measure(measure: Measure): void {
    if (measure.what === "commandStart") this.#startMs.add(measure.ms);
    else this.#commandMs[measure.outcome].add(measure.ms);
  }

  /** Counts commands or sessions that have another state now, if they have ended with it. */
  countMoved({ entity, state, amount }: CountOf): void {
    const ended = this.#ended[entity];
    if (ended !== undefined && Object.hasOwn(ended, state)) ended[state] = (ended[state] as number) + amount;
  }

  distributions(): Omit<Distributions, keyof OfMailbox> {
    return {
      commandStartMs: this.#startMs.distribution(),
      commandMs: byName(commandOutcomes, (outcome) => this.#commandMs[outcome].distribution()),
    };
  }

  ended(): Ended {
    return {
      commands: { ...(this.#ended.command as Ended["commands"]) },
      sessions: { ...(this.#ended.session as Ended["sessions"]) },
    };
  }
}

function byName<Name extends string, Value>(
  names: readonly Name[],
  create: (name: Name) => Value,
): Record<Name, Value> {
  return Object.fromEntries(names.map((name) => [name, create(name)])) as Record<Name, Value>;
}

function addWait(waits: { waitMsTotal: number; waitMsMax: number }, waitMs: number): void {
  waits.waitMsTotal += waitMs;
  if (waitMs > waits.waitMsMax) waits.waitMsMax = waitMs;
}

/** Adds up the figures of several mailboxes; of a figure that is a maximum it takes the largest. */
export function sumFigures(all: readonly Readonly<Totals>[]): Totals {
  const sums: Totals = {};
  for (const figures of all) {
    for (const [name, value] of Object.entries(figures)) {
      sums[name] = name.endsWith("Max") ? Math.max(sums[name] ?? 0, value) : (sums[name] ?? 0) + value;
    }
  }
  return sums;
}

/** Adds up the distributions of several mailboxes. */
export function sumOfMailboxes(all: readonly OfMailbox[]): OfMailbox {
  const sumOf = (pick: (one: OfMailbox) => Distribution) => sumDistributions(all.map(pick));
  return {
    groupCalls: sumOf(({ groupCalls }) => groupCalls),
    commitMs: sumOf(({ commitMs }) => commitMs),
    waitMs: byLane((lane) => sumOf(({ waitMs }) => waitMs[lane])),
  };
}
