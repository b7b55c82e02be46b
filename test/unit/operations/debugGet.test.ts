// The answer of get is the state at one moment, even if other transactions commit between its statements, as they may
// on PostgreSQL.
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
  wake: () => undefined,
  changed: () => undefined,
  used: () => undefined,
};

/** Answers each statement; `revisionOf` says what the n-th look at the row finds. */
function run(revisionOf: (look: number) => number) {
  const { get } = operations.debug;
  const body = get.run(get.decode(get.encode({ debugSessionId: newId() })), context) as Body<unknown>;
  let [looks, statements] = [0, 0];
  let next = body.next();
  while (!next.done) {
    const { kind, statements: asked } = next.value as Query<unknown>;
    const isRow = asked[0]?.strings.join("").includes("FROM debug_sessions");
    statements++;
    next = body.next(
      isRow ? { state: "stopped", stop_epoch: 1, revision: revisionOf(looks++) } : kind === "all" ? [] : undefined,
    );
  }
  return { view: next.value as { debugSession: { revision: number } }, looks, statements };
}

it("is read once when nobody writes meanwhile", () => {
  const { looks, statements } = run(() => 7);
  assert.deepEqual([looks, statements], [2, 7]);
});

it("is read again until nobody has written meanwhile", () => {
  const { view, looks } = run((look) => Math.min(look, 3));
  assert.deepEqual([view.debugSession.revision, looks], [3, 5]);
});

it("gives up, and says so, when somebody always has", () => {
  assert.throws(() => run((look) => look), { code: "busy" });
});
