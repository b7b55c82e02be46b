// Measures what listeners of the tracing channels cost: appends to a SQLite file while nobody listens (twice, to show how much
// the same thing differs), while somebody does, and with the spans of OpenTelemetry, in turns within one run.
import type { TracingChannelSubscribers } from "node:diagnostics_channel";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { MeterProvider } from "@opentelemetry/sdk-metrics";
import { TracerProvider } from "@opentelemetry/sdk-trace";
import { instrumentStores } from "../src/opentelemetry/index.ts";
import { callChannel, groupChannel, serveChannel } from "../src/tracing.ts";
import { lineOf, type Slot } from "./load.ts";
import { describe, type Environment, environment, spread, table } from "./report.ts";
import { newStore, temporaryFolder } from "./setup.ts";

export interface TracingOptions {
  readonly rounds: number;
  readonly seconds: number;
}

/** The listeners of a measurement. */
export const listeners = ["nobody", "nobody, again", "calls", "all channels", "OpenTelemetry"] as const;
const inFlight = [1, 16, 256] as const;

interface Figure {
  readonly listener: (typeof listeners)[number];
  readonly inFlight: number;
  readonly callsPerSecond: number[];
  /** The CPU time of all threads of the process per call, in microseconds. */
  readonly cpuUs: number[];
}

export interface TracingResult {
  readonly bench: "tracing";
  readonly environment: Environment;
  readonly options: TracingOptions;
  readonly figures: readonly Figure[];
}

export async function runTracing(options: TracingOptions): Promise<TracingResult> {
  const { store, slots } = await newStore(join(temporaryFolder(), "tracing.db"), Math.max(...inFlight));
  const line = lineOf(256);
  const append = async (slot: Slot): Promise<void> => {
    const { commandId, fence, offset } = slot;
    await store.logs.append({ commandId, fence, offset, data: line });
    slot.offset += line.byteLength;
  };
  const measure = async ({ listener, inFlight: many }: Figure, seconds: number) => {
    const stop = listen(listener);
    // The database thread is told within a tenth of a second.
    await sleep(200);
    let calls = 0;
    const cpu = process.cpuUsage();
    const startedMs = performance.now();
    await Promise.all(
      slots.slice(0, many).map(async (slot) => {
        for (; performance.now() - startedMs < seconds * 1_000; calls++) await append(slot);
      }),
    );
    const elapsedMs = performance.now() - startedMs;
    const { user, system } = process.cpuUsage(cpu);
    stop();
    await sleep(200);
    return { callsPerSecond: (calls / elapsedMs) * 1_000, cpuUs: (user + system) / calls };
  };
  const figures = inFlight.flatMap((many) =>
    listeners.map((listener): Figure => ({ listener, inFlight: many, callsPerSecond: [], cpuUs: [] })),
  );
  for (let round = 0; round <= options.rounds; round++) {
    // Every other round goes backwards, so that none always follows the same one.
    for (const figure of round % 2 === 0 ? figures : figures.toReversed()) {
      const { callsPerSecond, cpuUs } = await measure(figure, options.seconds);
      // The first round warms up.
      if (round === 0) continue;
      figure.callsPerSecond.push(callsPerSecond);
      figure.cpuUs.push(cpuUs);
    }
  }
  await store.close();
  return { bench: "tracing", environment: environment(), options, figures };
}

/** Begins to listen. Returns a function that ends it. */
function listen(listener: Figure["listener"]): () => void {
  switch (listener) {
    case "nobody":
    case "nobody, again":
      return () => undefined;
    case "calls":
      return subscribe([callChannel]);
    case "all channels":
      return subscribe([callChannel, serveChannel, groupChannel]);
    case "OpenTelemetry":
      return instrumentStores({ tracerProvider: new TracerProvider(), meterProvider: new MeterProvider() });
  }
}

interface Subscribable {
  subscribe(listeners: TracingChannelSubscribers<never>): void;
  unsubscribe(listeners: TracingChannelSubscribers<never>): void;
}

function subscribe(channels: readonly Subscribable[]): () => void {
  const nothing = () => undefined;
  const all = { start: nothing, end: nothing, asyncStart: nothing, asyncEnd: nothing, error: nothing };
  for (const channel of channels) channel.subscribe(all);
  return () => {
    for (const channel of channels) channel.unsubscribe(all);
  };
}

export function renderTracing({ environment: where, options, figures }: TracingResult): string {
  const rows = figures.map((figure) => {
    const base = figures.find((one) => one.listener === "nobody" && one.inFlight === figure.inFlight) as Figure;
    const ratiosOf = (pick: "callsPerSecond" | "cpuUs") =>
      figure[pick].map((value, round) => value / (base[pick][round] ?? value));
    const { listener, inFlight: many, callsPerSecond, cpuUs } = figure;
    const columns = [callsPerSecond, ratiosOf("callsPerSecond"), cpuUs, ratiosOf("cpuUs")];
    return [`${many} in flight, ${listener}`, ...columns.map(spread)];
  });
  const title = `${describe(where)}; ${options.rounds} rounds of ${options.seconds} s: medians, least..most`;
  return `${title}\n\n${table(["who listens", "calls/s", "of nobody", "CPU µs/call", "of nobody"], rows)}`;
}
