// The model test on each backend, and that no operation is forgotten. `npm run test:long` makes more runs.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { operations } from "../../../src/operations/table.ts";
import { leftOut, modelled } from "./operations.ts";
import { openFile, openMemory, openPostgres } from "./stores.ts";
import { modelTest } from "./subject.ts";

const file = "test/conformance/model/model.test.ts";

describe("model", () => {
  it("each operation is in the model, or left out for a reason", () => {
    const names = Object.entries(operations).flatMap(([entity, verbs]) =>
      Object.keys(verbs).map((verb) => `${entity}.${verb}`),
    );
    const known = [...Object.keys(modelled), ...Object.keys(leftOut)];
    assert.deepEqual(known.toSorted(), names.toSorted(), "add it to the model, or to leftOut in operations.ts");
  });

  modelTest({ name: "memory", file, runs: 280, open: openMemory });
  modelTest({ name: "file", file, runs: 14, open: openFile });
  modelTest({ name: "postgres", file, runs: 6, open: openPostgres });
});
