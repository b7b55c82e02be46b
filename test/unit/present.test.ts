// present drops the properties that are undefined, and nothing else.
import assert from "node:assert/strict";
import { it } from "node:test";
import { present } from "../../src/present.ts";

it("drops undefined properties, and keeps null, zero, false and empty text", () => {
  const fields = { absent: undefined, nothing: null, zero: 0, no: false, empty: "" };
  assert.deepEqual(present(fields), { nothing: null, zero: 0, no: false, empty: "" });
  assert.deepEqual(Object.keys(present(fields)), ["nothing", "zero", "no", "empty"]);
});

it("changes a spread: an undefined property overwrites, an absent one does not", () => {
  const absent: string | undefined = undefined;
  assert.deepEqual({ ...{ name: "a" }, ...{ name: absent } }, { name: undefined });
  assert.deepEqual({ ...{ name: "a" }, ...present({ name: absent }) }, { name: "a" });
});
