// Runs maintenance.reap at intervals while the server is open, and reports the rows that each pass ended.

import type { WireFailure } from "../errors.ts";
import type { StoreEvent } from "../events.ts";
import { operations } from "../operations/table.ts";
import { realTime } from "../realTime.ts";
import type { Inbox } from "./mailbox.ts";

/**
 * Starts the reaper and returns a function that stops it. Passes never overlap. A pass that reached its limit of rows
 * is followed by the next one at once, any other after `everyMs`. With an `everyMs` of 0 the reaper never runs.
 */
export function startReaper(inbox: Inbox, everyMs: number, onEvent: (event: StoreEvent) => void): () => void {
  if (everyMs === 0) return () => undefined;
  let stopped = false;
  let timer: NodeJS.Timeout;
  let envelopeId = 0;
  const reap = async (): Promise<void> => {
    const [, , [ok, wire]] = await inbox.post([++envelopeId, false, ["maintenance.reap", [], ["reaper", undefined]]]);
    const more = ok === true ? reportPass(wire, onEvent) : reportFailure(wire as WireFailure, onEvent);
    if (!stopped) timer = realTime.setTimeout(reap, more ? 0 : everyMs);
  };
  timer = realTime.setTimeout(reap, everyMs);
  return () => {
    stopped = true;
    realTime.clearTimeout(timer);
  };
}

/** Emits an event when the pass ended any rows. Returns true when it left rows for the next pass. */
function reportPass(wire: unknown, onEvent: (event: StoreEvent) => void): boolean {
  const { output, open } = operations.maintenance.reap;
  const { more, keys: _keys, ...reaped } = open(output.fromWire(wire), undefined);
  if (Object.values(reaped).some((ids) => ids.length > 0)) onEvent({ type: "reaped", ...reaped });
  return more;
}

function reportFailure([code, message]: WireFailure, onEvent: (event: StoreEvent) => void): boolean {
  // A file that is lost or read-only is reported once by its driver, or when it is opened.
  if (code !== "closed" && code !== "file_lost" && code !== "read_only")
    onEvent({ type: "fault", code, message: `the reaper failed: ${message}`, cause: undefined });
  return false;
}
