// The activity of a session: what keeps it from being idle, and what does not (D-084).
import assert from "node:assert/strict";
import type { Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { bytes, endOfFeed, fails, subject } from "../suite.ts";

const idleTtlMs = 600_000;
const content = { sizeBytes: 3, sha256: "a".repeat(64), uri: "file:///srv/out.txt" };

/** A call that uses a session, or not. */
type Use = () => Promise<unknown>;

const stateOf = async (store: Store, sessionId: string): Promise<string> =>
  (await store.sessions.get({ sessionId })).state;

/** Creates a session with an idle timeout and a worktree whose lease outlasts it. */
async function leasedSession(store: Store) {
  const { runner } = await fixtures(store).runner();
  const { session, lease } = await fixtures(store).session({
    idleTtlMs,
    reserve: { runnerId: runner.id, ttlMs: 7_200_000 },
  });
  assert.ok(lease !== null);
  return { sessionId: session.id, runnerId: runner.id, worktreeId: lease.worktree.id, fence: lease.fence };
}

/** Creates a session with an idle timeout and a debugger that runs. */
async function debuggedSession(store: Store) {
  const { session } = await fixtures(store).session({ idleTtlMs });
  const { debugSession, ...adapter } = await fixtures(store).debugSession({ sessionId: session.id });
  return { sessionId: session.id, debugSession, adapter };
}

/** The calls that keep a session active. Each entry prepares a session, and returns the call. */
const uses: Readonly<Record<string, (store: Store) => Promise<{ sessionId: string; use: Use }>>> = {
  async "sessions.touch"(store) {
    const { session } = await fixtures(store).session({ idleTtlMs });
    return { sessionId: session.id, use: () => store.sessions.touch({ sessionId: session.id }) };
  },
  async "debug.open"(store) {
    const { session } = await fixtures(store).session({ idleTtlMs });
    return {
      sessionId: session.id,
      use: () => store.debug.open({ sessionId: session.id, name: "main", adapter: "node" }),
    };
  },
  async "debug.applyEvent, of an event that changes nothing"(store) {
    const { sessionId, adapter } = await debuggedSession(store);
    const event = { seq: 2, event: "output", body: { output: "x" } };
    return { sessionId, use: () => store.debug.applyEvent({ ...adapter, ...event }) };
  },
  async "debug.applyEvent, of a stop"(store) {
    const { sessionId, adapter } = await debuggedSession(store);
    const event = { seq: 2, event: "stopped", body: { reason: "pause", threadId: 1 } };
    return { sessionId, use: () => store.debug.applyEvent({ ...adapter, ...event }) };
  },
  async "debug.putStop"(store) {
    const { session } = await fixtures(store).session({ idleTtlMs });
    const { debugSessionId, adapterRun, stopEpoch } = await fixtures(store).debugStop({ sessionId: session.id });
    const threads = [{ id: 1, name: "main" }];
    return {
      sessionId: session.id,
      use: () => store.debug.putStop({ debugSessionId, adapterRun, stopEpoch, threads }),
    };
  },
  async "debug.patchState"(store) {
    const { sessionId, debugSession, adapter } = await debuggedSession(store);
    const seen = { expectedEpoch: debugSession.stopEpoch };
    return { sessionId, use: () => store.debug.patchState({ ...adapter, ...seen, payload: { a: 1 } }) };
  },
  async "debug.setBreakpoints"(store) {
    const { sessionId, debugSession } = await debuggedSession(store);
    const set = { debugSessionId: debugSession.id, sourcePath: "/a.js", breakpoints: [{ line: 1 }] };
    return { sessionId, use: () => store.debug.setBreakpoints(set) };
  },
  async "debug.bindBreakpoints"(store) {
    const { sessionId, debugSession, adapter } = await debuggedSession(store);
    const set = { debugSessionId: debugSession.id, sourcePath: "/a.js", breakpoints: [{ line: 1 }] };
    const [breakpoint = assert.fail()] = await store.debug.setBreakpoints(set);
    const bound = [{ breakpointId: breakpoint.id, breakpoint: { id: 1, verified: true, line: 1 } }];
    return { sessionId, use: () => store.debug.bindBreakpoints({ ...adapter, bound }) };
  },
  async "debug.close"(store) {
    const { sessionId, debugSession } = await debuggedSession(store);
    return { sessionId, use: () => store.debug.close({ debugSessionId: debugSession.id }) };
  },
  async "debug.request"(store) {
    const { sessionId, debugSession } = await debuggedSession(store);
    const request = { debugSessionId: debugSession.id, command: "threads", wait: false };
    return { sessionId, use: () => store.debug.request(request) };
  },
  async "debug.takeRequests, of a request"(store) {
    const { sessionId, adapter } = await debuggedSession(store);
    const { debugSessionId } = adapter;
    await store.debug.request({ debugSessionId, command: "threads", wait: false, timeoutMs: 600_000 });
    return { sessionId, use: () => store.debug.takeRequests(adapter) };
  },
  async "debug.reply"(store) {
    const { sessionId, adapter } = await debuggedSession(store);
    const { debugSessionId } = adapter;
    await store.debug.request({ debugSessionId, command: "threads", wait: false, timeoutMs: 600_000 });
    const { requests } = await store.debug.takeRequests(adapter);
    return { sessionId, use: () => store.debug.reply({ ...adapter, request: requests[0] ?? assert.fail() }) };
  },
  async "debug.cancelRequest"(store) {
    const { sessionId, debugSession } = await debuggedSession(store);
    const request = { debugSessionId: debugSession.id, command: "threads", wait: false, timeoutMs: 600_000 };
    const { id: requestId } = await store.debug.request(request);
    return { sessionId, use: () => store.debug.cancelRequest({ requestId }) };
  },
  async "artifacts.record"(store) {
    const { session } = await fixtures(store).session({ idleTtlMs });
    return { sessionId: session.id, use: () => fixtures(store).artifact({ sessionId: session.id }) };
  },
  async "artifacts.begin"(store) {
    const { session } = await fixtures(store).session({ idleTtlMs });
    return { sessionId: session.id, use: () => store.artifacts.begin({ sessionId: session.id, name: "a" }) };
  },
  async "artifacts.commit"(store) {
    const { session } = await fixtures(store).session({ idleTtlMs });
    const { artifact } = await store.artifacts.begin({ sessionId: session.id, name: "a" });
    return { sessionId: session.id, use: () => store.artifacts.commit({ artifactId: artifact.id, ...content }) };
  },
  async "artifacts.pin"(store) {
    const { session } = await fixtures(store).session({ idleTtlMs });
    const { artifact } = await fixtures(store).artifact({ sessionId: session.id });
    return { sessionId: session.id, use: () => store.artifacts.pin({ artifactId: artifact.id }) };
  },
  async "artifacts.pin, of a pin that is removed"(store) {
    const { session } = await fixtures(store).session({ idleTtlMs });
    const { artifact } = await fixtures(store).artifact({ sessionId: session.id });
    await store.artifacts.pin({ artifactId: artifact.id });
    return { sessionId: session.id, use: () => store.artifacts.pin({ artifactId: artifact.id, pinned: false }) };
  },
  async "artifacts.delete"(store) {
    const { session } = await fixtures(store).session({ idleTtlMs });
    const { artifact } = await fixtures(store).artifact({ sessionId: session.id });
    return { sessionId: session.id, use: () => store.artifacts.delete({ artifactId: artifact.id }) };
  },
  async "artifacts.pin, of a pin that is not there"(store) {
    const { session } = await fixtures(store).session({ idleTtlMs });
    const { artifact } = await fixtures(store).artifact({ sessionId: session.id });
    return { sessionId: session.id, use: () => store.artifacts.pin({ artifactId: artifact.id, pinned: false }) };
  },
  async "artifacts.delete, of an artifact that has ended"(store) {
    const { session } = await fixtures(store).session({ idleTtlMs });
    const { artifact } = await fixtures(store).artifact({ sessionId: session.id });
    await store.artifacts.delete({ artifactId: artifact.id });
    return { sessionId: session.id, use: () => store.artifacts.delete({ artifactId: artifact.id }) };
  },
  async "worktrees.renew"(store) {
    const { sessionId, worktreeId, fence } = await leasedSession(store);
    return { sessionId, use: () => store.worktrees.renew({ worktreeId, fence, ttlMs: 7_200_000 }) };
  },
  async "worktrees.ready"(store) {
    const { sessionId, worktreeId, fence } = await leasedSession(store);
    return { sessionId, use: () => store.worktrees.ready({ worktreeId, fence }) };
  },
  async "worktrees.update"(store) {
    const { sessionId, worktreeId, fence } = await leasedSession(store);
    await store.worktrees.ready({ worktreeId, fence });
    return { sessionId, use: () => store.worktrees.update({ worktreeId, fence, sizeBytes: 1 }) };
  },
};

/** The calls that leave a session idle. */
const others: typeof uses = {
  async "a runner's heartbeat, which renews the worktree's lease"(store) {
    const { sessionId, runnerId } = await leasedSession(store);
    return { sessionId, use: () => store.runners.heartbeat({ runnerId }) };
  },
  async "a read"(store) {
    const { sessionId, debugSession } = await debuggedSession(store);
    return { sessionId, use: () => store.debug.get({ debugSessionId: debugSession.id }) };
  },
  async "a bridge that waits for requests"(store) {
    const { sessionId, adapter } = await debuggedSession(store);
    return { sessionId, use: () => store.debug.takeRequests({ ...adapter, waitMs: 0 }) };
  },
  async "a report of an adapter that was replaced"(store) {
    const { sessionId, adapter } = await debuggedSession(store);
    const report = { ...adapter, adapterRun: adapter.adapterRun + 1, seq: 2, event: "output", body: {} };
    return { sessionId, use: () => fails(store.debug.applyEvent(report), "conflict", { reason: "run" }) };
  },
  async "a report under a stale fencing token"(store) {
    const { sessionId, worktreeId, fence } = await leasedSession(store);
    return { sessionId, use: () => fails(store.worktrees.renew({ worktreeId, fence: fence + 1 }), "lease_lost") };
  },
  async "work in another session"(store) {
    const { session } = await fixtures(store).session({ idleTtlMs });
    const { adapter } = await debuggedSession(store);
    return {
      sessionId: session.id,
      use: () => store.debug.applyEvent({ ...adapter, seq: 2, event: "output", body: {} }),
    };
  },
};

export function activityConformance(backend: TestedBackend): void {
  subject(backend, "activity", ({ alone, test }) => {
    alone("debugger events keep a session active for as long as they come", async ({ store, clock }) => {
      const { sessionId, adapter } = await debuggedSession(store);
      for (let seq = 2; seq < 22; seq++) {
        clock.advance(60_000);
        const event = seq % 2 === 0 ? "stopped" : "continued";
        await store.debug.applyEvent({ ...adapter, seq, event, body: { threadId: 1, reason: "step" } });
        await store.maintenance.reap();
      }
      assert.equal(await stateOf(store, sessionId), "pending");
      clock.advance(idleTtlMs);
      await store.maintenance.reap();
      assert.equal(await stateOf(store, sessionId), "expired");
    });

    alone("a command keeps its session active while it runs, whether it writes or not", async ({ store, clock }) => {
      const { session } = await fixtures(store).session({ idleTtlMs });
      const queued = await fixtures(store).command({ sessionId: session.id });
      const { runner } = await fixtures(store).runner();
      const claim = await store.commands.claim({ runnerId: runner.id, sessionId: session.id, ttlMs: 7_200_000 });
      assert.ok(claim !== undefined);
      const { fence } = claim;
      const commandId = queued.command.id;
      for (let offset = 0; offset < 20; offset++) {
        clock.advance(60_000);
        await store.logs.append({ commandId, fence, offset, data: bytes("x") });
        await store.maintenance.reap();
      }
      clock.advance(2 * idleTtlMs);
      await store.maintenance.reap();
      assert.equal(await stateOf(store, session.id), "running");
      await store.commands.finish({ commandId, fence, outcome: "succeeded" });
      clock.advance(idleTtlMs - 60_000);
      await store.maintenance.reap();
      assert.equal(await stateOf(store, session.id), "running");
      clock.advance(60_000);
      await store.maintenance.reap();
      assert.equal(await stateOf(store, session.id), "expired");
    });

    alone("each kind of use keeps its session active, and nothing else does", async ({ store, clock }) => {
      const entries = Object.entries({ ...uses, ...others });
      const prepared = await Promise.all(entries.map(async ([name, prepare]) => ({ name, ...(await prepare(store)) })));
      const namesOfOpen = async () => {
        const states = prepared.map(async ({ name, sessionId }) => ({ name, state: await stateOf(store, sessionId) }));
        return (await Promise.all(states)).filter(({ state }) => state !== "expired").map(({ name }) => name);
      };
      clock.advance(idleTtlMs / 2);
      await Promise.all(prepared.map(({ use }) => use()));
      clock.advance(idleTtlMs / 2 + 1_000);
      await store.maintenance.reap();
      assert.deepEqual(await namesOfOpen(), Object.keys(uses));
      clock.advance(idleTtlMs / 2);
      await store.maintenance.reap();
      assert.deepEqual(await namesOfOpen(), []);
    });

    test("activity is written at most once a second, and is neither a version nor a change", async ({
      store,
      clock,
    }) => {
      const { sessionId, adapter } = await debuggedSession(store);
      const before = await store.sessions.get({ sessionId });
      clock.advance(5_000);
      const after = await endOfFeed(store);
      const at = async (seq: number) => {
        await store.debug.applyEvent({ ...adapter, seq, event: "output", body: { output: "x" } });
        return await store.sessions.get({ sessionId });
      };
      const first = await at(2);
      clock.advance(300);
      const second = await at(3);
      const [late, early] = [first.lastActivityAt.getTime(), before.lastActivityAt.getTime()];
      assert.ok(late >= early + 5_000, `${late - early} ms later`);
      assert.equal(first.expiresAt?.getTime(), late + idleTtlMs);
      assert.deepEqual([first.version, first.updatedAt], [before.version, before.updatedAt]);
      // On a slow machine the second call may come a second later.
      const apart = second.lastActivityAt.getTime() - late;
      assert.ok(apart === 0 || apart >= 1_000, `${apart} ms`);
      assert.deepEqual((await store.changes.since({ after, sessionId })).changes, []);
    });

    alone("a session whose idle time is over is still in use until the reaper comes", async ({ store, clock }) => {
      const { sessionId, adapter } = await debuggedSession(store);
      clock.advance(idleTtlMs + 1_000);
      await store.debug.applyEvent({ ...adapter, seq: 2, event: "output", body: { output: "x" } });
      await store.maintenance.reap();
      assert.equal(await stateOf(store, sessionId), "pending");
    });

    alone("activity counts also after the clock was set back", async ({ store, clock }) => {
      const { sessionId, adapter } = await debuggedSession(store);
      clock.jump(3_600_000);
      await store.sessions.touch({ sessionId });
      clock.jump(-3_600_000);
      await store.debug.applyEvent({ ...adapter, seq: 2, event: "output", body: { output: "x" } });
      const { lastActivityAt, createdAt } = await store.sessions.get({ sessionId });
      assert.ok(lastActivityAt.getTime() < createdAt.getTime() + 1_800_000);
    });

    test("activity in a session that has ended changes nothing of it", async ({ store, clock }) => {
      const { session } = await fixtures(store).session({ idleTtlMs });
      const ended = await store.sessions.cancel({ sessionId: session.id });
      clock.advance(5_000);
      await fixtures(store).artifact({ sessionId: session.id });
      assert.deepEqual(await store.sessions.get({ sessionId: session.id }), ended);
    });
  });
}
