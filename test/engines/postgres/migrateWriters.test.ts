// Migrating beside processes that write, and take row locks in another order than the migration takes its own.
import assert from "node:assert/strict";
import { test } from "node:test";
import pg from "pg";
import { openPostgresEngine } from "../../../src/postgres/migrator.ts";
import { plainStatement } from "../../../src/schema/ledger.ts";
import { type Body, changeEach } from "../../../src/sql.ts";
import { ask, dropDatabase, newDatabase } from "../../support/postgres.ts";

function* applying(text: string): Body<unknown> {
  return yield* changeEach([plainStatement(text)]);
}

test("a migration begins beside writers who hold rows of one table and then want another, and waits for none for long", async (t) => {
  const url = await newDatabase();
  await ask(url, "CREATE TABLE a (id int PRIMARY KEY, n int); CREATE TABLE b (id int PRIMARY KEY, n int)");
  await ask(
    url,
    "INSERT INTO a SELECT id, 0 FROM generate_series(1, 12) id; INSERT INTO b SELECT id, 0 FROM generate_series(1, 12) id",
  );
  let stopped = false;
  /** The longest time that a write took. */
  let worstMs = 0;
  let deadlocks = 0;
  const write = async (id: number): Promise<void> => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    while (!stopped) {
      const startedMs = performance.now();
      try {
        await client.query("BEGIN ISOLATION LEVEL READ COMMITTED");
        // The migration locks the tables in the order of their names.
        await client.query("SELECT * FROM b WHERE id = $1 FOR NO KEY UPDATE", [id]);
        await client.query("UPDATE a SET n = n + 1 WHERE id = $1", [id]);
        await client.query("UPDATE b SET n = n + 1 WHERE id = $1", [id]);
        await client.query("COMMIT");
      } catch (error) {
        if ((error as { code?: string }).code !== "40P01") throw error;
        deadlocks++;
        await client.query("ROLLBACK");
      }
      worstMs = Math.max(worstMs, performance.now() - startedMs);
    }
    await client.end();
  };
  const writing = Promise.all(Array.from({ length: 12 }, (_, index) => write(index + 1)));
  const engine = await openPostgresEngine({ url, lockTimeoutMs: 60_000 });
  t.after(async () => {
    stopped = true;
    await writing;
    await engine.close();
    await dropDatabase(url);
  });
  for (let round = 0; round < 10; round++)
    await engine.transact(async ({ run }) => {
      const sum = "SELECT sum(n) AS sum FROM a";
      const before = await ask<{ sum: string }>(url, sum);
      // Needs the rows that writers lock first.
      await run(applying("UPDATE b SET n = n"));
      // Nobody else writes meanwhile.
      assert.deepEqual(await ask(url, sum), before);
    });
  assert.equal(deadlocks, 0);
  assert.ok(worstMs < 30_000, `${worstMs} ms`);
});
