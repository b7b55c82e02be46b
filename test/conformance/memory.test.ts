// The conformance suite on a store in memory, the plans of the statements that it prepares, the rows of the change feed
// that it writes, and the counters.
import assert from "node:assert/strict";
import { it } from "node:test";
import { watchCounters } from "../support/counters.ts";
import { conformance } from "./conformance.ts";
import { describeFeedCoverage, recordChanges } from "./feedCoverage.ts";
import { describeQueryPlans, recordStatements } from "./queryPlans.ts";

const counters = watchCounters();
const changes = recordChanges();
const statements = await recordStatements();
await conformance("memory");
describeQueryPlans(statements);
describeFeedCoverage(changes);

it("memory: counters of every store equal the rows that they count", () => {
  counters.stop();
  assert.ok(counters.stores() > 0);
  assert.deepEqual(counters.wrong, []);
});
