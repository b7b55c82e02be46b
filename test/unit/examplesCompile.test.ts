// Compiles every TypeScript example of the README and the guide in strict mode. It runs none, so it is a fast test.
import assert from "node:assert/strict";
import { test } from "node:test";
import { compileExamples, writeExamples } from "../support/examples.ts";

const { folder, examples } = writeExamples();

test("the README and the guide have examples", () => assert.ok(examples.length >= 5));

test("the examples of the README and the guide compile", () => compileExamples(folder));
