// Secrets are masked in a stream however it is cut.
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Masker } from "../../../src/runner/logs/masking.ts";

/** Masks a text that arrives in pieces of these lengths, and at last in one piece. */
function maskPieces(secrets: readonly string[], text: string, lengths: readonly number[] = []): string {
  const masker = new Masker(secrets);
  const bytes = Buffer.from(text);
  const out: Uint8Array[] = [];
  let at = 0;
  for (const length of [...lengths, bytes.byteLength]) {
    out.push(masker.push(bytes.subarray(at, at + length)));
    at += length;
  }
  return Buffer.concat([...out, masker.end()]).toString();
}

/** A second implementation, for secrets of letters: the leftmost match, and of several there the longest. */
function maskWhole(secrets: readonly string[], text: string): string {
  const longestFirst = [...secrets].sort((left, right) => right.length - left.length);
  return text.replaceAll(new RegExp(longestFirst.join("|"), "g"), "***");
}

test("any cut of a stream gives what replacing in the whole gives, also with secrets within and beside each other", () => {
  // Few letters make secrets overlap, begin each other and repeat themselves.
  const secret = fc.string({ unit: fc.constantFrom("a", "b"), minLength: 4, maxLength: 6 });
  const text = fc.string({ unit: fc.constantFrom("a", "b", "a", "b", "é"), maxLength: 60 });
  fc.assert(
    fc.property(
      fc.array(secret, { minLength: 1, maxLength: 4 }),
      text,
      fc.array(fc.integer({ min: 0, max: 9 })),
      (secrets, whole, lengths) => assert.equal(maskPieces(secrets, whole, lengths), maskWhole(secrets, whole)),
    ),
    { numRuns: 500, examples: [[["abab", "ababb"], "aababbabab", [4, 1]]] },
  );
});

test("a secret is also masked as JSON, in a URL, and line by line, and values that are too short are not", () => {
  const secret = 'p"ss wörd\nsecond line of it';
  const masked = (text: string) => maskPieces([secret, "abc", ""], text, [3, 3, 3]);
  assert.equal(masked(`x${secret}y`), "x***y");
  assert.equal(masked(JSON.stringify({ secret })), '{"secret":"***"}');
  assert.equal(masked(`?q=${encodeURIComponent(secret)}&`), "?q=***&");
  assert.equal(masked("> second line of it\n"), "> ***\n");
  assert.equal(masked("abc \n"), "abc \n");
});

test("only what may be the beginning of a secret is held back, and a masker without secrets copies nothing", () => {
  const masker = new Masker(["password"]);
  const push = (text: string) => Buffer.from(masker.push(Buffer.from(text))).toString();
  assert.deepEqual(
    [push("Name: "), push("the pass"), push("port p"), push("assword")],
    ["Name: ", "the ", "passport ", "***"],
  );
  assert.equal(masker.end().byteLength, 0);
  const piece = new Uint8Array(8);
  assert.equal(new Masker([]).push(piece), piece);
});
