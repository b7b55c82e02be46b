// A strict reader of metrics in the formats of Prometheus and OpenMetrics: it fails on what one of them does not allow.
import assert from "node:assert/strict";

export interface ReadSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface ReadMetric {
  readonly type: string;
  readonly help: string;
  readonly samples: readonly ReadSample[];
}

const name = "[a-zA-Z_][a-zA-Z0-9_]*";
const label = `${name}="(?:[^"\\\\\\n]|\\\\["\\\\n])*"`;
const samplePattern = new RegExp(`^(${name})(?:\\{(${label}(?:,${label})*)\\})? (-?[0-9.]+(?:e[+-]?[0-9]+)?|\\+Inf)$`);
const escapes: Readonly<Record<string, string>> = { "\\\\": "\\", '\\"': '"', "\\n": "\n" };
const suffixes: Readonly<Record<string, readonly string[]>> = {
  gauge: [""],
  counter: ["_total"],
  histogram: ["_bucket", "_sum", "_count"],
};

/** Reads the metrics of a text by their names; a counter has its name without `_total`. */
export function readMetrics(text: string): ReadonlyMap<string, ReadMetric> {
  const isOpen = text.endsWith("\n# EOF\n");
  const lines = text.split("\n").slice(0, isOpen ? -2 : -1);
  assert.ok(text.endsWith("\n") && lines.length > 0);
  const metrics = new Map<string, ReadMetric & { readonly samples: ReadSample[] }>();
  let current: (ReadMetric & { readonly samples: ReadSample[] }) | undefined;
  let currentName = "";
  let help = ["", ""];
  for (const line of lines) {
    if (line === "" && !isOpen) continue;
    if (line.startsWith("# HELP ")) {
      help = [line.slice(7, line.indexOf(" ", 7)), line.slice(line.indexOf(" ", 7) + 1)];
      assert.match(help[1] ?? "", /^[^\\"]+\.$/);
    } else if (line.startsWith("# TYPE ")) {
      const [given = "", type = ""] = line.slice(7).split(" ");
      assert.equal(given, help[0], "each metric has its help before its type");
      assert.ok(type in suffixes, line);
      assert.ok(type !== "counter" || given.endsWith("_total") !== isOpen, line);
      currentName = given.replace(/_total$/, "");
      assert.ok(!metrics.has(currentName), `${currentName} is there twice`);
      current = { type, help: help[1] ?? "", samples: [] };
      metrics.set(currentName, current);
    } else {
      const match = samplePattern.exec(line);
      assert.ok(match !== null && current !== undefined, `not a sample: ${line}`);
      const [, sampleName = "", labelText = "", value = ""] = match;
      const allowed = (suffixes[current.type] ?? []).map((suffix) => `${currentName}${suffix}`);
      assert.ok(allowed.includes(sampleName), `${sampleName} does not belong to ${currentName}`);
      const labels = [...labelText.matchAll(new RegExp(`(${name})="((?:[^"\\\\]|\\\\.)*)"`, "g"))].map(
        ([, key = "", escaped = ""]) => [key, escaped.replaceAll(/\\["\\n]/g, (found) => escapes[found] ?? "")],
      );
      assert.equal(new Set(labels.map(([key]) => key)).size, labels.length, `a label is there twice: ${line}`);
      current.samples.push({
        name: sampleName,
        labels: Object.fromEntries(labels),
        value: value === "+Inf" ? Number.POSITIVE_INFINITY : Number(value),
      });
    }
  }
  for (const [metric, { type, samples }] of metrics) {
    assert.ok(samples.length > 0, `${metric} has no value`);
    const series = samples.map((sample) => JSON.stringify([sample.name, Object.entries(sample.labels).sort()]));
    assert.equal(new Set(series).size, series.length, `${metric} has a series twice`);
    if (type === "counter") for (const { value } of samples) assert.ok(value >= 0, metric);
    if (type === "histogram") checkHistogram(metric, samples);
  }
  return metrics;
}

/** Fails unless the samples of each set of labels are together, with counts that grow up to that of all values. */
function checkHistogram(metric: string, samples: readonly ReadSample[]): void {
  const seen = new Set<string>();
  for (let at = 0; at < samples.length; ) {
    const { le: _, ...labels } = samples[at]?.labels ?? {};
    const key = JSON.stringify(labels);
    assert.ok(!seen.has(key), `${metric}${key} is interrupted by others`);
    seen.add(key);
    const bounds: number[] = [];
    let last = 0;
    for (; samples[at]?.name === `${metric}_bucket`; at++) {
      const { labels: inBucket, value } = samples[at] as ReadSample;
      const { le, ...others } = inBucket;
      assert.deepEqual([JSON.stringify(others), value >= last], [key, true], metric);
      bounds.push(le === "+Inf" ? Number.POSITIVE_INFINITY : Number(le));
      last = value;
    }
    assert.deepEqual(
      bounds,
      bounds.toSorted((a, b) => a - b),
    );
    assert.equal(bounds.at(-1), Number.POSITIVE_INFINITY);
    const [sum, count] = samples.slice(at, at + 2);
    assert.deepEqual([sum?.name, count?.name], [`${metric}_sum`, `${metric}_count`]);
    assert.deepEqual([JSON.stringify(sum?.labels), JSON.stringify(count?.labels)], [key, key]);
    assert.equal(count?.value, last, metric);
    at += 2;
  }
}

/** Returns the value of a metric with exactly these labels. A sum or a count is named by its suffix. */
export function readValue(
  metrics: ReadonlyMap<string, ReadMetric>,
  series: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const metric = metrics.get(series.replace(/_(?:total|sum|count)$/, "")) ?? metrics.get(series);
  const wanted = JSON.stringify(Object.entries(labels).sort());
  return metric?.samples.find(
    (sample) => sample.name === series && JSON.stringify(Object.entries(sample.labels).sort()) === wanted,
  )?.value;
}
