// Runs every TypeScript example of the README and the guide twice in one folder. examplesCompile.test.ts compiles them.
import { availableParallelism } from "node:os";
import { describe, test } from "node:test";
import { runTwice, writeExamples } from "../support/examples.ts";

const { examples } = writeExamples();

describe("examples run", { concurrency: availableParallelism() + 1 }, () => {
  for (const example of examples) test(`${example.title}, runs twice`, () => runTwice(example));
});
