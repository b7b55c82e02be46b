// Tables, views, indexes and triggers of an application in the database of a store: no command of migrate calls them a
// fault, and all leave them alone.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openStore } from "../../../src/index.ts";
import { verify } from "../../../src/migrate/dryRun.ts";
import { check, type Finding, stamp } from "../../../src/migrate/history.ts";
import { downgrade, type Migrator, upgrade } from "../../../src/migrate/upgrade.ts";
import { restoreSqlite } from "../../../src/sqlite/restore.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { migrate, type Place, places } from "./places.ts";

/** Objects of an application: a table that refers to ours, an index, a trigger and views on it, and a view on ours. */
const application = {
  sqlite: `
    CREATE TABLE app_notes (id INTEGER PRIMARY KEY, session_id TEXT REFERENCES sessions (id) ON DELETE CASCADE, body TEXT);
    CREATE TRIGGER app_notes_upper AFTER INSERT ON app_notes BEGIN
      UPDATE app_notes SET body = upper(body) WHERE id = NEW.id;
    END;`,
  postgres: `
    CREATE TABLE app_notes (id bigint PRIMARY KEY, session_id uuid REFERENCES sessions (id) ON DELETE CASCADE, body text);
    CREATE FUNCTION app_upper() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.body = upper(NEW.body); RETURN NEW; END $$;
    CREATE TRIGGER app_notes_upper BEFORE INSERT ON app_notes FOR EACH ROW EXECUTE FUNCTION app_upper();`,
};
const onBoth = `
  CREATE INDEX app_notes_body ON app_notes (body);
  CREATE VIEW app_bodies AS SELECT body FROM app_notes;
  CREATE VIEW app_sessions AS SELECT id, state FROM sessions;`;

async function drift(place: Place): Promise<string[]> {
  let findings: readonly Finding[] = [];
  await migrate(place, async (migrator) => {
    findings = await check(migrator);
  });
  return findings.map((one) => (one.kind === "drift" ? `${one.change} ${one.type} ${one.name}` : one.kind)).sort();
}

async function result<Result>(place: Place, work: (migrator: Migrator) => Promise<Result>): Promise<Result> {
  const results: Result[] = [];
  await migrate(place, async (migrator) => void results.push(await work(migrator)));
  return results[0] as Result;
}

for (const dialect of ["sqlite", "postgres"] as const) {
  describe(`${dialect}: objects of an application beside a store`, () => {
    const started = async (t: { after(end: () => Promise<void>): void }) => {
      const place = await places[dialect]();
      t.after(() => place.remove());
      const store = await openStore({ url: place.url });
      const { session } = await fixtures(store).session();
      await store.close();
      await place.run(application[dialect] + onBoth);
      await place.run(`INSERT INTO app_notes (id, session_id, body) VALUES (1, '${session.id}', 'a note')`);
      const read = async () => [
        await place.query("SELECT body FROM app_bodies"),
        (await place.query("SELECT id FROM app_sessions")).map(({ id }) => String(id)),
      ];
      assert.deepEqual(await read(), [[{ body: "A NOTE" }], [session.id]]);
      return { place, read, sessionId: session.id };
    };

    it("check, verify and stamp do not call them drift", async (t) => {
      const { place } = await started(t);
      assert.deepEqual(await drift(place), []);
      assert.deepEqual((await result(place, (migrator) => stamp(migrator, "head"))).differences, []);
      assert.deepEqual((await result(place, (migrator) => verify(migrator))).faults, []);
    });

    it("an index and a trigger of others on one of our tables are named, and so is a table that only we create", async (t) => {
      const { place } = await started(t);
      await place.run("CREATE INDEX app_requested ON sessions (requested_by)");
      await place.run(
        dialect === "sqlite"
          ? "CREATE TRIGGER app_watch AFTER INSERT ON sessions BEGIN INSERT INTO app_notes (body) VALUES ('new'); END"
          : "CREATE TRIGGER app_watch BEFORE INSERT ON app_notes FOR EACH ROW EXECUTE FUNCTION app_upper();" +
              "CREATE TRIGGER app_watch BEFORE UPDATE ON sessions FOR EACH ROW EXECUTE FUNCTION app_upper();",
      );
      assert.deepEqual(await drift(place), ["added index app_requested", "added trigger app_watch"]);
      await place.run("DROP INDEX app_requested");
      await migrate(place, (migrator) => downgrade(migrator, "0013", { backup: false, allowDataLoss: true }));
      await place.run("CREATE TABLE repository_places (id integer)");
      assert.deepEqual(
        (await drift(place)).filter((finding) => finding.startsWith("added")),
        ["added table repository_places", "added trigger app_watch"],
      );
    });

    it("downgrades and upgrades leave them and their rows alone", async (t) => {
      const { place, read, sessionId } = await started(t);
      const before = await read();
      await migrate(place, (migrator) => downgrade(migrator, "0010", { backup: false, allowDataLoss: true }));
      assert.deepEqual(await read(), before);
      await migrate(place, (migrator) => upgrade(migrator, "head", { backup: false }));
      assert.deepEqual(await read(), before);
      assert.deepEqual(await drift(place), []);
      const store = await openStore({ url: place.url });
      await store.sessions.cancel({ sessionId });
      await store.sessions.delete({ sessionId });
      await store.close();
      assert.deepEqual(await read(), [[], []]);
    });
  });
}

describe("sqlite: objects of an application beside a store", () => {
  it("a key that is broken between tables of others stops no migration, and one to our rows does", async (t) => {
    const place = await places.sqlite();
    t.after(() => place.remove());
    await (await openStore({ url: place.url })).close();
    await place.run(`
      CREATE TABLE app_notes (id INTEGER PRIMARY KEY, next INTEGER REFERENCES app_notes (id), session_id TEXT REFERENCES sessions (id));
      INSERT INTO app_notes VALUES (1, 7, NULL);`);
    await migrate(place, (migrator) => downgrade(migrator, "0015", { backup: false, allowDataLoss: false }));
    await migrate(place, (migrator) => upgrade(migrator, "head", { backup: false }));
    await place.run("INSERT INTO app_notes VALUES (2, NULL, 'none')");
    await assert.rejects(
      migrate(place, (migrator) => downgrade(migrator, "0015", { backup: false, allowDataLoss: false })),
      { code: "constraint", message: /app_notes row 2 has no row of sessions/ },
    );
  });

  it("a backup has them, and a restore brings them back", async (t) => {
    const place = await places.sqlite();
    t.after(() => place.remove());
    const path = place.url.slice("sqlite:".length);
    await (await openStore({ url: place.url })).close();
    await place.run(`${application.sqlite}${onBoth} INSERT INTO app_notes (id, body) VALUES (1, 'a note')`);
    const store = await openStore({ url: place.url });
    const backup = await store.backup();
    await store.close();
    await place.run("DROP TABLE app_notes");
    restoreSqlite({ backup: backup.path, path, keep: false });
    assert.deepEqual(await place.query("SELECT body FROM app_bodies"), [{ body: "A NOTE" }]);
    assert.deepEqual(await drift(place), []);
  });
});
