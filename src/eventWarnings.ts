// The warnings of a process whose store was opened without a listener, so that faults are not silent: each kind of event at
// most once a minute, with a count.
import { levelOf, type StoreEvent, summaryOf } from "./events.ts";
import { realTime } from "./realTime.ts";

/** The events of a kind since its last warning. */
interface Kind {
  last: StoreEvent;
  /** The number of those that no warning has shown. */
  unshown: number;
}

/**
 * Returns a listener that makes a warning of the process of each event above the level `info`. Further events of its
 * kind within `everyMs` are counted, and shown together when that time is over.
 */
export function warnOfEvents(everyMs: number = warnEveryMs): (event: StoreEvent) => void {
  const kinds = new Map<string, Kind>();
  const watch = (name: string): void => {
    const timer = realTime.setTimeout(() => {
      const { last, unshown } = kinds.get(name) as Kind;
      if (unshown === 0) {
        kinds.delete(name);
        return;
      }
      warn(last, unshown === 1 ? "" : `${unshown} times within ${Math.round(everyMs / 1_000)} s, the last time: `);
      kinds.set(name, { last, unshown: 0 });
      watch(name);
    }, everyMs);
    timer.unref();
  };
  return (event) => {
    if (levelOf(event) === "info") return;
    const name = "code" in event ? `${event.type} ${event.code}` : event.type;
    const known = kinds.get(name);
    if (known !== undefined) {
      known.last = event;
      known.unshown++;
      return;
    }
    kinds.set(name, { last: event, unshown: 0 });
    warn(event, "");
    watch(name);
  };
}

/** The time in which a kind of event is shown once, in milliseconds. */
const warnEveryMs = 60_000;

function warn(event: StoreEvent, times: string): void {
  const { text, cause } = summaryOf(event);
  process.emitWarning(`${times}${text}`, {
    type: "StoreWarning",
    code: event.type,
    ...(cause === undefined ? {} : { detail: cause }),
  });
}
