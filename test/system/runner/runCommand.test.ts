// Programs that cannot be started: the reason is an answer, not an exception.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { runCommand } from "../../../src/runner/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

const cwd = temporaryFolder();
const missing = join(cwd, "missing");

for (const [what, argv, folder, reason] of [
  // Linux bounds one argument at 128 KiB, and other systems all of them together.
  [
    "arguments that the system refuses",
    ["true", ...Array(8).fill("x".repeat(400_000))],
    cwd,
    "the arguments are too long",
  ],
  ["a missing program", [missing], cwd, "no such program"],
  ["a folder in place of a program", [cwd], cwd, "not an executable file"],
  ["a missing folder", ["true"], missing, `there is no folder ${missing}`],
] as const)
  test(`the reason is the answer: ${what}`, async () => {
    const ending = await runCommand(argv, { cwd: folder, env: process.env, output: () => undefined });
    assert.ok(ending.reason?.endsWith(reason) === true, JSON.stringify(ending).slice(0, 200));
  });
