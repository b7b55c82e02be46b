// Records the messages of the tracing channels, with the events in which they come.
import type { TracingChannel } from "node:diagnostics_channel";
import type { TestContext } from "node:test";
import {
  type CallTrace,
  callChannel,
  type GroupTrace,
  groupChannel,
  type ServeTrace,
  serveChannel,
} from "../../../src/tracing.ts";

const events = ["start", "end", "asyncStart", "asyncEnd", "error"] as const;

/** The messages of a channel, each once, and the names of the events of each. */
interface Heard<Message> {
  readonly messages: readonly Message[];
  eventsOf(message: Message): readonly string[];
}

function hear<Message extends object>(t: TestContext, channel: TracingChannel<unknown, Message>): Heard<Message> {
  const heard = new Map<Message, string[]>();
  const listeners = Object.fromEntries(
    events.map((event) => [
      event,
      (message: unknown) => {
        const known = heard.get(message as Message);
        if (known === undefined) heard.set(message as Message, [event]);
        else known.push(event);
      },
    ]),
  ) as Record<(typeof events)[number], (message: unknown) => void>;
  channel.subscribe(listeners);
  t.after(() => channel.unsubscribe(listeners));
  return {
    get messages() {
      return [...heard.keys()];
    },
    eventsOf: (message) => heard.get(message) ?? [],
  };
}

/** Listens to all channels until the test ends. */
export function listen(t: TestContext) {
  const calls: Heard<CallTrace> = hear(t, callChannel as never);
  const served: Heard<ServeTrace> = hear(t, serveChannel as never);
  const groups: Heard<GroupTrace> = hear(t, groupChannel as never);
  return { calls, served, groups };
}
