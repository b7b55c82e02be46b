// Runs the steps of retention at intervals while the server is open, with pauses between them, and reports what went.

import type { WireFailure } from "../errors.ts";
import type { StoreEvent } from "../events.ts";
import type { RetentionKind } from "../model/vocabulary.ts";
import { servedOperations } from "../operations/table.ts";
import { realTime } from "../realTime.ts";
import type { Inbox } from "./mailbox.ts";

type Rows = Partial<Record<RetentionKind, number>>;

/** The share of the time that a pass takes: after each step it waits this many times as long as the step took. */
const pauseFactor = 9;
const pauseMsMax = 1_000;

/**
 * Starts the pruner and returns a function that stops it. A pass begins `everyMs` after the one before has ended; with an
 * `everyMs` of 0 it never runs. `owner` is the name under which this server takes the lease of upkeep.
 */
export function startPruner(
  inbox: Inbox,
  { everyMs, owner }: { readonly everyMs: number; readonly owner: string },
  onEvent: (event: StoreEvent) => void,
): () => void {
  if (everyMs === 0) return () => undefined;
  let stopped = false;
  let timer: NodeJS.Timeout;
  let envelopeId = 0;
  let reportedHeldBy = "";
  const { encode, output, open } = servedOperations.maintenance.pruneNext;
  const runStep = async (from: string | undefined): Promise<void> => {
    const beganAtMs = realTime.elapsed();
    const input = encode({ owner, ...(from === undefined ? {} : { from }) });
    const call = ["maintenance.pruneNext", input, ["retention", undefined]] as const;
    const [, , [ok, wire]] = await inbox.post([++envelopeId, false, call]);
    const next = ok === true ? endStep(open(output.fromWire(wire), undefined)) : reportFailure(wire as WireFailure);
    if (stopped) return;
    const pauseMs = Math.min(pauseMsMax, pauseFactor * (realTime.elapsed() - beganAtMs));
    timer = realTime.setTimeout(() => void runStep(next), next === undefined ? everyMs : pauseMs);
  };
  /** Returns the position of the next step; undefined when the pass is over. */
  const endStep = ({ rows, heldBy, next }: Step): string | undefined => {
    if (next !== undefined) return next;
    const gone = Object.fromEntries(Object.entries(rows).filter(([, count]) => count > 0));
    // A consumer that stays behind is reported once.
    const isNews = heldBy.join("\n") !== reportedHeldBy;
    reportedHeldBy = heldBy.join("\n");
    if (isNews || Object.keys(gone).length > 0) onEvent({ type: "pruned", rows: gone, heldBy });
    return undefined;
  };
  const reportFailure = ([code, message]: WireFailure): undefined => {
    // A file that is lost or read-only is reported once by its driver, or when it is opened.
    if (code !== "closed" && code !== "file_lost" && code !== "read_only")
      onEvent({ type: "fault", code, message: `pruning failed: ${message}`, cause: undefined });
  };
  timer = realTime.setTimeout(() => void runStep(undefined), everyMs);
  timer.unref();
  return () => {
    stopped = true;
    realTime.clearTimeout(timer);
  };
}

interface Step {
  readonly rows: Rows;
  readonly heldBy: readonly string[];
  readonly next?: string | undefined;
}
