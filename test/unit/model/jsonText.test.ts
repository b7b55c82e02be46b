// Parses JSON text whose keys have escapes, after the engine has parsed keys that confuse it.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { formatJson, parseJson } from "../../../src/model/json.ts";
import { parseJsonText } from "../../../src/model/jsonText.ts";

/** Short keys of characters that JSON escapes: they show the fault of the engine within a few hundred pairs. */
const characters = ["\\", '"', "\n", "a", ".", "n", "u0"];
const keys = characters.flatMap((first) => [first, ...characters.map((second) => first + second)]);

describe("parseJsonText", () => {
  it("returns the keys of the text after the engine has parsed any other key", () => {
    for (const [index, before] of keys.entries()) {
      for (const key of keys) {
        // Each pair has its own first key, so that no earlier pair affects it.
        const first = `${index}-${keys.indexOf(key)}-x`;
        JSON.parse(JSON.stringify({ [first]: 1, [before]: 1 }));
        const original = { [first]: 1, [key]: 2 };
        assert.deepEqual(parseJsonText(JSON.stringify(original)), original);
      }
    }
  });

  it("returns the value that JSON.stringify was given", () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.boolean(), (value, indented) => {
        const text = JSON.stringify(value, undefined, indented ? 2 : undefined);
        assert.equal(JSON.stringify(parseJsonText(text)), JSON.stringify(value));
      }),
      { numRuns: 500 },
    );
  });

  it("preserves punctuation, numbers, __proto__ and repeated keys", () => {
    const cases: readonly [text: string, value: unknown][] = [
      ['{"#0":1,"=":2,"\\\\":3}', { "#0": 1, "=": 2, "\\": 3 }],
      ['{"b":1,"1":2,"\\"":3,"0":4}', { "0": 4, "1": 2, b: 1, '"': 3 }],
      ['{"a":1,"\\u0061":2}', { a: 2 }],
      ['{ "\\n" : { "\\n" : [ { "\\t":"\\"x\\":1" } ] } }', { "\n": { "\n": [{ "\t": '"x":1' }] } }],
      ['"\\\\"', "\\"],
    ];
    for (const [text, value] of cases) assert.deepEqual(parseJsonText(text), value);
    const hostile = parseJsonText('{"\\\\":1,"__proto__":{"polluted":1}}') as object;
    assert.ok(Object.hasOwn(hostile, "__proto__"));
    assert.equal(Object.getPrototypeOf(hostile), Object.prototype);
    assert.equal((hostile as { polluted?: unknown }).polluted, undefined);
  });

  it("refuses text that is not JSON, in time that is linear in its length", () => {
    for (const text of ["", "{", '{"\\x":1}', `{"${'\\"'.repeat(130_000)}`, `{"a":"\\`])
      assert.throws(() => parseJsonText(text), SyntaxError);
    const long = JSON.stringify({ ['"'.repeat(50_000)]: '":'.repeat(30_000) });
    assert.equal(JSON.stringify(parseJsonText(long)), long);
    const plain = JSON.stringify({ '"': "x".repeat(2_000_000), "\\": "\n".repeat(1_000_000) });
    assert.equal(JSON.stringify(parseJsonText(plain)), plain);
  });
});

it("stored JSON is read back with its keys after the engine has parsed keys with escapes", () => {
  const pairs: readonly [before: string, key: string][] = [
    ["\\\\", "\\."],
    ["\\", '"'],
    ["\\", "\n"],
  ];
  for (const [before, key] of pairs) {
    for (const value of [1, new Date(0)]) {
      // Each text has its own first key, so that the engine remembers only one key after it.
      const first = `first ${pairs.findIndex(([other]) => other === before)} ${key.charCodeAt(key.length - 1)} ${typeof value}`;
      JSON.parse(JSON.stringify({ [first]: 1, [before]: 0 }));
      assert.deepEqual(parseJson(formatJson({ [first]: 1, [key]: value })), { [first]: 1, [key]: value });
    }
  }
});
