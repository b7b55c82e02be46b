// SQL that reads a store, on both engines: what it shows, what it refuses, and how it ends.
import assert from "node:assert/strict";
import { renameSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { type Kysely, sql } from "kysely";
import { sqliteTables } from "../../../docs/kysely.ts";
import { type DebugServerDatabase, openKysely, parseJson, type ReadingKysely } from "../../../src/kysely/index.ts";
import { openEngine } from "../../../src/migrate/open.ts";
import { downgrade } from "../../../src/migrate/upgrade.ts";
import { readMigrations } from "../../../src/schema/migrationFiles.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { migratedFile } from "../../support/migrated.ts";
import { ask } from "../../support/postgres.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "../faults/until.ts";
import { endless, engines, fill, rig } from "./readingRig.ts";

for (const engine of engines)
  describe(`Kysely on ${engine}`, () => {
    it("selects, joins and counts what the store has written, in types that the compiler knows", async (t) => {
      const { store, open } = await rig(t, engine);
      const { repository, session } = await fill(store);
      const db = await open();
      const row = await db
        .selectFrom("sessions")
        .innerJoin("repositories", "repositories.id", "sessions.repository_id")
        .select(["sessions.id", "sessions.state", "repositories.name", "sessions.created_at", "sessions.metadata"])
        .where("sessions.id", "=", session.id)
        .executeTakeFirstOrThrow();
      const typed: { id: string; state: string; name: string; created_at: number; metadata: string | null } = row;
      assert.deepEqual(
        { ...typed, metadata: parseJson(row.metadata ?? "") },
        {
          id: session.id,
          state: "pending",
          name: repository.name,
          created_at: session.createdAt.getTime(),
          metadata: { labels: new Set(["slow"]) },
        },
      );
      const { count } = await db
        .selectFrom("commands")
        .select((eb) => eb.fn.countAll<number>().as("count"))
        .where("state", "in", ["running", "queued"])
        .executeTakeFirstOrThrow();
      assert.equal(count, (await store.commands.list()).items.length);
    });

    it("shows every value as its type says", async (t) => {
      const { store, open } = await rig(t, engine);
      await fill(store);
      const db = await open();
      const seen = new Set<string>();
      for (const { name, columns } of sqliteTables()) {
        const rows = await db
          .selectFrom(name as "sessions")
          .selectAll()
          .execute();
        for (const { name: column, kind, isNullable, values } of columns)
          for (const row of rows as Record<string, unknown>[]) {
            const value = row[column];
            const shown = `${name}.${column} is ${String(value)}`;
            seen.add(kind);
            if (value === null) assert.ok(isNullable, shown);
            else if (kind === "flag") assert.ok(value === 0 || value === 1, shown);
            else if (kind === "bytes") assert.ok(value instanceof Uint8Array, shown);
            else assert.equal(typeof value, kind === "text" || kind === "json" ? "string" : "number", shown);
            if (kind === "json" && value !== null) parseJson(value as string);
            if (values.length > 0 && value !== null) assert.ok(values.includes(value as string), shown);
          }
      }
      assert.deepEqual([...seen].sort(), ["bytes", "flag", "json", "number", "text", "time"]);
    });

    it("takes times as milliseconds and as Dates, and counts with them", async (t) => {
      const { store, open } = await rig(t, engine);
      const { session } = await fill(store);
      const db = await open();
      const at = session.createdAt.getTime();
      const between = async (from: number, to: number) =>
        (
          await db
            .selectFrom("sessions")
            .select("id")
            .where((eb) => eb.between("created_at", from, to))
            .execute()
        ).map(({ id }) => id);
      assert.ok((await between(at, at)).includes(session.id));
      assert.ok(!(await between(at + 1, at + 1)).includes(session.id));
      const { rows } = await sql<{ id: string }>`
        SELECT id FROM sessions WHERE created_at <= ${session.createdAt} AND NOT pinned = ${true}`.execute(db);
      assert.ok(rows.some(({ id }) => id === session.id));
      const { age, latest } = await db
        .selectFrom("sessions")
        .select((eb) => [
          eb("last_activity_at", "-", eb.ref("created_at")).as("age"),
          eb.fn.coalesce("ended_at", eb.val(at)).as("latest"),
        ])
        .where("id", "=", session.id)
        .where((eb) => eb(eb("last_activity_at", "-", eb.ref("created_at")), "<", 3_600_000))
        .executeTakeFirstOrThrow();
      assert.deepEqual([age, latest], [session.lastActivityAt.getTime() - at, at]);
      if (engine === "sqlite") return;
      const intervals = await sql<Record<string, number>>`
        SELECT interval '-1 day 2 hours 3.5 seconds' AS short, interval '1 year 2 months' AS long,
          CAST(${1_500} AS interval) AS given`.execute(db);
      assert.deepEqual(intervals.rows, [{ short: -79_196_500, long: 36_741_600_000, given: 1_500 }]);
    });

    it("refuses every statement that writes, and changes nothing", async (t) => {
      const { store, open } = await rig(t, engine);
      const { session } = await fill(store);
      const db = await open();
      const hidden = db as Kysely<DebugServerDatabase>;
      const refused = { name: "StoreError", code: "read_only", outcome: "not_run" };
      await assert.rejects(hidden.deleteFrom("sessions").execute(), refused);
      await assert.rejects(hidden.schema.createTable("other").addColumn("id", "integer").execute(), refused);
      const statements = [
        sql`UPDATE sessions SET state = 'failed'`,
        sql`INSERT INTO store_meta (key, value) VALUES ('other', 'value')`,
        sql`WITH gone AS (SELECT 1) DELETE FROM session_marks RETURNING session_id`,
        sql`/* SELECT */ DELETE FROM sessions`,
        sql`CREATE TABLE other (id integer)`,
      ];
      for (const statement of statements) await assert.rejects(statement.execute(db), refused);
      await assert.rejects(sql`SELECT 1; DELETE FROM sessions`.execute(db), { code: "invalid_input" });
      assert.deepEqual(await store.sessions.get({ sessionId: session.id }), session);
    });

    it("cannot be talked into writing", async (t) => {
      const { store, open } = await rig(t, engine);
      await fill(store);
      const db = await open({ connections: 1 });
      const remove = sql`DELETE FROM session_marks`;
      const refused = { code: "read_only" };
      const settings =
        engine === "sqlite"
          ? ["PRAGMA query_only = OFF", "PRAGMA locking_mode = EXCLUSIVE", "EXPLAIN PRAGMA locking_mode = EXCLUSIVE"]
          : [
              "SET default_transaction_read_only = off",
              "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
              "COMMIT",
              "SET search_path = elsewhere",
            ];
      for (const setting of settings) {
        const asked = sql.raw(setting).execute(db);
        await (engine === "sqlite" ? assert.rejects(asked, refused) : asked.catch(() => undefined));
        await assert.rejects(remove.execute(db), refused, setting);
      }
      if (engine === "sqlite") {
        const copy = join(temporaryFolder(), "copy.db");
        for (const statement of [`VACUUM INTO '${copy}'`, `ATTACH '${copy}' AS copy`, "CREATE TEMP TABLE other (id)"])
          await assert.rejects(sql.raw(statement).execute(db), refused, statement);
      }
      const openUp = "SET default_transaction_read_only = off";
      for (const first of [["COMMIT", openUp], ["ROLLBACK", openUp], ["SET TRANSACTION READ WRITE"]])
        await assert.rejects(
          db.transaction().execute(async (transaction) => {
            for (const statement of first) await sql.raw(statement).execute(transaction);
            await remove.execute(transaction);
          }),
          refused,
          String(first),
        );
      await assert.rejects(
        db
          .transaction()
          .setAccessMode("read write")
          .execute(async () => undefined),
        refused,
      );
      assert.ok((await db.selectFrom("sessions").select("id").execute()).length > 0);
    });

    it("tells what is wrong with a statement", async (t) => {
      const { open } = await rig(t, engine);
      const db = await open();
      await assert.rejects(sql`SELECT other FROM sessions`.execute(db), { code: "invalid_input", message: /other/ });
      await assert.rejects(sql`SELECT id FROM sessions WHERE`.execute(db), { code: "invalid_input" });
      await assert.rejects(sql`SELECT ${undefined}`.execute(db), { code: "invalid_input", message: /undefined/ });
      assert.deepEqual((await sql`SELECT 1 AS one`.execute(db)).rows, [{ one: 1 }]);
    });

    it("shows one moment in a transaction", async (t) => {
      const { store, open } = await rig(t, engine);
      const db = await open();
      const count = async (from: Kysely<DebugServerDatabase>) =>
        (await from.selectFrom("repositories").select("id").execute()).length;
      await db.transaction().execute(async (transaction) => {
        assert.equal(await count(transaction), 0);
        await fixtures(store).repository();
        assert.equal(await count(db), 1);
        assert.equal(await count(transaction), 0);
        // Two at once share the connection.
        assert.deepEqual(await Promise.all([count(transaction), count(transaction)]), [0, 0]);
      });
      assert.equal(await count(db), 1);
    });

    it("streams rows as they are asked for, beside other queries, and may be left", async (t) => {
      const { store, open } = await rig(t, engine);
      for (let index = 0; index < 5; index++) await fixtures(store).session();
      const db = await open();
      const ids: string[] = [];
      for await (const { id } of db.selectFrom("sessions").select("id").orderBy("id").stream(2)) {
        ids.push(id);
        assert.equal((await db.selectFrom("sessions").selectAll().where("id", "=", id).execute()).length, 1);
      }
      const all = await db.selectFrom("sessions").select("id").orderBy("id").execute();
      assert.deepEqual(
        ids,
        all.map(({ id }) => id),
      );
      for await (const { id } of db.selectFrom("sessions").select("id").orderBy("id").stream(2)) {
        assert.equal(id, ids[0]);
        break;
      }
      await db.transaction().execute(async (transaction) => {
        for await (const { id } of transaction.selectFrom("sessions").select("id").orderBy("id").stream(1)) {
          if (id === ids[2]) break;
        }
        assert.equal((await transaction.selectFrom("sessions").select("id").execute()).length, 5);
      });
    });

    it("refuses rows that take too much memory, and streams them", async (t) => {
      const { store, open } = await rig(t, engine);
      await fixtures(store).log("x".repeat(60_000));
      const db = await open({ resultBytes: 50_000 });
      const chunks = db.selectFrom("log_chunks").select("data");
      await assert.rejects(chunks.execute(), { code: "invalid_input", message: /50000 bytes.*stream/ });
      let bytes = 0;
      for await (const { data } of chunks.stream()) bytes += data.length;
      assert.equal(bytes, 60_000);
      assert.equal((await chunks.where("stream", "=", "system").execute()).length, 0);
    });

    it("ends a statement that takes too long, and a stream and a transaction that nobody goes on with", async (t) => {
      const { store, open } = await rig(t, engine);
      await fill(store);
      const db = await open({ timeoutMs: 300, connections: 1 });
      const late = { code: "deadline_exceeded", message: /300 ms/ };
      const next = () => db.selectFrom("repositories").select("id").execute();
      await assert.rejects(sql.raw(endless[engine]).execute(db), late);
      assert.ok((await next()).length > 0);
      // The only connection is free for the next query when the stream, or the transaction, was ended.
      const stream = db.selectFrom("changes").select("seq").stream(1);
      await stream.next();
      assert.ok((await next()).length > 0);
      await assert.rejects(stream.next(), late);
      const goOn = Promise.withResolvers<void>();
      const held = db.transaction().execute(async (transaction) => {
        await transaction.selectFrom("sessions").select("id").execute();
        await goOn.promise;
        await transaction.selectFrom("sessions").select("id").execute();
      });
      assert.ok((await next()).length > 0);
      goOn.resolve();
      await assert.rejects(held, late);
    });

    it("is closed at once, in the middle of a query", async (t) => {
      const { url, open } = await rig(t, engine);
      const db = await open();
      const running = assert.rejects(sql.raw(endless[engine]).execute(db), { code: "closed", outcome: "not_run" });
      const idle = await open();
      assert.deepEqual((await sql`SELECT 1 AS one`.execute(idle)).rows, [{ one: 1 }]);
      const startedAtMs = performance.now();
      await db.destroy();
      await running;
      assert.ok(performance.now() - startedAtMs < 1_000);
      if (engine === "sqlite") return;
      const ours =
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'debug-server-db sql %' AND state = 'active'";
      await until(async () => (await ask(url, ours)).length === 0);
    });

    it("ends a query whose signal fires", async (t) => {
      const { open } = await rig(t, engine);
      const db = await open({ connections: 1 });
      const aborter = new AbortController();
      const query = sql
        .raw(endless[engine])
        .execute(db, { signal: aborter.signal, inflightQueryAbortStrategy: "cancel query" });
      setTimeout(() => aborter.abort(), 100);
      await assert.rejects(query, { name: "AbortError" });
      assert.deepEqual((await sql`SELECT 1 AS one`.execute(db)).rows, [{ one: 1 }]);
    });

    it("lets a migration pass when nobody reads, and then refuses the schema, and says which it is", async (t) => {
      const { url, store, open } = await rig(t, engine);
      await store.close();
      const db = await open();
      const migrations = readMigrations(engine);
      // The migrator waits until the idle connection is closed.
      const migrator = await openEngine(url, { create: false, lockTimeoutMs: 30_000 });
      const to = migrations.at(-2)?.revision as string;
      const work = { engine: migrator, migrations, now: () => Date.now() };
      await downgrade(work, to, { backup: false, allowDataLoss: true });
      await migrator.close();
      const older = {
        code: "incompatible",
        message: /migrate upgrade head/,
        details: { reason: "schema_older", revision: to, head: migrations.at(-1)?.revision },
      };
      await assert.rejects(db.selectFrom("sessions").select("id").execute(), older);
      await assert.rejects(openKysely({ url }), older);
    });

    it("knows the tables of the store", async (t) => {
      const { open } = await rig(t, engine);
      const tables = await (await open()).introspection.getTables();
      assert.ok(
        tables.some(({ name, columns }) => name === "sessions" && columns.some((column) => column.name === "state")),
      );
    });
  });

describe("openKysely", () => {
  it("reads the file that is at the path, and says so when it was replaced", async (t) => {
    const { store, url, open } = await rig(t, "sqlite");
    await fixtures(store).repository();
    await store.close();
    const db = await open();
    const path = url.slice("sqlite:".length);
    await db.selectFrom("repositories").select("id").execute();
    renameSync(path, `${path}.moved`);
    await migratedFile(path);
    await assert.rejects(db.selectFrom("repositories").select("id").execute(), { code: "file_lost", retryable: true });
    assert.deepEqual(await db.selectFrom("repositories").select("id").execute(), []);
  });

  it("refuses what it cannot read, and says what to do", async () => {
    const path = join(temporaryFolder(), "absent.db");
    await assert.rejects(openKysely({ url: `sqlite:${path}` }), { code: "incompatible", message: /does not exist/ });
    await assert.rejects(openKysely({ url: "sqlite::memory:" }), { code: "invalid_input", message: /in memory/ });
    await assert.rejects(openKysely({ url: "http://localhost:1" }), {
      code: "invalid_input",
      message: /server of a store/,
    });
    await assert.rejects(openKysely({ url: "postgres://localhost:1/none" }), { code: "busy", message: /localhost:1/ });
    for (const [name, value] of [
      ["connections", 0],
      ["connections", 17],
      ["timeoutMs", 1.5],
      ["resultBytes", -1],
    ] as const)
      await assert.rejects(openKysely({ url: `sqlite:${path}`, [name]: value }), {
        code: "invalid_input",
        message: new RegExp(`^${name}: expected a whole number`),
      });
  });

  it("does not let a statement that writes compile", () => {
    const check = async (db: ReadingKysely, plain: Kysely<DebugServerDatabase>) => {
      // @ts-expect-error there is no such column
      db.selectFrom("sessions").select("other");
      // @ts-expect-error there is no such table
      db.selectFrom("other");
      // @ts-expect-error a session has no such state
      db.selectFrom("sessions").where("state", "=", "idle");
      // @ts-expect-error a time is a number
      db.selectFrom("sessions").where("created_at", ">", "2026-01-01");
      // @ts-expect-error it only reads
      db.insertInto("sessions");
      // @ts-expect-error it only reads
      db.deleteFrom("sessions");
      // @ts-expect-error it only reads
      db.updateTable("sessions");
      // @ts-expect-error no column can be written
      plain.insertInto("store_meta").values({ key: "key", value: "value" });
      // @ts-expect-error no column can be written
      plain.updateTable("sessions").set({ state: "failed" });
      const { state, pinned, metadata } = await db.selectFrom("sessions").selectAll().executeTakeFirstOrThrow();
      const typed: [
        "pending" | "running" | "cancelling" | "completed" | "failed" | "cancelled" | "expired",
        0 | 1,
        string | null,
      ] = [state, pinned, metadata];
      // @ts-expect-error the state may be another one
      const wrong: "pending" = state;
      return [typed, wrong];
    };
    assert.equal(typeof check, "function");
  });
});
