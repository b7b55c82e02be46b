// Runs random operations in random order: the counters of sessions and repositories agree with their rows, no worktree
// has two holders, and no command runs twice at the same time.
import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { systemClock, type TestClock, testClock } from "../../../src/clock.ts";
import { type OwnedStore, StoreError } from "../../../src/index.ts";
import { present } from "../../../src/present.ts";
import { fixtures, openTestStore } from "../../../src/testing/index.ts";
import { assertSound } from "../../support/sound.ts";

interface World {
  readonly store: OwnedStore;
  readonly clock: TestClock;
  readonly repositoryIds: readonly string[];
  readonly runnerIds: readonly string[];
  readonly sessionIds: string[];
  /** The granted leases, the newest last. Stale leases stay in the list, so that steps use them too. */
  readonly leases: { readonly worktreeId: string; readonly fence: number }[];
  readonly claims: { readonly commandId: string; readonly fence: number; offset: number }[];
}

const pick = <Item>(items: readonly Item[], n: number): Item | undefined =>
  items.length === 0 ? undefined : items[n % items.length];
const maybe = fc.boolean();
const n = fc.nat(1_000);
const commitSha = "c".repeat(40);
const argv = ["a"];

type Step = (world: World) => Promise<unknown>;

const steps: fc.Arbitrary<readonly [name: string, step: Step]> = fc.oneof(
  fc
    .record({
      at: n,
      maxParallel: fc.integer({ min: 1, max: 3 }),
      autoComplete: maybe,
      commands: fc.nat(4),
      reserve: maybe,
      runner: n,
      idle: maybe,
      limited: maybe,
    })
    .map(
      ({ at, maxParallel, autoComplete, commands, reserve, runner, idle, limited }) =>
        [
          "create",
          async ({ store, repositoryIds, runnerIds, sessionIds, leases }: World) => {
            const { session, lease } = await store.sessions.create({
              repositoryId: pick(repositoryIds, at) as string,
              commitSha,
              maxParallel,
              autoComplete,
              ...(idle ? { idleTtlMs: 20_000 } : {}),
              ...(limited ? { deadlineMs: 50_000 } : {}),
              ...(reserve ? { reserve: { runnerId: pick(runnerIds, runner) as string, ttlMs: 30_000 } } : {}),
              commands: Array.from({ length: commands }, (_, index) => ({
                argv,
                maxAttempts: 1 + (index % 2),
                priority: index % 3,
                ...(limited ? { timeoutMs: 10_000 } : {}),
              })),
            });
            sessionIds.push(session.id);
            if (lease !== null) leases.push({ worktreeId: lease.worktree.id, fence: lease.fence });
          },
        ] as const,
    ),
  fc.tuple(n, fc.integer({ min: 1, max: 3 })).map(
    ([at, count]) =>
      [
        "enqueue",
        ({ store, sessionIds }: World) =>
          store.commands.enqueue({
            sessionId: pick(sessionIds, at) ?? "",
            commands: Array.from({ length: count }, () => ({ argv, maxAttempts: 2 })),
          }),
      ] as const,
  ),
  fc.tuple(n, maybe).map(
    ([at, short]) =>
      [
        "claim",
        async ({ store, runnerIds, claims }: World) => {
          const claim = await store.commands.claim({
            runnerId: pick(runnerIds, at) as string,
            ttlMs: short ? 5_000 : 40_000,
          });
          if (claim !== undefined) claims.push({ commandId: claim.command.id, fence: claim.fence, offset: 0 });
        },
      ] as const,
  ),
  fc
    .tuple(n, fc.constantFrom("succeeded", "failed", "timed_out", "cancelled"))
    .map(
      ([at, outcome]) =>
        [
          "finish",
          ({ store, claims }: World) =>
            store.commands.finish({ ...held(pick(claims, at)), outcome: outcome as "failed" }),
        ] as const,
    ),
  fc
    .tuple(n, maybe)
    .map(
      ([at, force]) =>
        [
          "cancel command",
          ({ store, claims }: World) => store.commands.cancel({ commandId: held(pick(claims, at)).commandId, force }),
        ] as const,
    ),
  n.map(
    (at) =>
      [
        "force session",
        ({ store, sessionIds }: World) => store.sessions.cancel({ sessionId: pick(sessionIds, at) ?? "", force: true }),
      ] as const,
  ),
  // Renews all leases, so that commands are ended by their stop times rather than by their leases.
  n.map(
    (at) =>
      [
        "heartbeat",
        ({ store, runnerIds, claims, leases }: World) =>
          store.runners.heartbeat({
            runnerId: pick(runnerIds, at) as string,
            commands: claims.map(({ commandId, fence }) => ({ id: commandId, fence })),
            worktrees: leases.map(({ worktreeId, fence }) => ({ id: worktreeId, fence })),
          }),
      ] as const,
  ),
  fc
    .tuple(n, fc.constantFrom("cancel", "complete", "touch", "delete"))
    .map(
      ([at, verb]) =>
        [
          `session ${verb}`,
          ({ store, sessionIds }: World) => store.sessions[verb as "touch"]({ sessionId: pick(sessionIds, at) ?? "" }),
        ] as const,
    ),
  fc.tuple(n, n, maybe).map(
    ([at, session, bind]) =>
      [
        "reserve",
        async ({ store, repositoryIds, runnerIds, sessionIds, leases }: World) => {
          const sessionId = bind ? pick(sessionIds, session) : undefined;
          const { worktree, fence } = await store.worktrees.reserve({
            repositoryId: pick(repositoryIds, at) as string,
            runnerId: pick(runnerIds, session) as string,
            ttlMs: 15_000,
            ...present({ sessionId }),
          });
          leases.push({ worktreeId: worktree.id, fence });
        },
      ] as const,
  ),
  fc
    .tuple(n, fc.constantFrom("clean", "dirty", "keep", "broken"))
    .map(
      ([at, to]) =>
        [
          "release",
          ({ store, leases }: World) => store.worktrees.release({ ...leaseOf(pick(leases, at)), to: to as "clean" }),
        ] as const,
    ),
  fc
    .tuple(n, fc.constantFrom("ready", "renew", "quarantine", "completeEvict"))
    .map(
      ([at, verb]) =>
        [
          `worktree ${verb}`,
          ({ store, leases }: World) => store.worktrees[verb as "ready"](leaseOf(pick(leases, at))),
        ] as const,
    ),
  n.map(
    (at) =>
      [
        "restore",
        ({ store, leases }: World) => store.worktrees.restore({ worktreeId: leaseOf(pick(leases, at)).worktreeId }),
      ] as const,
  ),
  n.map(
    (at) =>
      [
        "evict",
        async ({ store, repositoryIds, leases }: World) => {
          const row = await store.worktrees.evict({
            repositoryId: pick(repositoryIds, at) as string,
            owner: "janitor",
            ttlMs: 15_000,
          });
          if (row !== undefined) leases.push({ worktreeId: row.id, fence: row.fence });
        },
      ] as const,
  ),
  n.map(
    (at) =>
      [
        "append",
        async ({ store, claims }: World) => {
          const claim = held(pick(claims, at));
          claim.offset = (
            await store.logs.append({
              commandId: claim.commandId,
              fence: claim.fence,
              offset: claim.offset,
              data: new Uint8Array(3),
            })
          ).ackOffset;
        },
      ] as const,
  ),
  fc
    .constantFrom(1_000, 6_000, 16_000, 41_000)
    .map((ms) => ["time passes", async ({ clock }: World) => clock.advance(ms)] as const),
  fc.constant(["reap", ({ store }: World) => store.maintenance.reap()] as const),
);

function held(claim: World["claims"][number] | undefined) {
  return claim ?? { commandId: "00000000-0000-7000-8000-000000000000", fence: 1, offset: 0 };
}

function leaseOf(lease: World["leases"][number] | undefined) {
  return lease ?? { worktreeId: "00000000-0000-7000-8000-000000000000", fence: 1 };
}

async function everything<Row>(
  list: (paging: { limit: number }) => Promise<{ items: Row[]; nextCursor: string | undefined }>,
): Promise<Row[]> {
  const { items, nextCursor } = await list({ limit: 500 });
  assert.equal(nextCursor, undefined);
  return items;
}

/** Checks every rule that spans several rows, through the public API. */
async function checkInvariants({ store }: World, fences: Map<string, number>): Promise<void> {
  const sessions = await everything((paging) => store.sessions.list(paging));
  const commands = await everything((paging) => store.commands.list(paging));
  const worktrees = await everything((paging) => store.worktrees.list(paging));
  for (const session of sessions) {
    const own = commands.filter(({ sessionId }) => sessionId === session.id);
    const count = (...states: string[]) => own.filter(({ state }) => states.includes(state)).length;
    assert.equal(session.queuedCommands, count("queued"), "queued");
    assert.equal(session.activeCommands, count("running", "cancelling"), "active");
    assert.equal(session.failedCommands, count("failed", "timed_out", "lost"), "failed");
    assert.equal(session.nextSequence, own.length + 1);
    assert.deepEqual(
      own.map(({ sequence }) => sequence).sort((a, b) => a - b),
      Array.from(own, (_, index) => index + 1),
    );
    assert.ok(session.activeCommands <= session.maxParallel);
    // Commands begin in order: no queued command precedes one that has begun, unless its lease was lost.
    const begun = own.filter(({ state, attempt }) => state !== "queued" && attempt > 0).map(({ sequence }) => sequence);
    for (const { state, sequence, attempt } of own)
      if (state === "queued" && attempt === 0) assert.ok(begun.every((other) => other < sequence));
    for (const { state, timeoutMs, stopAt } of own) {
      const expected = { running: timeoutMs !== null, cancelling: true }[state as "running"] ?? false;
      assert.equal(stopAt !== null, expected, "a command has a time to stop while it runs, and only then");
    }
    const open = ["pending", "running", "cancelling"].includes(session.state);
    assert.equal(session.endedAt === null, open);
    if (session.state === "cancelling") assert.ok(session.activeCommands > 0);
    if (open && session.worktreeId !== null) {
      const worktree = worktrees.find(({ id }) => id === session.worktreeId);
      assert.deepEqual(
        [worktree?.fence, worktree?.leaseExpiresAt === null],
        [session.worktreeFence, false],
        "an open session holds a leased worktree",
      );
    }
  }
  const bound = sessions
    .filter(({ worktreeId, endedAt }) => worktreeId !== null && endedAt === null)
    .map(({ worktreeId }) => worktreeId);
  assert.equal(new Set(bound).size, bound.length, "one open session for each worktree");
  for (const { id, fence, state, leaseExpiresAt } of worktrees) {
    assert.ok(fence >= (fences.get(id) ?? 0), "fences only grow");
    fences.set(id, fence);
    assert.equal(leaseExpiresAt !== null, ["creating", "leased", "evicting"].includes(state));
  }
  for (const { id, worktreeCount, maxWorktrees } of await everything((paging) => store.repositories.list(paging))) {
    assert.equal(
      worktreeCount,
      worktrees.filter(({ repositoryId, state }) => repositoryId === id && state !== "removed").length,
    );
    assert.ok(worktreeCount <= maxWorktrees);
  }
  const { changes } = await store.changes.since();
  for (const [entity, rows] of [
    ["session", sessions],
    ["command", commands],
    ["worktree", worktrees],
  ] as const) {
    const latest = new Map(
      changes.filter((change) => change.entity === entity).map((change) => [change.entityId, change.entityVersion]),
    );
    for (const { id, version } of rows) assert.equal(latest.get(id), version, `the feed's last version of a ${entity}`);
  }
}

/** The codes with which a call in a wrong state may fail. Any other code is a fault. */
const expected = [
  "not_found",
  "invalid_transition",
  "lease_lost",
  "capacity_exhausted",
  "conflict",
  "log_gap",
  "log_sealed",
  "invalid_input",
];

it("random operations keep every invariant", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { minLength: 10, maxLength: 45 }), async (plan) => {
      const clock = testClock();
      const faults: unknown[] = [];
      // Short, so that the reaper also ends commands by force.
      const limits = { stopGraceMs: 10_000 };
      const store = await openTestStore({
        clock,
        limits,
        onEvent: (event) => event.type === "fault" && faults.push(event),
      });
      try {
        const given = fixtures(store);
        const repositoryIds = [
          (await given.repository({ maxWorktrees: 2 })).repository.id,
          (await given.repository({ maxWorktrees: 1 })).repository.id,
        ];
        const runnerIds = [
          (await given.runner({ ttlMs: 86_400_000 })).runner.id,
          (await given.runner({ ttlMs: 86_400_000 })).runner.id,
        ];
        const world: World = { store, clock, repositoryIds, runnerIds, sessionIds: [], leases: [], claims: [] };
        const fences = new Map<string, number>();
        for (const [, step] of plan) {
          await step(world).catch((error: unknown) => {
            if (!(error instanceof StoreError) || !expected.includes(error.code)) throw error;
          });
          await checkInvariants(world, fences);
        }
        await assertSound(store);
        // In time everything ends, and nothing is left over.
        clock.advance(86_400_000);
        for (let more = true; more; ) ({ more } = await store.maintenance.reap());
        await checkInvariants(world, fences);
        await assertSound(store);
        for (const state of ["running", "cancelling"] as const)
          assert.deepEqual((await store.commands.list({ state })).items, []);
        assert.deepEqual((await store.worktrees.list({ state: "leased" })).items, []);
        assert.deepEqual((await store.sessions.list({ state: "cancelling" })).items, []);
        assert.deepEqual(faults, []);
      } finally {
        await store.close();
      }
    }),
    { numRuns: 60 },
  );
});

it("the clock of the tests moves without waiting", () => {
  const clock = testClock();
  clock.advance(1_000);
  assert.ok(clock.now() >= systemClock.now() + 900);
});
