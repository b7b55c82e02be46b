// The table of all metrics, and their text: names and units, labels with bounds, and what a store does not answer.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CallMeter } from "../../../src/http/callMeter.ts";
import { expositionType, type Sample, writeMetrics } from "../../../src/http/exposition.ts";
import { metricsHandler, metricsScope } from "../../../src/http/index.ts";
import { type MetricFigures, metricFamilies, metricsOf, readFigures } from "../../../src/http/metrics.ts";
import { StoreError } from "../../../src/index.ts";
import { Counts } from "../../../src/model/distributions.ts";
import { openTestStore } from "../../../src/testing/index.ts";
import { readMetrics, readValue } from "../../support/metricsText.ts";

const openMetrics = expositionType(["application/openmetrics-text"]);
const write = (name: string, type: "counter" | "gauge" | "histogram", ...samples: Sample[]) =>
  writeMetrics([{ name, type, help: "A metric.", samples }], openMetrics);

test("names begin alike, and end with their unit, and with _total exactly for counters", () => {
  const names = metricFamilies.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  for (const { name, type, help } of metricFamilies) {
    assert.match(name, /^debug_server_[a-z]+(?:_[a-z]+)*$/);
    assert.equal(name.endsWith("_total"), type === "counter", name);
    if (/duration|age|lag|wait|time_to/.test(name)) assert.match(name, /_(?:seconds|changes)$/);
    if (/size|free|left|pending/.test(name)) assert.match(name, /_bytes$/);
    assert.doesNotMatch(name, /_(?:count|sum|bucket|ms|milliseconds|kb|percent)$/);
    assert.match(help, /^[^\\"\n]+\.$/);
  }
});

test("every metric has exactly the labels that it declares, and none that callers fill without a bound", async () => {
  const store = await openTestStore();
  await store.changes.checkpoint({ consumer: "indexer", seq: 0 });
  const meter = new CallMeter();
  meter.count("sessions.get", "ok", 1);
  const figures = await readFigures(store, meter, 1_000);
  const labels = new Set<string>();
  for (const { name, labels: declared, samples } of metricFamilies) {
    for (const one of samples(figures)) assert.deepEqual(Object.keys(one.labels ?? {}), [...declared], name);
    for (const label of declared) labels.add(label);
  }
  // The values of each are a closed list of the code, except for the consumers of the feed, of which there are at most 100.
  assert.deepEqual([...labels].sort(), [
    "check",
    "code",
    "consumer",
    "engine",
    "kind",
    "lane",
    "of",
    "operation",
    "outcome",
    "state",
    "version",
  ]);
  await store.close();
});

test("a histogram has the counts up to each bound, in the order that the formats want", async () => {
  const counts = new Counts([0.25, 1]);
  for (const value of [0.25, 0.5, 0.5, 7]) counts.add(value);
  const text = await write(
    "a_seconds",
    "histogram",
    { labels: { operation: "x" }, value: counts.distribution() },
    { labels: { operation: "y" }, value: new Counts([0.25, 1]).distribution() },
  );
  assert.equal(
    text,
    [
      "# HELP a_seconds A metric.",
      "# TYPE a_seconds histogram",
      'a_seconds_bucket{operation="x",le="0.25"} 1',
      'a_seconds_bucket{operation="x",le="1"} 3',
      'a_seconds_bucket{operation="x",le="+Inf"} 4',
      'a_seconds_sum{operation="x"} 8.25',
      'a_seconds_count{operation="x"} 4',
      'a_seconds_bucket{operation="y",le="0.25"} 0',
      'a_seconds_bucket{operation="y",le="1"} 0',
      'a_seconds_bucket{operation="y",le="+Inf"} 0',
      'a_seconds_sum{operation="y"} 0',
      'a_seconds_count{operation="y"} 0',
      "# EOF",
      "",
    ].join("\n"),
  );
  readMetrics(text);
});

test("the values of labels are escaped, and read back as they were", async () => {
  for (const value of ['"', "\\", "\\n", "\n", '\\"', "a{b='c'} 1 # {", "", "💥", "x".repeat(10_000)]) {
    const text = await write("a", "gauge", { labels: { consumer: value }, value: 1 });
    assert.equal(readValue(readMetrics(text), "a", { consumer: value }), 1, JSON.stringify(value));
  }
});

test("a counter has its name with _total in both formats", async () => {
  const metric = { name: "a_total", type: "counter", help: "A metric.", samples: [{ value: 3 }] } as const;
  assert.equal(await writeMetrics([metric], openMetrics), "# HELP a A metric.\n# TYPE a counter\na_total 3\n# EOF\n");
  assert.equal(
    await writeMetrics([metric], expositionType(["text/plain"])),
    "# HELP a_total A metric.\n# TYPE a_total counter\na_total 3\n",
  );
});

test("a call meter counts the end of a stream once", () => {
  const meter = new CallMeter();
  const end = meter.countStream("changes.watch", 3);
  assert.deepEqual([...meter.streams()], [["changes.watch", 1]]);
  end("closed");
  end("ok");
  assert.deepEqual([...meter.streams()], [["changes.watch", 0]]);
  assert.deepEqual([...meter.codes()], [["changes.watch", "closed", 1]]);
  assert.equal([...meter.timesMs()][0]?.[1].sum, 3);
});

test("what the store does not answer is left out, and any other failure is not hidden", async () => {
  const silent = async () => Promise.reject(new StoreError("deadline_exceeded", "no answer"));
  const store = await openTestStore();
  const { maintenance, changes } = store;
  const partly = await readFigures({ maintenance: { ...maintenance, stats: silent }, changes }, undefined, 100);
  const names = metricsOf(partly).map(({ name }) => name);
  assert.ok(names.includes("debug_server_queue_fullness_ratio") && !names.includes("debug_server_sessions"));
  const none: MetricFigures = {};
  assert.deepEqual(
    metricsOf(none).map(({ name, samples }) => [name, samples.map(({ value }) => value)]),
    [
      ["debug_server_ready", [0]],
      ["debug_server_check_ok", [0]],
    ],
  );
  const broken = async () => Promise.reject(new TypeError("a bug"));
  await assert.rejects(readFigures({ maintenance: { ...maintenance, stats: broken }, changes }, undefined, 100));
  await store.close();
});

test("requests share one answer of the store, also while it is on its way, and get a new one afterwards", async (t) => {
  const store = await openTestStore();
  const real = store.maintenance;
  let asked = 0;
  const stats = (...input: Parameters<typeof real.stats>) => {
    asked++;
    return real.stats(...input);
  };
  const { changes, tokens } = store;
  const identify = async () => ({ scopes: [metricsScope] });
  const handle = metricsHandler({ maintenance: { ...real, stats }, changes, tokens }, { identify, cacheMs: 20 });
  const get = () => handle(new Request("http://internal/metrics")).then((response) => response.text());
  await Promise.all(Array.from({ length: 50 }, get));
  await get();
  assert.equal(asked, 1);
  await new Promise((resolve) => setTimeout(resolve, 40));
  await get();
  assert.equal(asked, 2);
  t.after(() => store.close());
});
