// The mutations still apply to the sources, and name tests that exist. `npm run test:mutants` runs them.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { it } from "node:test";
import { fileURLToPath } from "node:url";
import { mutated, mutations } from "../mutants/mutations.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

it("each mutation changes its file in one place", () => {
  assert.ok(mutations.length >= 60);
  for (const mutation of mutations) {
    const text = readFileSync(`${root}${mutation.file}`, "utf8");
    assert.notEqual(mutated(text, mutation), text);
  }
});

it("each mutation names tests that exist", () => {
  for (const { rule, tests } of mutations) {
    assert.ok(tests.length > 0, rule);
    for (const test of tests) assert.ok(existsSync(`${root}${test}`), `${rule}: ${test}`);
  }
});
