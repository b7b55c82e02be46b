// The units of work of contenders that keep tables of their own: each call is one transaction, and all of these
// contenders do the same calls.
import { type Cell, day, type Opened } from "../cells/cell.ts";
import { lineOf } from "../load.ts";

/** A row that is leased to the calling thread. */
export interface Held {
  readonly id: number;
  readonly fence: number;
}

type Answer<Result> = Result | Promise<Result>;

/** The calls of a contender. Each fails when it does not change what it should. */
export interface Calls {
  enqueue(argv: string): Answer<void>;
  claim(): Answer<Held>;
  reserve(): Answer<Held>;
  append(command: Held, offset: number, data: Uint8Array): Answer<void>;
  heartbeat(command: Held, worktree: Held): Answer<void>;
  record(command: Held): Answer<void>;
  finish(command: Held): Answer<void>;
  release(worktree: Held): Answer<void>;
}

export const artifact = {
  name: "output.txt",
  sha256: "0".repeat(64),
  uri: "file:///srv/artifacts/output.txt",
} as const;

/**
 * Returns the unit of a scenario. A day with several appends in flight writes that many lines with one call: a
 * contender that waits for each call can still collect lines first.
 */
export function unitOf({ scenario, inFlight }: Cell, calls: Calls): Opened["unit"] {
  const lines = lineOf(day.bytes * (scenario === "runner-day" ? inFlight : 1));
  const bytesOfDay = day.bytes * day.appends;
  let offset = 0;
  const units = {
    enqueue: () => calls.enqueue(JSON.stringify(["true"])),
    async work() {
      await calls.finish(await calls.claim());
    },
    async lone() {
      await calls.append({ id: 1, fence: 0 }, offset, lines);
      offset += lines.byteLength;
    },
    async "runner-day"() {
      const command = await calls.claim();
      const worktree = await calls.reserve();
      for (let at = 0; at < bytesOfDay; at += lines.byteLength)
        await calls.append(command, at, lines.subarray(0, bytesOfDay - at));
      await calls.heartbeat(command, worktree);
      await calls.record(command);
      await calls.finish(command);
      await calls.release(worktree);
    },
  };
  return units[scenario];
}
