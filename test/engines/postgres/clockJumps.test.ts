// The clock of the server is set ahead by an hour, as a proxy between store and server shows it: who holds a lease keeps
// it, however long ago the store has read the clock, and whichever of several processes sees the jump first.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { migratedDatabase } from "../../support/migrated.ts";
import { ask, dropDatabase } from "../../support/postgres.ts";
import { until } from "../../system/faults/until.ts";
import { type Rule, startProxy } from "./proxy.ts";

const hourMs = 3_600_000;

/** Moves each reading of the clock, which is a row of one number of milliseconds. */
function movedBy(ms: () => number): Rule {
  return ({ from, type, body }) => {
    const text = body.subarray(6).toString("latin1");
    if (from !== "server" || type !== "D" || body.readInt16BE(0) !== 1 || !/^\d{13}$/.test(text)) return "pass";
    return Buffer.concat([body.subarray(0, 6), Buffer.from(String(Number(text) + ms()))]);
  };
}

for (const isBeside of [false, true])
  test(`leases outlast a jump of the server's clock in an idle store${isBeside ? " beside a busy one" : ""}`, async (t) => {
    const url = await migratedDatabase();
    const proxy = await startProxy(t, url);
    let jumpMs = 0;
    proxy.rule = movedBy(() => jumpMs);
    // Each pass of the reaper finds a reading of the clock that is too old to be used.
    const limits = { connections: 1, callMs: 120_000, pruneEveryMs: 0 };
    const idle = await openStore({ url: proxy.url, limits: { ...limits, reapEveryMs: 1_200 } });
    const other = isBeside ? await openStore({ url: proxy.url, limits: { ...limits, reapEveryMs: 0 } }) : undefined;
    const holder = other ?? idle;
    const { worktree, fence } = await fixtures(holder).lease({ ttlMs: 600_000 });
    /** The time at which a pass of the reaper, or whoever has followed the clock, has said that it serves. */
    const servedAt = async () =>
      Number((await ask<{ value: string }>(url, "SELECT value FROM store_meta WHERE key = 'served_at'"))[0]?.value);
    const nextPass = async (): Promise<void> => {
      const before = await servedAt();
      await until(async () => (await servedAt()) !== before);
    };
    let stopped = false;
    const calling = (async () => {
      while (!stopped && other !== undefined)
        await other.repositories.upsert({ name: "busy", description: `${jumpMs}` });
    })();
    await nextPass();
    jumpMs = hourMs;
    await until(async () => (await servedAt()) > Date.now() + hourMs / 2);
    for (let n = 0; n < 2; n++) await nextPass();
    stopped = true;
    await calling;
    const held = await holder.worktrees.get({ worktreeId: worktree.id });
    assert.deepEqual([held.state, held.fence], [worktree.state, fence]);
    await holder.worktrees.renew({ worktreeId: worktree.id, fence });
    await Promise.all([idle.close(), other?.close()]);
    await dropDatabase(url);
  });
