// The ways out of quarantine, and the removal of worktrees: worktrees restore and worktrees evict.
import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import Database from "better-sqlite3";
import { type Lease, newId, type OwnedStore, openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { ask, dropDatabase, newDatabase } from "../../support/postgres.ts";
import { run, workingFolder } from "./commandLine.ts";

type Row = { id: string; state: string; leaseOwner: string | null; path: string };

const rowsOf = (stdout: string): Row[] =>
  stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Row);

interface Place {
  readonly folder: string;
  readonly url: string;
  /** Moves the last use of all worktrees two hours into the past. */
  age(): Promise<void>;
  /** Lets the time of all leases of worktrees pass. */
  expire(): Promise<void>;
}

const engines: Readonly<Record<string, (t: TestContext) => Promise<Place>>> = {
  SQLite: async (t) => {
    const place = workingFolder(t, { init: false });
    const execute = async (sql: string) => {
      const db = new Database(place.url.slice("sqlite:".length));
      db.exec(sql);
      db.close();
    };
    return {
      ...place,
      age: () => execute("UPDATE worktrees SET last_used_at = last_used_at - 7200000"),
      expire: () => execute("UPDATE worktrees SET lease_expires_at = lease_expires_at - 86400000"),
    };
  },
  PostgreSQL: async (t) => {
    const url = await newDatabase();
    t.after(() => dropDatabase(url));
    const execute = async (sql: string) => void (await ask(url, sql));
    return {
      ...workingFolder(t, { init: false }),
      url,
      age: () => execute("UPDATE worktrees SET last_used_at = last_used_at - interval '2 hours'"),
      expire: () => execute("UPDATE worktrees SET lease_expires_at = lease_expires_at - interval '1 day'"),
    };
  },
};

for (const [engine, place] of Object.entries(engines)) {
  suite(`worktrees on ${engine}`, () => {
    const open = async (t: TestContext) => {
      const { folder, url, age, expire } = await place(t);
      const store = await openStore({ url });
      t.after(() => store.close());
      const cli = (...args: readonly string[]) => run(folder, ["worktrees", ...args, "--url", url]);
      const json = async (...args: readonly string[]) => {
        const ended = await cli(...args, "--json");
        assert.equal(ended.code, 0, ended.stderr);
        return rowsOf(ended.stdout);
      };
      return { store, cli, json, age, expire };
    };

    const quarantined = async (store: OwnedStore, repositoryId: string): Promise<string> => {
      const { worktree, fence } = await fixtures(store).lease({ repositoryId });
      return (await store.worktrees.release({ worktreeId: worktree.id, fence, to: "broken" })).id;
    };

    test("a repository whose worktrees are quarantined gets them back by restore, or their places by evict", async (t) => {
      const { store, cli, json } = await open(t);
      const { repository } = await fixtures(store).repository({ maxWorktrees: 2 });
      const ids = [await quarantined(store, repository.id), await quarantined(store, repository.id)] as const;

      const restored = await cli("restore", ids[0]);
      assert.equal(restored.code, 0, restored.stderr);
      assert.match(restored.stdout, new RegExp(`^worktree +${ids[0]}\nstate +dirty\npath +/`));
      assert.equal((await cli("restore", ids[0])).code, 0, "a repetition changes nothing");

      const [leased] = await json("evict", ids[1]);
      assert.deepEqual([leased?.id, leased?.state, leased?.leaseOwner?.startsWith("cli:")], [ids[1], "evicting", true]);
      const again = await cli("evict", ids[1]);
      assert.deepEqual([again.code, again.stdout], [1, ""]);
      assert.match(
        again.stderr,
        /is removing the worktree until \S+Z: if its directory \S+ is deleted, add --removed\n$/,
      );
      const removed = await cli("evict", ids[1], "--removed");
      assert.deepEqual([removed.code, removed.stderr], [0, ""]);
      assert.match(removed.stdout, new RegExp(`^id .*\n${ids[1]} +removed +/`));
      assert.equal((await cli("evict", ids[1], "--removed")).code, 0, "a repetition changes nothing");
      assert.equal((await cli("evict", ids[1])).code, 1);

      const rest = await json("evict", ids[0], "--removed");
      assert.deepEqual(
        rest.map(({ state }) => state),
        ["removed"],
      );
      assert.equal((await store.repositories.get({ repositoryId: repository.id })).worktreeCount, 0);
    });

    test("release leaves a worktree in which a command runs to its holder, also after its time, without --force", async (t) => {
      const { store, cli, json, expire } = await open(t);
      const { repository } = await fixtures(store).repository();
      const { runner } = await fixtures(store).runner();
      const { session, lease } = await fixtures(store).session({
        repositoryId: repository.id,
        reserve: { runnerId: runner.id, owner: "alice" },
        commands: [{ argv: ["true"] }],
      });
      await store.commands.claim({ runnerId: runner.id, sessionId: session.id, ttlMs: 3_600_000 });
      const { id } = (lease as Lease).worktree;
      await expire();
      await store.maintenance.reap();
      const refused = await cli("release", id);
      assert.deepEqual([refused.code, refused.stdout], [1, ""]);
      assert.match(refused.stderr, /the lease of alice ran out at \S+Z, but a command may still run.* use --force/);
      const [released] = await json("release", id, "--force", "--to", "keep");
      assert.equal(released?.state, "quarantined");
    });

    test("list shows places and filters by them, adopt changes them, and evict takes those of all or of one", async (t) => {
      const { store, cli, json, age } = await open(t);
      const { repository } = await fixtures(store).repository();
      const { id: repositoryId, name } = repository;
      const add = async (place: string) =>
        (await store.worktrees.register({ repositoryId, path: "/free/a", place, clean: true })).id;
      const [none, one, two] = [await add(""), await add("one"), await add("two")] as const;
      const table = await cli("list", "--order", "asc");
      assert.deepEqual(
        table.stdout.split("\n").flatMap((line) => /Z +(\S*) +\/free\/a$/.exec(line)?.[1] ?? []),
        ["", "one", "two"],
      );
      const idsOf = async (...args: readonly string[]) => (await json(...args)).map(({ id }) => id);
      assert.deepEqual(await idsOf("list", "--place", "one"), [one]);
      assert.deepEqual(await idsOf("list", "--place", "", "--repository", name), [none]);
      assert.deepEqual(await idsOf("adopt", two, "--place", "four"), [two]);
      assert.deepEqual(await idsOf("list", "--place", "four"), [two]);
      const taken = await cli("adopt", none, "--place", "four");
      assert.deepEqual([taken.code, taken.stdout], [1, ""]);
      assert.match(taken.stderr, /has the path \/free\/a/);
      await age();
      const evict = ["evict", "--repository", name, "--older-than", "1h"] as const;
      assert.deepEqual(await idsOf(...evict, "--place", "one"), [one]);
      assert.deepEqual(new Set(await idsOf(...evict)), new Set([none, two]));
    });

    test("evict takes what nobody has used for some time, or what is quarantined, and leaves the rest", async (t) => {
      const { store, cli, json, age } = await open(t);
      const { repository } = await fixtures(store).repository();
      const { id: repositoryId, name } = repository;
      const free = async (fields: object = {}) =>
        (await store.worktrees.register({ repositoryId, path: `/free/${newId()}`, clean: true, ...fields })).id;
      const broken = await quarantined(store, repositoryId);
      const held = (await fixtures(store).lease({ repositoryId })).worktree.id;
      const unused = await free();
      const pinned = await free({ pinned: true });
      const unusedFor = (time: string) => json("evict", "--repository", name, "--older-than", time);

      const none = await cli("evict", "--repository", name, "--older-than", "1h");
      assert.deepEqual(none, { code: 0, stdout: "", stderr: "None.\n" });
      await age();
      const used = await free();
      assert.deepEqual(await unusedFor("3h"), []);
      assert.deepEqual(
        (await unusedFor("1h")).map(({ id, state }) => [id, state]),
        [[unused, "evicting"]],
      );
      assert.deepEqual(
        (await json("evict", "--repository", name, "--quarantined")).map(({ id, state }) => [id, state]),
        [[broken, "evicting"]],
      );
      const both = await cli("evict", broken, unused, "--removed");
      assert.equal(both.code, 0, both.stderr);
      const { items } = await store.worktrees.list({ repositoryId });
      assert.deepEqual(Object.fromEntries(items.map(({ id, state }) => [id, state])), {
        [broken]: "removed",
        [held]: "leased",
        [unused]: "removed",
        [pinned]: "idle",
        [used]: "idle",
      });
    });
  });
}

test("evict needs ids, or a repository with a condition", async (t) => {
  const { folder, url } = workingFolder(t, { init: false });
  await (await openStore({ url })).close();
  for (const args of [
    [],
    ["--repository", "demo"],
    ["--older-than", "1h"],
    [newId(), "--quarantined"],
    [newId(), "--repository", "demo"],
    ["--repository", "demo", "--older-than", "never"],
  ]) {
    const ended = await run(folder, ["worktrees", "evict", ...args, "--url", url]);
    assert.deepEqual([ended.code, ended.stdout], [2, ""], args.join(" "));
    assert.match(ended.stderr, /\S/);
  }
  const help = await run(folder, ["worktrees", "restore", "--help"]);
  assert.match(help.stdout, /^Usage: debug-server-db worktrees restore /);
});
