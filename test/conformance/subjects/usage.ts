// Usage: what the programs of commands used, as runners report it, by attempt and summed by day.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { Opened, TestedBackend } from "../../support/backends.ts";
import { fails, subject } from "../suite.ts";

const dayMs = 86_400_000;
const usage = { cpuMs: 1_500, memoryBytes: 2_000_000, writtenBytes: 4_096 };

/** Runs commands of one session, and reports what each has used. */
async function runCommands(
  { store, clock }: Pick<Opened, "store" | "clock">,
  session: Parameters<ReturnType<typeof fixtures>["session"]>[0],
  reports: readonly (typeof usage | undefined)[],
) {
  const { session: created } = await fixtures(store).session(session);
  const { runner } = await fixtures(store).runner();
  for (const report of reports) {
    await store.commands.enqueue({ sessionId: created.id, commands: [{ argv: ["true"] }] });
    const claim = await store.commands.claim({ runnerId: runner.id, sessionId: created.id });
    assert.ok(claim !== undefined);
    clock.advance(2_000);
    await store.commands.finish({
      commandId: claim.command.id,
      fence: claim.fence,
      outcome: "succeeded",
      ...(report === undefined ? {} : { usage: report }),
    });
  }
  return created;
}

/** Returns the sums without their days, and with durations in whole seconds. */
async function sumsOf(
  { usage: { days } }: Store,
  by: "session" | "account" | "requester" | "repository",
  name: string,
) {
  const page = await days({ by, name });
  return page.days.map(({ day: _, kind: __, name: ___, durationMs, ...sums }) => ({
    ...sums,
    seconds: Math.floor(durationMs / 1_000),
  }));
}

export function usageConformance(backend: TestedBackend): void {
  subject(backend, "usage", ({ test, alone }) => {
    alone("what a command used is shown by its attempt, and summed for those for whom it ran", async (opened) => {
      const { store } = opened;
      const { token } = await fixtures(store).token();
      const { repository } = await fixtures(store).repository();
      const input = { repositoryId: repository.id, requestedBy: "ada", tokenId: token.id };
      const reports = [usage, { ...usage, cpuMs: 500, memoryBytes: 3_000_000 }, undefined];
      const session = await runCommands(opened, input, reports);
      const [first, , third] = (await store.commands.list({ sessionId: session.id })).items;
      const attemptOf = async (commandId: string) => (await store.commands.attempts({ commandId }))[0];
      const attempt = await attemptOf(first?.id as string);
      assert.deepEqual([attempt?.cpuMs, attempt?.memoryBytes, attempt?.writtenBytes], [1_500, 2_000_000, 4_096]);
      const unreported = await attemptOf(third?.id as string);
      assert.deepEqual([unreported?.cpuMs, unreported?.memoryBytes, unreported?.writtenBytes], [null, null, null]);
      const expected = [{ commands: 2, seconds: 4, cpuMs: 2_000, memoryBytes: 3_000_000, writtenBytes: 8_192 }];
      assert.deepEqual(await sumsOf(store, "session", session.id), expected);
      assert.deepEqual(await sumsOf(store, "account", session.accountId as string), expected);
      assert.deepEqual(await sumsOf(store, "requester", "ada"), expected);
      assert.deepEqual(await sumsOf(store, "repository", repository.id), expected);
      await runCommands(opened, { repositoryId: repository.id }, [usage]);
      const [more] = await sumsOf(store, "repository", repository.id);
      assert.deepEqual([more?.commands, more?.cpuMs, more?.memoryBytes], [3, 3_500, 3_000_000]);
      assert.deepEqual(await sumsOf(store, "requester", "ada"), expected);
    });

    test("a report that is repeated counts once, and parts of it may be unknown", async ({ store }) => {
      const { claim, session } = await fixtures(store).claim();
      const finish = { commandId: claim.command.id, fence: claim.fence, outcome: "failed", exitCode: 1 } as const;
      for (let n = 0; n < 2; n++) await store.commands.finish({ ...finish, usage: { cpuMs: 10, memoryBytes: null } });
      const [sums, ...others] = (await store.usage.days({ by: "session", name: session.id })).days;
      assert.deepEqual([sums?.commands, sums?.cpuMs, sums?.memoryBytes, sums?.writtenBytes], [1, 10, 0, 0]);
      assert.equal(others.length, 0);
    });

    test("commands that end in one transaction are summed together", async ({ store }) => {
      const claims = [await fixtures(store).claim(), await fixtures(store).claim()];
      await store.atomically((tx) => {
        for (const { claim } of claims)
          tx.commands.finish({ commandId: claim.command.id, fence: claim.fence, outcome: "succeeded", usage });
      });
      for (const { session } of claims)
        assert.equal((await store.usage.days({ by: "repository", name: session.repositoryId })).days[0]?.cpuMs, 1_500);
    });

    test("figures have bounds", async ({ store }) => {
      const { claim } = await fixtures(store).claim();
      const finish = { commandId: claim.command.id, fence: claim.fence, outcome: "succeeded" } as const;
      for (const wrong of [{ cpuMs: -1 }, { cpuMs: 1.5 }, { memoryBytes: 2 ** 51 }, { cpuMs: 1e12 }, { more: 1 }])
        await fails(store.commands.finish({ ...finish, usage: wrong as object }), "invalid_input");
      for (const input of [
        { by: "runner" },
        { by: "session", since: "yesterday" },
        { by: "session", since: "2026-13-01" },
      ])
        await fails(store.usage.days(input as never), "invalid_input");
      assert.deepEqual(await store.usage.days({ by: "session", name: newId() }), { days: [], next: undefined });
    });

    alone("days are listed in order, by pages and by span", async (opened) => {
      const { store, clock } = opened;
      for (let n = 0; n < 3; n++) {
        for (const requestedBy of ["ada", "bob"]) await runCommands(opened, { requestedBy }, [usage]);
        clock.advance(dayMs);
      }
      const { days: all } = await store.usage.days({ by: "requester" });
      assert.deepEqual(
        all.map(({ name }) => name),
        ["ada", "bob", "ada", "bob", "ada", "bob"],
      );
      const days = [...new Set(all.map(({ day }) => day))];
      assert.equal(days.length, 3);
      const paged: typeof all = [];
      for (let after: { day: string; name: string } | undefined; ; ) {
        const page = await store.usage.days({ by: "requester", limit: 2, ...(after === undefined ? {} : { after }) });
        paged.push(...page.days);
        after = page.next;
        if (after === undefined) break;
      }
      assert.deepEqual(paged, all);
      const [first, second, third] = days as [string, string, string];
      const spanOf = async (since: string, until: string) =>
        (await store.usage.days({ by: "requester", name: "ada", since, until })).days.map(({ day }) => day);
      assert.deepEqual(await spanOf(first, third), [first, second]);
    });

    alone("retention removes old days, and nothing else", async (opened) => {
      const { store, clock } = opened;
      await store.maintenance.setRetention({ usageMs: 3 * dayMs });
      for (let n = 0; n < 5; n++) {
        await runCommands(opened, { requestedBy: "ada" }, [usage]);
        clock.advance(dayMs);
      }
      const { days: before } = await store.usage.days({ by: "requester" });
      const kinds = ["usage" as const];
      const { rows } = await store.maintenance.prune({ kinds, limit: 2, dryRun: true });
      assert.deepEqual((await store.usage.days({ by: "requester" })).days, before);
      assert.deepEqual((await store.maintenance.prune({ kinds, limit: 2 })).rows, rows);
      const { days: after } = await store.usage.days({ by: "requester" });
      assert.deepEqual([before.length, after.length, rows.usage], [5, 3, 6]);
      assert.deepEqual(after, before.slice(-3));
      await store.maintenance.setRetention({ usageMs: null });
      clock.advance(400 * dayMs);
      assert.deepEqual((await store.maintenance.prune({ kinds })).rows, { usage: 0 });
    });
  });
}
