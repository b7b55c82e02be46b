// Runs every TypeScript example of the README and the guide twice in one folder. examplesCompile.test.ts compiles them.
import { after, describe, test } from "node:test";
import { runTwice, writeExamples } from "../support/examples.ts";

const { examples } = writeExamples();
process.env.DEBUG_SERVER_DB_URL = "";
const { log } = console;
after(() => Object.assign(console, { log }));
console.log = () => undefined;

describe("examples run", () => {
  for (const example of examples) test(`${example.title}, runs twice`, { timeout: 60_000 }, () => runTwice(example));
});
