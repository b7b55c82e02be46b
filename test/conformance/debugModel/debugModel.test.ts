// Compares a store with a plain model of a debugged process, over random orders of events, calls, restarts and deaths, while
// two observers read it. MODEL_SEED and MODEL_RUNS repeat and extend a run.
import { after, describe, it } from "node:test";
import fc from "fast-check";
import { type OwnedStore, openStore } from "../../../src/index.ts";
import { attachStore } from "../../../src/store.ts";
import { openTestStore } from "../../../src/testing/index.ts";
import { dropDatabase, newDatabase } from "../../support/postgres.ts";
import { assertSound } from "../../support/sound.ts";
import { runSequence, sequences } from "./run.ts";

const { MODEL_SEED, MODEL_RUNS, MODEL_PATH } = process.env;

async function check(store: OwnedStore, runs: number, seed: number): Promise<void> {
  const observer = attachStore(store.connect());
  const property = fc.asyncProperty(sequences, (sequence) => runSequence(store, observer, sequence));
  await fc.assert(property, {
    ...{ seed, numRuns: MODEL_RUNS === undefined ? runs : Number(MODEL_RUNS), interruptAfterTimeLimit: 240_000 },
    ...(MODEL_PATH === undefined ? {} : { path: MODEL_PATH }),
  });
  await observer.close();
  await assertSound(store);
}

describe("debug model", () => {
  const seed = MODEL_SEED === undefined ? (Date.now() ^ (Math.random() * 0x1_0000_0000)) | 0 : Number(MODEL_SEED);

  it("memory: a store says of a debugged process what is true", async (t) => {
    t.diagnostic(`MODEL_SEED=${seed}`);
    const store = await openTestStore();
    t.after(() => store.close());
    await check(store, 100, seed);
  });

  it("postgres: a store says of a debugged process what is true", async (t) => {
    t.diagnostic(`MODEL_SEED=${seed}`);
    const url = await newDatabase();
    after(() => dropDatabase(url));
    const store = await openStore({ url });
    t.after(() => store.close());
    await check(store, 8, seed);
  });
});
