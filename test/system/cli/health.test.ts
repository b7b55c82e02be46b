// debug-server-db health: its table, and its exit code for supervisors.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import Database from "better-sqlite3";
import { openStore } from "../../../src/index.ts";
import { run, workingFolder } from "./commandLine.ts";

suite("health", { concurrency: 2 }, () => {
  test("health prints the checks of a ready store and exits with 0, also while a server has it open", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    const store = await openStore({ url });
    const { code, stdout, stderr } = await run(folder, ["health", "--url", url]);
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(
      stdout,
      /^check\nschema +ok +revision \d{4}\nlast write +not known from outside\nfile +ok\nspace +ok +[\d.]+ \w+ left\nqueue +not known from outside\n$/,
    );
    await store.close();
  });

  test("health exits with 7 for an old schema, a damaged file or no file, says what to do, and creates nothing", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    const absent = await run(folder, ["health", "--url", url]);
    assert.deepEqual([absent.code, absent.stdout], [7, ""]);
    assert.match(
      absent.stderr,
      /^debug-server-db: not ready: .*metadata\.db does not exist: run debug-server-db migrate upgrade head/,
    );
    assert.equal(existsSync(join(folder, ".artifacts")), false);
    await (await openStore({ url })).close();
    const db = new Database(join(folder, ".artifacts/data/metadata.db"));
    db.exec("DELETE FROM schema_migrations WHERE revision = (SELECT max(revision) FROM schema_migrations)");
    db.close();
    const old = await run(folder, ["health", "--url", url]);
    assert.equal(old.code, 7);
    assert.match(
      old.stderr,
      /^debug-server-db: not ready: .*the schema is at revision \d{4}, but this version of debug-server-db needs \d{4}: run debug-server-db migrate upgrade head\n$/,
    );
    mkdirSync(join(folder, "bad"));
    writeFileSync(join(folder, "bad/store.db"), Buffer.alloc(8_192, 1));
    assert.equal((await run(folder, ["health", "--url", "sqlite:bad/store.db"])).code, 7);
  });

  test("a URL that names no store is a usage error", async (t) => {
    const { folder } = workingFolder(t, { init: false });
    assert.equal((await run(folder, ["health", "--url", "mysql://x"])).code, 2);
    assert.equal((await run(folder, ["health", "more"])).code, 2);
  });

  test("terminal controls in arguments are not printed", async (t) => {
    const { folder } = workingFolder(t, { init: false });
    const evil = "\u001b[2J\u001b]0;title\u0007\u009b31m\u202e";
    for (const args of [
      ["health", "--url", `sqlite:${evil}/x.db`],
      ["health", evil],
      [evil],
      ["demo", "--repo", evil],
      ["health", `--${evil}`],
    ]) {
      const { stdout, stderr, code } = await run(folder, args);
      assert.notEqual(code, 0);
      assert.doesNotMatch(
        stdout + stderr,
        /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e]/,
        JSON.stringify(args),
      );
    }
  });
});
