// Turns the tracing channels of the stores of a thread into spans and metrics of OpenTelemetry.
import type { TracingChannelSubscribers } from "node:diagnostics_channel";
import { type MeterProvider, metrics, type TracerProvider, trace } from "@opentelemetry/api";
import { packageVersion } from "../package.ts";
import { callChannel, groupChannel, serveChannel } from "../tracing.ts";
import { StoreMetrics } from "./metrics.ts";
import { StoreSpans } from "./spans.ts";

export interface InstrumentOptions {
  /** The provider of tracers. Defaults to the global one. */
  readonly tracerProvider?: TracerProvider;
  /** The provider of meters. Defaults to the global one. */
  readonly meterProvider?: MeterProvider;
}

const scope = "debug-server-db";

/**
 * Makes spans and metrics of the calls that this thread makes, and of those that run in the stores that it opens. Returns a
 * function that ends it. Call it once in a thread, before `openStore`; a second time would count everything twice.
 */
export function instrumentStores(options: InstrumentOptions = {}): () => void {
  const { tracerProvider = trace, meterProvider = metrics } = options;
  const spans = new StoreSpans(tracerProvider.getTracer(scope, packageVersion));
  const figures = new StoreMetrics(meterProvider.getMeter(scope, packageVersion));
  const ends = [
    listen(callChannel, {
      start: (call) => spans.beginCall(call),
      asyncEnd: (call) => {
        spans.endCall(call);
        figures.countCall(call);
      },
    }),
    listen(groupChannel, {
      asyncEnd: (group) => {
        spans.addGroup(group);
        figures.countGroup(group);
      },
    }),
    listen(serveChannel, {
      asyncEnd: (served) => {
        spans.addServed(served);
        figures.countServed(served);
      },
    }),
  ];
  return () => {
    for (const end of ends) end();
  };
}

type Listeners<Message extends object> = Partial<TracingChannelSubscribers<Message>>;

interface Subscribable<Message extends object> {
  subscribe(listeners: TracingChannelSubscribers<Message>): void;
  unsubscribe(listeners: TracingChannelSubscribers<Message>): void;
}

/** Subscribes to some events of a channel. Returns a function that unsubscribes. */
function listen<Message extends object>(channel: Subscribable<Message>, chosen: Listeners<Message>): () => void {
  const listeners = chosen as TracingChannelSubscribers<Message>;
  channel.subscribe(listeners);
  return () => channel.unsubscribe(listeners);
}
