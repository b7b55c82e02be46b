// The model test on each backend. `npm run test:long` makes more and longer runs.
import { describe } from "node:test";
import { openMemory } from "./stores.ts";
import { modelTest } from "./subject.ts";

const file = "test/conformance/model/model.test.ts";

describe("model", () => {
  modelTest({ name: "memory", file, runs: 240, open: openMemory });
});
