// The page of the guide about metrics names all metrics that there are, and no others.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { metricFamilies } from "../../../src/http/metrics.ts";

test("the guide lists every metric, and its alerts name metrics that there are", () => {
  const guide = readFileSync(new URL("../../../docs/guide/metrics.md", import.meta.url), "utf8");
  const named = new Set(guide.match(/debug_server_[a-z_]+/g) ?? []);
  const known = new Set(
    metricFamilies.flatMap(({ name, type }) =>
      type === "histogram" ? [name, `${name}_bucket`, `${name}_count`, `${name}_sum`] : [name],
    ),
  );
  assert.deepEqual(
    [...named].filter((name) => !known.has(name)),
    [],
  );
  for (const { name } of metricFamilies) assert.ok(guide.includes(`| \`${name}\` |`), name);
});
