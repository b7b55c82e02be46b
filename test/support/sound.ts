// Asserts that a store breaks none of its rules, for tests that leave it in a state that nobody has foreseen.
import assert from "node:assert/strict";
import type { Finding, Store } from "../../src/index.ts";
import { openVisitor } from "../../src/store.ts";

/** Runs all checks of a store, or one of them, and resolves to what they have found. */
export async function findingsOf({ maintenance }: Store, check?: string): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (let from: string | undefined, more = true; more; more = from !== undefined) {
    const step = await maintenance.fsck({ ...(check && { check }), ...(from && { from }) });
    findings.push(...step.findings);
    from = step.next;
  }
  return findings;
}

/** Fails when a check finds something. */
export async function assertSound(store: Store): Promise<void> {
  assert.deepEqual(await findingsOf(store), []);
}

/** Opens a store as a visitor, and fails when a check finds something. */
export async function assertSoundAt(url: string): Promise<void> {
  const store = await openVisitor({ url, migrate: "never" });
  try {
    await assertSound(store);
  } finally {
    await store.close();
  }
}
