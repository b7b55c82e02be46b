// The states, fields and bounds of the model.
import assert from "node:assert/strict";
import { it } from "node:test";
import { isFinal } from "../../../src/model/commands.ts";
import { CommitSha, Name, Path } from "../../../src/model/fields.ts";
import { countLines, LogData } from "../../../src/model/logs.ts";
import { nameKey } from "../../../src/model/repositories.ts";
import { isOpen } from "../../../src/model/sessions.ts";
import * as vocabulary from "../../../src/model/vocabulary.ts";
import { releases } from "../../../src/model/worktrees.ts";
import { operations } from "../../../src/operations/table.ts";
import { memoryDatabase } from "../../support/memoryDriver.ts";

const { commandStates, releaseKinds, sessionStates, worktreeStates } = vocabulary;

it("isFinal knows the final states of commands, and isOpen the open states of sessions", () => {
  assert.deepEqual(commandStates.filter(isFinal), ["succeeded", "failed", "timed_out", "cancelled", "lost"]);
  assert.deepEqual(sessionStates.filter(isOpen), ["pending", "running", "cancelling"]);
});

it("the states that the schema allows are those of the vocabulary", () => {
  const tables = memoryDatabase()
    .prepare("SELECT sql FROM sqlite_schema WHERE type = 'table'")
    .pluck()
    .all() as string[];
  const checks = tables.flatMap((table) => /^\s*state TEXT NOT NULL CHECK \((.*)\),?$/m.exec(table)?.[1] ?? []);
  const allowed = checks.map((check) => [...check.matchAll(/'(\w+)'/g)].map(([, state]) => state));
  const lists = Object.entries(vocabulary).flatMap(([name, words]) => (name.endsWith("States") ? [words] : []));
  assert.ok(lists.length > 5);
  assert.deepEqual(allowed.map(String).toSorted(), lists.map(String).toSorted());
});

it("every kind of release leads to a state of worktrees", () => {
  assert.deepEqual(Object.keys(releases), [...releaseKinds]);
  for (const state of Object.values(releases)) assert.ok(worktreeStates.includes(state));
});

it("commit ids are full object names in lower case", () => {
  for (const good of ["a".repeat(40), "0".repeat(64)]) assert.equal(CommitSha.safeParse(good).success, true);
  for (const bad of ["a".repeat(39), "a".repeat(41), "A".repeat(40), "g".repeat(40), `${"a".repeat(40)}\n`, ""]) {
    assert.equal(CommitSha.safeParse(bad).success, false, bad);
  }
});

it("names and paths are not empty, not too long, and storable", () => {
  assert.equal(Name.safeParse("x".repeat(201)).success, false);
  assert.equal(Path.safeParse("/a\u0000b").success, false);
  assert.equal(Path.safeParse(`/${"x".repeat(4095)}`).success, true);
});

it("name keys fold case and composition", () => {
  assert.equal(nameKey("U\u0308ber"), nameKey("ÜBER"));
  assert.notEqual(nameKey("a"), nameKey("b"));
});

it("the number of lines is the number of line breaks", () => {
  const lines = (text: string) => countLines(new TextEncoder().encode(text));
  assert.deepEqual(["", "a", "a\n", "\n\n", "a\nb", "\r\n"].map(lines), [0, 0, 1, 2, 1, 1]);
});

it("log data is 1 to 65 536 bytes of any kind of Uint8Array", () => {
  for (const good of [new Uint8Array(1), Buffer.alloc(65_536), new Uint8Array(new SharedArrayBuffer(4))])
    assert.equal(LogData.safeParse(good).success, true);
  for (const bad of [new Uint8Array(0), new Uint8Array(65_537), new ArrayBuffer(4), "text", [1], null])
    assert.equal(LogData.safeParse(bad).success, false);
});

it("the server decodes the same input that the client encoded", () => {
  const input = { sessionId: crypto.randomUUID(), commands: [{ argv: ["a", ""], env: { A: "b" }, priority: 3 }] };
  const { enqueue } = operations.commands;
  const decoded = enqueue.decode(structuredClone(enqueue.encode(input))) as {
    commands: { argv: string; env: string; maxAttempts: number }[];
  };
  assert.deepEqual(
    decoded.commands[0] && [decoded.commands[0].argv, decoded.commands[0].env, decoded.commands[0].maxAttempts],
    ['{"json":["a",""]}', '{"json":{"A":"b"}}', 1],
  );
});

it("the server checks the bounds of every input that a port sends", () => {
  const { renew } = operations.worktrees;
  const id = crypto.randomUUID();
  for (const wire of [
    [id, 0, 60_000],
    [id, 1, 5],
    ["x", 1, 60_000],
    [id],
    [id, 1, 60_000, 1],
    "text",
    null,
    [id, 1.5, 60_000],
    [{}, 1, 60_000],
  ]) {
    assert.throws(() => renew.decode(wire), { code: "invalid_input" }, JSON.stringify(wire));
  }
  const { upsert } = operations.repositories;
  const at = upsert.keys.indexOf("settings");
  const wire: unknown[] = upsert.encode({ name: "n" }).slice();
  wire[at] = { json: 1 };
  assert.throws(() => upsert.decode(wire), { code: "invalid_input" });
  wire[at] = "x".repeat(256 * 1024 + 1);
  assert.throws(() => upsert.decode(wire), { code: "invalid_input" });
});
