// OpenTelemetry for tests: spans and metrics are kept in memory, and the active span follows asynchronous calls.
import { context, type Span, type TracerProvider as Tracers, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import { InMemorySpanExporter, type ReadableSpan, SimpleSpanProcessor, TracerProvider } from "@opentelemetry/sdk-trace";
import { until } from "../faults/until.ts";

export interface Telemetry {
  readonly tracerProvider: Tracers;
  readonly meterProvider: MeterProvider;
  /** The spans that have ended. */
  spans(): readonly ReadableSpan[];
  /** Runs a function with a new span, which is the active one in it. */
  within<Result>(name: string, run: (span: Span) => Promise<Result>): Promise<Result>;
  /** Waits for a number of spans of this name, and returns them. */
  spansNamed(name: string, count: number): Promise<readonly ReadableSpan[]>;
  /** Returns the metrics so far: for each name, its points. */
  metrics(): Promise<ReadonlyMap<string, readonly { readonly attributes: object; readonly value: unknown }[]>>;
}

export function startTelemetry(): Telemetry {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  const exporter = new InMemorySpanExporter();
  const tracerProvider = new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] });
  const metricExporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
  const reader = new PeriodicExportingMetricReader({ exporter: metricExporter, exportIntervalMillis: 3_600_000 });
  const meterProvider = new MeterProvider({ readers: [reader] });
  const tracer = tracerProvider.getTracer("test");
  const spans = () => exporter.getFinishedSpans();
  return {
    tracerProvider,
    meterProvider,
    spans,
    async within(name, run) {
      const span = tracer.startSpan(name);
      try {
        return await context.with(trace.setSpan(context.active(), span), () => run(span));
      } finally {
        span.end();
      }
    },
    async spansNamed(name, count) {
      const own = () => spans().filter((span) => span.name === name);
      await until(() => own().length >= count);
      return own();
    },
    async metrics() {
      await reader.forceFlush();
      const found =
        metricExporter
          .getMetrics()
          .at(-1)
          ?.scopeMetrics.flatMap(({ metrics }) => metrics) ?? [];
      return new Map(found.map(({ descriptor, dataPoints }) => [descriptor.name, dataPoints]));
    },
  };
}

/** Returns the time of a span in milliseconds. */
export function timeOf([seconds, nanoseconds]: readonly [number, number]): number {
  return seconds * 1_000 + nanoseconds / 1e6;
}
