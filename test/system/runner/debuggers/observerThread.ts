// A thread that reads a debug session while another thread drives it: repeatedly with get, and once with follow.
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { attachStore, type DebugEvent } from "../../../../src/index.ts";

/** The state at one moment in a short form. */
export interface Seen {
  readonly state: string;
  readonly stopEpoch: number;
  readonly nextPosition: number;
  readonly stopReason: string | null;
  readonly events: readonly (readonly [event: string, reason: unknown, stopEpoch: number])[];
  readonly threads: readonly (readonly [stopEpoch: number, line: number | undefined])[];
}

export interface Observed {
  readonly views: readonly Seen[];
  readonly followed: readonly Pick<DebugEvent, "position" | "event">[];
}

const { port, debugSessionId } = workerData as { readonly port: MessagePort; readonly debugSessionId: string };
const store = attachStore(port);

async function readViews(): Promise<Seen[]> {
  const views: Seen[] = [];
  for (let state = ""; state !== "terminated"; ) {
    const { debugSession, events, threads } = await store.debug.get({ debugSessionId, events: 500 });
    if (views.length === 0) parentPort?.postMessage("reading");
    state = debugSession.state;
    views.push({
      state,
      stopEpoch: debugSession.stopEpoch,
      nextPosition: debugSession.nextPosition,
      stopReason: debugSession.stopReason,
      events: events.map(({ event, body, stopEpoch }) => [event, body?.reason, stopEpoch]),
      threads: threads.map(({ stopEpoch, frames }) => [stopEpoch, frames[0]?.line]),
    });
  }
  return views;
}

async function follow(): Promise<Observed["followed"]> {
  const followed: Pick<DebugEvent, "position" | "event">[] = [];
  for await (const { position, event } of store.debug.follow({ debugSessionId })) followed.push({ position, event });
  return followed;
}

const [views, followed] = await Promise.all([readViews(), follow()]);
parentPort?.postMessage({ views, followed } satisfies Observed);
await store.close();
