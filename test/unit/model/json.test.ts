// JSON columns: a value that can be read back equal is written, every other value is refused, and hostile text
// creates no object.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import superjson from "superjson";
import { StoreError } from "../../../src/errors.ts";
import { formatJson, isStorable, parseJson } from "../../../src/model/json.ts";

class Point {
  x = 1;
}

const key = fc.oneof(
  fc.string().filter((text) => isStorable(text) && !["__proto__", "constructor", "prototype"].includes(text)),
  fc.constantFrom("a.b", "a\\.b", "\\", "..", "a\\", "\\.", "0", "length", "toString"),
);
const leaf = fc.oneof(
  fc.string({ unit: "grapheme" }).filter(isStorable),
  fc.double(),
  fc.bigInt(),
  fc.boolean(),
  fc.constantFrom(null, undefined, -0, "", Number.NaN),
  fc.date({ noInvalidDate: true }),
  fc.webUrl().map((url) => new URL(url)),
);
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    leaf,
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(key, tie("value"), { maxKeys: 4, noNullPrototype: true }),
    fc.array(fc.tuple(leaf, tie("value")), { maxLength: 3 }).map((entries) => new Map(entries)),
    fc.array(leaf, { maxLength: 3 }).map((items) => new Set(items)),
  ),
}));

describe("formatJson", () => {
  it("a value that it writes is read back equal", () => {
    fc.assert(
      fc.property(value, (original) => {
        assert.deepStrictEqual(parseJson(formatJson({ original })), { original });
      }),
      { numRuns: 500 },
    );
  });

  it("an object that occurs twice is read back as two objects", () => {
    const shared = { at: new Date(0) };
    const back = parseJson(formatJson([shared, shared])) as unknown[];
    assert.deepStrictEqual(back, [shared, shared]);
    assert.notEqual(back[0], back[1]);
  });

  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  const refused: Readonly<Record<string, unknown>> = {
    "a function": () => 1,
    "a symbol": Symbol("s"),
    "a RegExp": /a/,
    "an Error": new Error("e"),
    bytes: new Uint8Array(1),
    "an ArrayBuffer": new ArrayBuffer(1),
    "a promise": Promise.resolve(),
    "a WeakMap": new WeakMap(),
    "a class instance": new Point(),
    "an invalid Date": new Date(Number.NaN),
    "a cycle": cyclic,
    "a constructor key": { constructor: 1 },
    "a __proto__ key": JSON.parse('{"__proto__": 1}'),
    "U+0000": "\u0000",
    "a lone surrogate in a key": { "\ud800": 1 },
    "a bigint of 1 001 digits": 10n ** 1_000n,
    "10 001 keys": Array.from({ length: 10_001 }, () => 0),
    "more than 256 KiB": "x".repeat(256 * 1024),
  };
  for (const [what, bad] of Object.entries(refused)) {
    it(`refuses ${what} at any depth`, () => {
      for (const whole of [bad, [bad], { a: { b: bad } }, new Map([[1, bad]]), new Set([bad])]) {
        assert.throws(() => formatJson(whole), { name: "StoreError", code: "invalid_input" });
      }
    });
  }
});

describe("parseJson", () => {
  const hostile: Readonly<Record<string, unknown>> = {
    "no JSON": "{",
    "an empty text": "",
    "a number": "1",
    null: "null",
    "a class": { json: { a: 1 }, meta: { values: [["class", "Point"]] } },
    "a symbol": { json: "a", meta: { values: [["symbol", "a"]] } },
    "a RegExp": { json: "/(a+)+$/", meta: { values: ["regexp"] } },
    "an Error": { json: { name: "Error", message: "m" }, meta: { values: ["Error"] } },
    "bytes by number": { json: [4_294_967_295], meta: { values: [["typed-array", "Uint8Array"]] } },
    "a path that makes an array of 4 294 967 295": { json: [], meta: { values: { "4294967294": ["Date"] } } },
    "a path into the prototype": { json: {}, meta: { values: { "__proto__.polluted": ["Date"] } } },
    "a path to a constructor": { json: {}, meta: { values: { "constructor.prototype.x": ["undefined"] } } },
    "a path into a Set": { json: { a: [1] }, meta: { values: { a: ["set"], "a.0": ["number"] } } },
    "a path into a Map": { json: { a: [[1, 2]] }, meta: { values: { a: ["map"], "a.0.1": ["number"] } } },
    "a tree of paths below a path": { json: { a: [1] }, meta: { values: { a: { "0": ["number"] } } } },
    "a list of paths": { json: { a: [1] }, meta: { values: ["set", [["number"]]] } },
    "referential equalities": {
      json: { a: 1 },
      meta: { values: { b: ["Date"] }, referentialEqualities: { a: ["b"] } },
    },
    "deep nesting": `{"json":${"[".repeat(50_000)}${"]".repeat(50_000)}}`,
    "depth of the annotations": `{"json":1,"meta":{"values":${'["map",{"0":'.repeat(2_000)}1${"}]".repeat(2_000)}}}`,
    "many keys": { json: Array.from({ length: 50_000 }, () => 1) },
    "a bigint of no number": { json: "x", meta: { values: ["bigint"] } },
    "a bigint of an object with a text of its own": { json: { toString: 1 }, meta: { values: ["bigint"] } },
    "a kind that is an object with a text of its own": { json: 1, meta: { values: [{ toString: 1, valueOf: 1 }] } },
    "a Map of no entries": { json: 5, meta: { values: ["map"] } },
    "a URL of nowhere": { json: "::", meta: { values: ["URL"] } },
    "notes that are text": { json: 1, meta: { values: "Date" } },
    "no notes at all": { json: 1, meta: null },
    "a __proto__ key": '{"json":{"a":{"__proto__":{"polluted":1}}}}',
    "a number of 100 000 digits": `{"json":${"9".repeat(100_000)}}`,
    "a fraction of 100 000 digits": `{"json":0.${"1".repeat(100_000)}}`,
    "a bigint of 100 000 digits": { json: "9".repeat(100_000), meta: { values: ["bigint"] } },
    "a million brackets": "[".repeat(250_000),
    "a hundred thousand empty objects": `{"json":[${"{},".repeat(80_000)}{}]}`,
  };
  for (const [what, stored] of Object.entries(hostile)) {
    it(`text that holds ${what} is corrupt and creates no object`, () => {
      const text = typeof stored === "string" ? stored : JSON.stringify(stored);
      assert.throws(() => parseJson(text), { name: "StoreError", code: "corrupt" });
      assert.equal(({} as { polluted?: unknown }).polluted, undefined);
    });
  }

  it("any JSON text gives a value or fails with corrupt", () => {
    const node = fc.letrec((tie) => ({
      node: fc.oneof(
        { maxDepth: 3 },
        fc.constantFrom("Date", "map", "set", "bigint", "number", "undefined", "URL", "regexp", null, 1),
        fc.constant([{ toString: 1, valueOf: 1 }]),
        fc.tuple(fc.constantFrom("Date", "map", "set", "bigint", "number", "undefined", "URL"), tie("node")),
        fc.tuple(fc.constantFrom("Date", "map", "set", "URL", "number")),
        fc.dictionary(fc.constantFrom("a", "0", "1", "a.0", "0.0", "length", "__proto__"), tie("node")),
      ),
    })).node;
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), fc.constant({ toString: 1, valueOf: 1 })), node, (json, values) => {
        try {
          parseJson(JSON.stringify({ json, meta: { values } }));
        } catch (error) {
          assert.ok(error instanceof StoreError, String((error as Error).stack));
          assert.equal(error.code, "corrupt");
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

describe("limits before restoring", () => {
  // superjson finds the nth entry of a Map or Set by counting from the first.
  const list = Array.from({ length: 5_000 }, (_, n) => n);
  const toEach = (path: (n: number) => string, node: unknown) =>
    Object.fromEntries(list.map((n) => [path(list.length - 1 - n), node]));
  const hostile: Readonly<Record<string, unknown>> = {
    "a Set": { json: { a: list }, meta: { values: { a: ["set"], ...toEach((n) => `a.${n}`, ["number"]) } } },
    "a Map": {
      json: { a: list.map((n) => [n, n]) },
      meta: { values: { a: ["map"], ...toEach((n) => `a.${n}.1`, ["number"]) } },
    },
    "a Set of another branch": {
      json: { a: [list] },
      meta: { values: { "a.0": ["set"], a: ["set", toEach((n) => `0.${n}`, ["number"])] } },
    },
    "a Set of the same branch": {
      json: [list],
      meta: { values: ["set", { "0": ["set"], ...toEach((n) => `0.${n}`, ["number"]) }] },
    },
  };
  for (const [what, stored] of Object.entries(hostile)) {
    it(`many paths into ${what} are refused before anything is restored`, (t) => {
      t.mock.method(superjson, "deserialize", () => assert.fail("it was restored"));
      assert.throws(() => parseJson(JSON.stringify(stored)), { code: "corrupt", message: /a path through a value/ });
    });
  }
});

describe("limits before parsing", () => {
  const parse = JSON.parse;
  const hostile: Readonly<Record<string, string>> = {
    depth: `{"json":${"[".repeat(100_000)}${"]".repeat(100_000)}}`,
    width: `{"json":[${"1,".repeat(100_000)}1]}`,
    length: `{"json":"${"x".repeat(300_000)}"}`,
    "digits of a number": `{"json":-${"9".repeat(200_000)}e5}`,
    "depth of the annotations": `{"json":1,"meta":{"values":${'["map",{"0":'.repeat(20_000)}1`,
  };
  for (const [what, text] of Object.entries(hostile)) {
    it(`text beyond the limit of ${what} is refused before it is parsed`, (t) => {
      t.mock.method(JSON, "parse", () => assert.fail("it was parsed"));
      assert.throws(() => parseJson(text), { code: "corrupt" });
      t.mock.restoreAll();
      assert.equal(JSON.parse, parse);
    });
  }

  it("brackets and digits within a string do not count, however they are escaped", () => {
    const value = {
      a: `${"[{,".repeat(20_000)}\\"${"[".repeat(1_000)}`,
      b: "9".repeat(50_000),
      c: ["\\", '"', '\\"', "\\\\"],
    };
    assert.deepEqual(parseJson(formatJson(value)), value);
  });

  it("every number that a double or a thousand digits can hold is read back", () => {
    const value = [Number.MAX_VALUE, -Number.MIN_VALUE, 5e-324, 10n ** 999n, -(10n ** 999n)];
    assert.deepEqual(parseJson(formatJson(value)), value);
  });
});

it("isStorable refuses U+0000 and lone surrogates", () => {
  assert.deepEqual(["", "a", "🧪", "\u0000", "\ud800", "a\udc00b", "\ud83e\uddea"].map(isStorable), [
    true,
    true,
    true,
    false,
    false,
    false,
    true,
  ]);
});
