// A long version of model.test.ts: 5 000 runs. `npm run test:long` runs it.
import { describe } from "node:test";
import { openFile, openMemory, openPostgres } from "./stores.ts";
import { modelTest } from "./subject.ts";

const file = "test/conformance/model/model.long.ts";

describe("model, long", () => {
  modelTest({ name: "memory", file, runs: 4_000, open: openMemory });
  modelTest({ name: "file", file, runs: 700, open: openFile });
  modelTest({ name: "postgres", file, runs: 300, open: openPostgres });
});
