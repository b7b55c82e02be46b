// debug.get returns the state at one moment, even if other transactions commit between its statements, as they may on
// PostgreSQL.
import assert from "node:assert/strict";
import { it } from "node:test";
import type { Context } from "../../../src/context.ts";
import { newId } from "../../../src/index.ts";
import { defaultLimits } from "../../../src/limits.ts";
import { operations } from "../../../src/operations/table.ts";
import type { Body, Query } from "../../../src/sql.ts";
import { idleServer } from "../../support/serverState.ts";

const context: Context = {
  now: new Date(),
  limits: defaultLimits,
  serverState: idleServer,
  actor: undefined,
  wake: () => undefined,
  changed: () => undefined,
  counted: () => undefined,
  spent: () => undefined,
  measured: () => undefined,
  used: () => undefined,
  block: () => undefined,
};

/** Runs debug.get and answers its statements. `revisionOf` returns the revision that the n-th read of the row finds. */
function run(revisionOf: (read: number) => number) {
  const { get } = operations.debug;
  const body = get.run(get.decode(get.encode({ debugSessionId: newId() })), context) as Body<unknown>;
  let [reads, statements] = [0, 0];
  let next = body.next();
  while (!next.done) {
    const { kind, statements: parts } = next.value as Query<unknown>;
    const isRow = parts[0]?.strings.join("").includes("FROM debug_sessions");
    statements++;
    next = body.next(
      isRow ? { state: "stopped", stop_epoch: 1, revision: revisionOf(reads++) } : kind === "all" ? [] : undefined,
    );
  }
  return { view: next.value as { debugSession: { revision: number } }, reads, statements };
}

it("debug.get reads once when no other transaction writes meanwhile", () => {
  const { reads, statements } = run(() => 7);
  assert.deepEqual([reads, statements], [2, 10]);
});

it("debug.get reads again until no other transaction has written meanwhile", () => {
  const { view, reads } = run((read) => Math.min(read, 3));
  assert.deepEqual([view.debugSession.revision, reads], [3, 5]);
});

it("debug.get fails with busy when every attempt meets another write", () => {
  assert.throws(() => run((read) => read), { code: "busy" });
});
