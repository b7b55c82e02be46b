// The benchmark of growth measures every call, and fills its stores with rows that are consistent.
import assert from "node:assert/strict";
import { join } from "node:path";
import { it } from "node:test";
import Database from "better-sqlite3";
import { fillFile, fillOf } from "../../bench/growth/fill.ts";
import { plotGrowth, renderGrowth } from "../../bench/growth/render.ts";
import { runGrowth } from "../../bench/growth/run.ts";
import { openStore } from "../../src/index.ts";
import { fixtures } from "../../src/testing/index.ts";
import { wrongCountersAt } from "../support/counters.ts";
import { temporaryFolder } from "../support/temporaryFolder.ts";

it("the filled rows equal their counters, and each has a change for each of its versions", async () => {
  const path = join(temporaryFolder(), "store.db");
  const store = await openStore({ url: `sqlite:${path}` });
  const { account } = await fixtures(store).account();
  await store.close();
  fillFile(path, fillOf(1_000), account.id);
  assert.deepEqual(await wrongCountersAt(`sqlite:${path}`), []);
  const db = new Database(path, { readonly: true });
  try {
    for (const table of ["repositories", "runners", "worktrees", "tokens", "sessions", "commands", "artifacts"]) {
      const wrong = db.prepare(`
        SELECT id, version, (SELECT group_concat(entity_version) FROM (
          SELECT entity_version FROM changes WHERE entity_id = ${table}.id ORDER BY seq)) AS versions
        FROM ${table} WHERE versions <> CASE version WHEN 1 THEN '1' WHEN 2 THEN '1,2' ELSE '1,2,3' END OR versions IS NULL`);
      assert.deepEqual(wrong.all(), [], table);
    }
    assert.deepEqual(db.pragma("foreign_key_check"), []);
    const sizes =
      "SELECT count(*) FROM attempts WHERE next_offset <> (SELECT sum(byte_length) FROM log_chunks WHERE attempt_id = id)";
    assert.equal(db.prepare(sizes).pluck().get(), 0);
  } finally {
    db.close();
  }
});

it("every call is measured at each size, and shown in the table and the plot", async () => {
  const result = await runGrowth({ sizes: [100, 200], rounds: 1 });
  assert.ok(result.figures.length > 20);
  for (const { name, us } of result.figures) assert.ok(us.length === 2 && us.every((value) => value > 0), name);
  // Elsewhere than on Linux nothing counts the reads of a thread.
  for (const { name, pages } of result.figures)
    if (pages !== undefined) assert.ok(pages.length === 2 && pages.every((value) => value > 0), name);
  const [table, plot] = [renderGrowth(result), plotGrowth(result)];
  for (const { name } of result.figures) assert.ok(table.includes(name) && plot.includes(name), name);
  assert.ok(!/NaN|undefined/.test(table + plot));
});
