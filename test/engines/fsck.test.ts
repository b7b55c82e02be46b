// Every check of the store finds what breaks its rule, and nothing else does; repairs make the store sound again.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { testClock } from "../../src/clock.ts";
import { openStore, type Store } from "../../src/index.ts";
import { checks } from "../../src/operations/fsck/checks.ts";
import { fixtures } from "../../src/testing/index.ts";
import { assertSound, findingsOf } from "../support/sound.ts";
import { breakagesOf } from "./breakages.ts";
import { places } from "./migrate/places.ts";

const namesOf = (findings: readonly { readonly check: string }[]) => [...new Set(findings.map(({ check }) => check))];

/** The checks that run only when they are named. Those of the log archive are tested with one (test/conformance). */
const deepChecks = checks.filter(({ isDeep = false, depth }) => isDeep && !depth).map(({ name }) => name);

/** Repairs all that a check finds, and resolves to what is left. */
async function repair({ maintenance }: Store, check: string) {
  const [repaired, left]: [unknown[], unknown[]] = [[], []];
  for (let from: string | undefined, more = true; more; more = from !== undefined) {
    const step = await maintenance.repair({ check, ...(from && { from }) });
    repaired.push(...step.repaired);
    left.push(...step.left);
    from = step.next;
  }
  return { repaired, left };
}

for (const dialect of ["sqlite", "postgres"] as const) {
  describe(`the check of a store, on ${dialect}`, () => {
    it("finds each fault by its name, and repairs it or says what to do", async (t) => {
      const place = await places[dialect]();
      const clock = testClock();
      const store = await openStore({ url: place.url, clock, limits: { reapEveryMs: 0, logBytes: 262_144 } });
      t.after(async () => {
        await store.close();
        await place.remove();
      });
      const breakages = (await breakagesOf(store, clock)).filter(({ engine = dialect }) => engine === dialect);
      await assertSound(store);
      const tested = new Set<string>();
      const faults: string[] = [];
      // One engine shows that nothing else is found. The statements are the same on both.
      for (const { check, also = [], statements, mend } of breakages) {
        tested.add(check);
        await place.run(statements.join("; "));
        if (dialect === "sqlite") {
          const isDeep = deepChecks.includes(check);
          const names = namesOf([...(await findingsOf(store)), ...(isDeep ? await findingsOf(store, check) : [])]);
          if (String(names.toSorted()) !== String([check, ...also].toSorted()))
            faults.push(`${check}: ${statements} led to ${names}`);
        }
        const { repaired, left } = await repair(store, check);
        const [expected, other] = mend === undefined ? [repaired, left] : [left, repaired];
        if (expected.length === 0 || other.length > 0)
          faults.push(`${check}: ${repaired.length} were repaired, and ${left.length} left`);
        if (mend !== undefined) await place.run(mend.join("; "));
      }
      assert.deepEqual(faults, []);
      // A deletion that has begun with the commands is no fault, although the session still counts them.
      const { command, fence, session } = await fixtures(store).claim();
      await store.commands.finish({ commandId: command.id, fence, outcome: "failed", exitCode: 1 });
      await store.sessions.cancel({ sessionId: session.id });
      await place.run(
        `DELETE FROM attempts WHERE command_id = '${command.id}'; DELETE FROM commands WHERE id = '${command.id}'`,
      );
      await assertSound(store);
      // Without an archive, what is in one is not checked, and the result says so.
      assert.deepEqual((await store.maintenance.fsck({ check: "log-object" })).skipped, []);
      const archived = await fixtures(store).claim();
      await store.commands.finish({ commandId: archived.command.id, fence: archived.fence, outcome: "succeeded" });
      await place.run(
        `INSERT INTO log_blocks SELECT id, 0, 1, 1, 0, 0, 0, 1, 2, 0, NULL FROM attempts WHERE command_id = '${archived.command.id}';
        UPDATE attempts SET log_uri = 'archive:a' WHERE command_id = '${archived.command.id}'`,
      );
      for (const check of ["log-object", "log-object-content"]) {
        const { findings, skipped } = await store.maintenance.fsck({ check });
        assert.deepEqual([findings, skipped], [[], [check]]);
      }
      // What was deleted by hand is not counted.
      for (const check of deepChecks) if (check !== "counter") assert.deepEqual(await findingsOf(store, check), []);
      const untested = checks.filter(({ name, depth }) => !tested.has(name) && !depth).map(({ name }) => name);
      assert.deepEqual(untested, dialect === "sqlite" ? [] : ["feed-gap"]);
    });
  });
}
