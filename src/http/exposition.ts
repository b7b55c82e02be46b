// Writes metrics in the text format of Prometheus, or in that of OpenMetrics
// (https://prometheus.io/docs/specs/om/open_metrics_spec/).
import type { Metric, MetricValueWithName, RegistryContentType } from "@prometheus-io/client";
import type { Distribution } from "../model/distributions.ts";

export type MetricType = "counter" | "gauge" | "histogram";

/** A value of a metric, for one set of labels. */
export interface Sample<Labels extends string = string> {
  readonly labels?: Readonly<Record<Labels, string>>;
  /** A distribution only for a histogram, and a number for all others. */
  readonly value: number | Distribution;
}

/** A metric with its values. The name of a counter ends in `_total`. */
export interface WrittenMetric {
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  readonly samples: readonly Sample[];
}

const openMetricsType = "application/openmetrics-text";

/** Returns the type of the text for a client that accepts these types: OpenMetrics if it names that. */
export function expositionType(accepted: readonly string[]): RegistryContentType {
  return accepted.includes(openMetricsType)
    ? `${openMetricsType}; version=1.0.0; charset=utf-8`
    : "text/plain; version=0.0.4; charset=utf-8";
}

export async function writeMetrics(metrics: readonly WrittenMetric[], type: RegistryContentType): Promise<string> {
  // It takes a moment to load, which a server that nobody scrapes does not need.
  const { Registry } = await import("@prometheus-io/client");
  const registry = new Registry(type);
  for (const metric of metrics) registry.registerMetric(asMetric(metric));
  return await registry.metrics();
}

/** Returns a metric as the registry asks for it: the values were counted elsewhere, which the library's own cannot be. */
function asMetric({ name, type, help, samples }: WrittenMetric): Metric<string> {
  const metric = {
    name,
    type,
    help,
    get: async () => ({
      // The registry has renamed a counter, where the format has its name without `_total`.
      name: metric.name,
      help,
      type,
      values: samples.flatMap((sample) => valuesOf(metric.name, sample)),
    }),
  };
  return metric as unknown as Metric<string>;
}

function valuesOf(name: string, { labels = {}, value }: Sample): readonly MetricValueWithName<string>[] {
  if (typeof value === "number") return [{ value, labels }];
  let count = 0;
  const buckets = value.counts.map((inPart, part) => {
    count += inPart;
    return { metricName: `${name}_bucket`, value: count, labels: { ...labels, le: value.upTo[part] ?? "+Inf" } };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, value: value.sum, labels },
    { metricName: `${name}_count`, value: count, labels },
  ];
}
