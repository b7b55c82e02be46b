// Errors: provokes every code that a caller can provoke, and checks the outcome that the error states. The tests of
// faults provoke the other codes.
import assert from "node:assert/strict";
import { it } from "node:test";
import { type ErrorCode, errorCodes, newId, type Outcome, StoreError } from "../../../src/index.ts";
import { createSecret, formatToken } from "../../../src/model/tokenText.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { Opened, TestedBackend } from "../../support/backends.ts";
import { bytes, fails, subject } from "../suite.ts";

/** An outcome, and a function that prepares and returns the call that fails with it. */
type Provocation = readonly [outcome: Outcome, provoke: (opened: Opened) => Promise<() => Promise<unknown>>];

const provocations: Partial<Record<ErrorCode, Provocation>> = {
  invalid_input: [
    "not_run",
    async ({ store }) =>
      () =>
        store.repositories.get({ repositoryId: "no id" }),
  ],
  unknown_operation: [
    "not_run",
    async (opened) => {
      const port = await opened.connect({ operations: ["repositories.find"] });
      return () => port.repositories.upsert({ name: newId() });
    },
  ],
  not_found: [
    "rolled_back",
    async ({ store }) =>
      () =>
        store.sessions.cancel({ sessionId: newId() }),
  ],
  conflict: [
    "rolled_back",
    async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      return () => store.repositories.archive({ repositoryId: repository.id, expectedVersion: 99 });
    },
  ],
  invalid_transition: [
    "rolled_back",
    async ({ store }) => {
      const { session } = await fixtures(store).session();
      await store.sessions.cancel({ sessionId: session.id });
      return () => store.sessions.touch({ sessionId: session.id });
    },
  ],
  lease_lost: [
    "rolled_back",
    async ({ store }) => {
      const { worktree, fence } = await fixtures(store).lease();
      return () => store.worktrees.renew({ worktreeId: worktree.id, fence: fence + 1 });
    },
  ],
  capacity_exhausted: [
    "not_run",
    async ({ store }) => {
      const { repository } = await fixtures(store).repository({ maxWorktrees: 1 });
      await fixtures(store).lease({ repositoryId: repository.id });
      return () => store.worktrees.reserve({ repositoryId: repository.id, owner: "o" });
    },
  ],
  log_gap: [
    "rolled_back",
    async ({ store }) => {
      const { claim } = await fixtures(store).claim();
      return () => store.logs.append({ commandId: claim.command.id, fence: claim.fence, offset: 5, data: bytes("x") });
    },
  ],
  log_sealed: [
    "rolled_back",
    async ({ store }) => {
      const { claim } = await fixtures(store).claim();
      const held = { commandId: claim.command.id, fence: claim.fence };
      await store.commands.finish({ ...held, outcome: "succeeded" });
      return () => store.logs.append({ ...held, offset: 0, data: bytes("x") });
    },
  ],
  token_malformed: [
    "not_run",
    async ({ store }) =>
      () =>
        store.tokens.verify({ token: "dsp_x" }),
  ],
  token_unknown: [
    "not_run",
    async ({ store }) =>
      () =>
        store.tokens.verify({ token: formatToken("personal", createSecret().secret) }),
  ],
  token_expired: [
    "not_run",
    async ({ store, clock }) => {
      const { secret } = await fixtures(store).token({ ttlMs: 1_000 });
      clock.advance(1_000);
      return () => store.tokens.verify({ token: secret });
    },
  ],
  token_revoked: [
    "not_run",
    async ({ store }) => {
      const { token, secret } = await fixtures(store).token();
      await store.tokens.revoke({ tokenId: token.id });
      return () => store.tokens.verify({ token: secret });
    },
  ],
  scope_missing: [
    "not_run",
    async ({ store }) => {
      const { secret } = await fixtures(store).token({ scopes: ["sessions:read"] });
      return () => store.tokens.verify({ token: secret, scopes: ["admin"] });
    },
  ],
  out_of_reach: [
    "not_run",
    async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const { token } = await fixtures(store).token({ scopes: ["runners:read"], repositoryIds: [repository.id] });
      return () => store.runners.list({}, { tokenId: token.id });
    },
  ],
  idempotency_mismatch: [
    "rolled_back",
    async ({ store }) => {
      const idempotencyKey = newId();
      await store.repositories.upsert({ name: newId() }, { idempotencyKey });
      return () => store.repositories.upsert({ name: newId() }, { idempotencyKey });
    },
  ],
  deadline_exceeded: [
    "not_run",
    async ({ store }) => {
      const { session } = await fixtures(store).session();
      return () => store.sessions.wait({ sessionId: session.id }, { timeoutMs: 20 });
    },
  ],
  aborted: [
    "not_run",
    async ({ store }) => {
      const { session } = await fixtures(store).session();
      const aborter = new AbortController();
      const call = store.sessions.wait({ sessionId: session.id }, { signal: aborter.signal });
      // Once a later call is answered, this one is in progress.
      await store.sessions.touch({ sessionId: session.id });
      aborter.abort();
      return () => call;
    },
  ],
  overloaded: [
    "not_run",
    async ({ store }) => {
      // Calls through a pool may arrive one by one, each after the answer to the one before. So this repeats until they
      // arrive together.
      for (let tries = 0; tries < 100; tries++) {
        const settled = await Promise.allSettled(
          Array.from({ length: 200 }, () => store.repositories.find({ name: newId() })),
        );
        const refused = settled.find(({ status }) => status === "rejected");
        if (refused?.status === "rejected") return () => Promise.reject(refused.reason);
      }
      assert.fail("200 calls at once, and none was refused");
    },
  ],
  closed: [
    "not_run",
    async (opened) => {
      await opened.store.close();
      return () => opened.store.repositories.find({ name: newId() });
    },
  ],
};

/**
 * Codes that no caller can provoke: faults of machines, of other processes or of this package, and rows that no
 * operation prunes yet.
 */
const byFaultsOnly: readonly ErrorCode[] = [
  "feed_truncated",
  "constraint",
  "busy",
  "storage_full",
  "file_lost",
  "read_only",
  "io_error",
  "corrupt",
  "incompatible",
  "internal",
];

export function errorsConformance(backend: TestedBackend): void {
  it("every error code is provoked here, or is in the list of codes that faults provoke", () => {
    assert.deepEqual([...Object.keys(provocations), ...byFaultsOnly].sort(), Object.keys(errorCodes).sort());
  });

  subject(backend, "errors", ({ test, alone }) => {
    for (const [code, [outcome, provoke]] of Object.entries(provocations) as [ErrorCode, Provocation][]) {
      const run = async (opened: Opened) => {
        const call = provoke(opened).then((provoked) => provoked());
        const error = await fails(call, code, {}, outcome);
        assert.equal(error.retryable, errorCodes[code].retryable);
        assert.ok(error.message.length > 0);
        if (code === "overloaded") assert.ok((error.details.retryAfterMs as number) > 0);
      };
      const needsOwnStore = code === "overloaded" || code === "closed";
      if (needsOwnStore)
        alone(`a call that fails with ${code} has the outcome ${outcome}`, run, { limits: { queueCalls: 20 } });
      else test(`a call that fails with ${code} has the outcome ${outcome}`, run);
    }

    test("a call whose signal has already fired is not sent", async ({ store }) => {
      const name = newId();
      await fails(store.repositories.upsert({ name }, { signal: AbortSignal.abort() }), "aborted", {}, "not_run");
      assert.equal(await store.repositories.find({ name }), undefined);
    });

    test("an aborted waiting claim claims nothing", async ({ store }) => {
      const { runner } = await fixtures(store).runner();
      const { session } = await fixtures(store).session();
      const aborter = new AbortController();
      const call = store.commands.claim(
        { runnerId: runner.id, sessionId: session.id, waitMs: 60_000 },
        { signal: aborter.signal },
      );
      await store.sessions.touch({ sessionId: session.id });
      aborter.abort();
      await fails(call, "aborted", {}, "not_run");
      const [command] = await store.commands.enqueue({ sessionId: session.id, commands: [{ argv: ["a"] }] });
      assert.equal((await store.commands.get({ commandId: command?.id as string })).state, "queued");
    });

    test("a deadline before the end of the call's own wait ends the call, with the outcome not_run", async ({
      store,
    }) => {
      const { runner } = await fixtures(store).runner();
      const { session } = await fixtures(store).session();
      const call = store.commands.claim(
        { runnerId: runner.id, sessionId: session.id, waitMs: 60_000 },
        { timeoutMs: 20 },
      );
      await fails(call, "deadline_exceeded", {}, "not_run");
    });

    test("the stack of an error contains the caller", async ({ store }) => {
      const error = await store.sessions.get({ sessionId: newId() }).catch((reason: unknown) => reason);
      assert.ok(error instanceof StoreError);
      assert.match(error.stack as string, /StoreError/);
    });

    alone(
      "the store keeps working after an overload",
      async ({ store }) => {
        const settled = await Promise.allSettled(
          Array.from({ length: 60 }, () => store.repositories.upsert({ name: newId() })),
        );
        const answered = settled.filter(({ status }) => status === "fulfilled").length;
        assert.ok(answered >= 1);
        for (const one of settled)
          if (one.status === "rejected")
            assert.deepEqual([one.reason.code, one.reason.outcome], ["overloaded", "not_run"]);
        const rows = (await store.repositories.list({ limit: 500 })).items;
        assert.equal(rows.length, answered);
      },
      { limits: { queueCalls: 20 } },
    );

    alone(
      "the number of waiting calls is bounded too",
      async ({ store }) => {
        const { session } = await fixtures(store).session();
        const aborter = new AbortController();
        const waiting = Array.from({ length: 4 }, () =>
          store.sessions.wait({ sessionId: session.id }, { signal: aborter.signal }),
        );
        // The order is open: through a pool each call is a task of its own.
        await fails(Promise.race(waiting), "overloaded");
        await store.sessions.cancel({ sessionId: session.id });
        const settled = await Promise.allSettled(waiting);
        assert.deepEqual(
          settled.flatMap((one) => (one.status === "fulfilled" ? [one.value.state] : [])),
          ["cancelled", "cancelled", "cancelled"],
        );
      },
      { limits: { parkedCalls: 3 } },
    );
  });
}
