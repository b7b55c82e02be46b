// Runs the model test on a backend. MODEL_RUNS and MODEL_SEED set the number of runs and where they begin, and
// MODEL_PATH repeats the run that failed.
import { it } from "node:test";
import fc from "fast-check";
import { runSteps, type Tested } from "./run.ts";
import { steps } from "./steps.ts";

/** The number of attempts to shorten what has failed: enough for a few steps less, in a few seconds. */
const shrinksMax = 60;

export interface ModelOptions {
  readonly name: string;
  readonly file: string;
  readonly runs: number;
  open(): Promise<Tested>;
}

export function modelTest({ name, file, runs, open }: ModelOptions): void {
  const { MODEL_RUNS, MODEL_SEED, MODEL_PATH } = process.env;
  it(`${name}: a store answers as the model does`, async (context) => {
    const seed = MODEL_SEED === undefined ? (Date.now() ^ (Math.random() * 0x1_0000_0000)) | 0 : Number(MODEL_SEED);
    context.diagnostic(`MODEL_SEED=${seed}`);
    let [hasFailed, shrinks] = [false, 0];
    const property = fc.asyncProperty(steps, async (sequence) => {
      // What is found is to be reported soon: after so many attempts to shorten it, the shortest so far will do.
      if (hasFailed && shrinks++ >= shrinksMax) return;
      await runSteps(await open(), sequence).catch((error) => {
        hasFailed = true;
        throw error;
      });
    });
    const result = await fc.check(property, {
      seed,
      numRuns: MODEL_RUNS === undefined ? runs : Number(MODEL_RUNS),
      ...(MODEL_PATH === undefined ? {} : { path: MODEL_PATH }),
    });
    if (!result.failed) return;
    const reason =
      result.errorInstance instanceof Error ? result.errorInstance.message : fc.defaultReportMessage(result);
    const repeat = `MODEL_SEED=${seed} MODEL_PATH=${result.counterexamplePath} npm test -- ${file}`;
    throw new Error(`${reason}\n\nRepeat this with: ${repeat} --test-name-pattern "${name}: a store answers"`);
  });
}
