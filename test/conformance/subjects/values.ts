// Values: stored values come back equal, and values that could not are refused before they are sent.
import assert from "node:assert/strict";
import { type Chunk, newId } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { bytes, fails, subject } from "../suite.ts";

const texts = {
  Unicode: "Größe, 日本語, עברית, é (composed), e\u0301 (decomposed)",
  "beyond the basic plane": "🧪🏳️‍🌈𝔘𐍈",
  "control characters": "a\tb\r\n\u0001\u001b[31m\u007f\u0085\u2028",
  SQL: "'; DROP TABLE repositories; -- \" ` $1 ? :a",
  "a byte order mark": "\ufeffbom",
  "the highest code points": "\uffff\u{10ffff}",
  "blanks around": "  x  ",
};

const unstorable = {
  "U+0000": "a\u0000b",
  "a lone high surrogate": "a\ud800",
  "a lone low surrogate": "\udc00a",
  "surrogates the wrong way round": "\udc00\ud800",
};

export function valuesConformance(backend: TestedBackend): void {
  subject(backend, "values", ({ test }) => {
    for (const [kind, value] of Object.entries(texts)) {
      test(`text with ${kind} is read back unchanged, as a column and in JSON`, async ({ store }) => {
        const row = await store.repositories.upsert({
          name: `v ${newId()}`,
          description: value,
          settings: { [value]: value },
        });
        const read = await store.repositories.get({ repositoryId: row.id });
        assert.deepEqual([read.description, read.settings], [value, { [value]: value }]);
      });
    }

    for (const [kind, value] of Object.entries(unstorable)) {
      test(`text with ${kind} is invalid_input, as a column and anywhere in JSON`, async ({ store }) => {
        const name = `v ${newId()}`;
        await fails(store.repositories.upsert({ name: `${name}${value}` }), "invalid_input");
        await fails(store.repositories.upsert({ name, description: value }), "invalid_input");
        for (const settings of [
          value,
          [value],
          { deep: { deeper: value } },
          { [value]: 1 },
          new Map([[value, 1]]),
          new Set([value]),
        ]) {
          await fails(store.repositories.upsert({ name, settings }), "invalid_input");
        }
        const { session } = await fixtures(store).session();
        await fails(
          store.commands.enqueue({ sessionId: session.id, commands: [{ argv: ["echo", value] }] }),
          "invalid_input",
        );
        await fails(
          store.commands.enqueue({ sessionId: session.id, commands: [{ argv: ["a"], env: { A: value } }] }),
          "invalid_input",
        );
        assert.equal(await store.repositories.find({ name }), undefined);
      });
    }

    test("the largest safe integer is read back unchanged, and a larger one is invalid_input", async ({ store }) => {
      const { worktree, fence } = await fixtures(store).lease();
      const held = { worktreeId: worktree.id, fence };
      const row = await store.worktrees.update({ ...held, sizeBytes: Number.MAX_SAFE_INTEGER });
      assert.equal(row.sizeBytes, 9_007_199_254_740_991);
      assert.equal((await store.worktrees.get({ worktreeId: worktree.id })).sizeBytes, 9_007_199_254_740_991);
      await fails(store.worktrees.update({ ...held, sizeBytes: Number.MAX_SAFE_INTEGER + 1 }), "invalid_input");
      assert.equal((await store.worktrees.update({ ...held, sizeBytes: 0 })).sizeBytes, 0);
    });

    test("empty text and null are different", async ({ store }) => {
      const { command } = await fixtures(store).command({ argv: ["", ""], env: {}, secretEnvKeys: [] });
      assert.deepEqual([command.argv, command.env, command.secretEnvKeys, command.cwd], [["", ""], {}, [], null]);
      const { session } = await fixtures(store).session({ metadata: null });
      const { session: empty } = await fixtures(store).session({ metadata: "" });
      const { session: absent } = await fixtures(store).session();
      assert.deepEqual([session.metadata, empty.metadata, absent.metadata], [null, "", null]);
      const { runner } = await fixtures(store).runner({ host: "" });
      assert.deepEqual([runner.host, runner.labels], ["", {}]);
    });

    test("the exit codes of every system are read back unchanged", async ({ store }) => {
      for (const exitCode of [0, 255, 0xc000_0005, 0xffff_ffff]) {
        const { claim } = await fixtures(store).claim();
        const { command } = await store.commands.finish({
          commandId: claim.command.id,
          fence: claim.fence,
          outcome: "failed",
          exitCode,
        });
        assert.equal(command.exitCode, exitCode);
      }
    });

    test("JSON columns restore values that JSON cannot express", async ({ store }) => {
      const metadata = {
        date: new Date(1_234_567_890_123),
        map: new Map<unknown, unknown>([
          ["a", new Set([1, 2n])],
          [3, new Date(0)],
        ]),
        bigint: 2n ** 70n,
        numbers: [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0, 5e-324, Number.MAX_VALUE],
        absent: undefined,
        nothing: null,
        "key.with.dots": { "a.b": new Date(1), "back\\slash": new Date(2), "a\\.b": new Date(3) },
        "": [[], {}, ""],
        "\u{1f9ea}": [undefined, null],
      };
      const { session } = await fixtures(store).session({ metadata });
      const read = await store.sessions.get({ sessionId: session.id });
      assert.deepStrictEqual(read.metadata, metadata);
      assert.ok(Object.is((read.metadata as typeof metadata).numbers[3], -0));
      assert.ok(Object.hasOwn(read.metadata as object, "absent"));
    });

    for (const value of [undefined, null, true, 0, "", "text", 1n, new Date(5), [], {}]) {
      test(`a JSON column holds ${typeof value} ${String(value)} by itself`, async ({ store }) => {
        // A field whose value is undefined is an absent field.
        const { session } = await fixtures(store).session({ metadata: value });
        assert.deepStrictEqual((await store.sessions.get({ sessionId: session.id })).metadata, value ?? null);
      });
    }

    test("a megabyte of text in many fields is read back unchanged", async ({ store }) => {
      const env = Object.fromEntries(Array.from({ length: 8 }, (_, n) => [`V${n}`, `${n}`.repeat(30_000)]));
      const { session } = await fixtures(store).session();
      const rows = await store.commands.enqueue({
        sessionId: session.id,
        commands: Array.from({ length: 5 }, () => ({ argv: ["a"], env })),
      });
      assert.equal(JSON.stringify(rows.map((row) => row.env)).length > 1_000_000, true);
      for (const row of rows) assert.deepEqual(row.env, env);
      const read: unknown[] = [];
      for await (const row of store.commands.all({ sessionId: session.id })) read.push(row);
      assert.deepEqual(read, rows);
    });

    test("JSON up to its bounds is accepted, and beyond them invalid_input", async ({ store }) => {
      const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);
      const keys = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, n) => [`k${n}`, n]));
      const settings = { text: "x".repeat(256 * 1024 - 100), deep: nested(32), wide: keys(10_000) };
      for (const value of Object.values(settings))
        await store.repositories.upsert({ name: `j ${newId()}`, settings: value });
      const tooMuch = {
        text: "x".repeat(256 * 1024),
        bytes: "é".repeat(130 * 1024),
        deep: nested(34),
        wide: keys(10_001),
      };
      for (const value of Object.values(tooMuch))
        await fails(store.repositories.upsert({ name: `j ${newId()}`, settings: value }), "invalid_input");
    });

    test("JSON that would not be read back unchanged is invalid_input", async ({ store }) => {
      const cyclic: Record<string, unknown> = {};
      cyclic.self = cyclic;
      const refused: unknown[] = [
        cyclic,
        /regexp/,
        new Error("error"),
        new Uint8Array(1),
        JSON.parse('{"__proto__": {"a": 1}}'),
        new Date(Number.NaN),
      ];
      for (const value of refused) {
        const metadata = { value };
        await fails(
          store.sessions.create({ repositoryId: newId(), commitSha: "a".repeat(40), metadata }),
          "invalid_input",
        );
      }
    });

    test("names have 1 to 200 characters", async ({ store }) => {
      assert.equal((await store.repositories.upsert({ name: "n".repeat(200) })).name.length, 200);
      await fails(store.repositories.upsert({ name: "n".repeat(201) }), "invalid_input");
      await fails(store.repositories.upsert({ name: "" }), "invalid_input");
    });

    test("times are Dates with milliseconds", async ({ store, clock }) => {
      const before = Math.floor(clock.now());
      const { session } = await fixtures(store).session({ idleTtlMs: 1_000 });
      // The store's clock may differ from this one: it may be that of another machine.
      assert.ok(
        session.createdAt instanceof Date &&
          session.createdAt.getTime() >= before - 50 &&
          session.createdAt.getTime() <= clock.now() + 50,
      );
      assert.equal((session.expiresAt as Date).getTime(), session.lastActivityAt.getTime() + 1_000);
    });

    test("bytes are returned in their own buffer", async ({ store }) => {
      const { claim } = await fixtures(store).claim();
      const whole = bytes("0123456789");
      await store.logs.append({
        commandId: claim.command.id,
        fence: claim.fence,
        offset: 0,
        data: whole.subarray(3, 6),
      });
      whole.fill(0);
      const [chunk] = (await store.logs.read({ commandId: claim.command.id })).chunks;
      assert.deepEqual([...(chunk as Chunk).data], [...bytes("345")]);
    });
  });
}
