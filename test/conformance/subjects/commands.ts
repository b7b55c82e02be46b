// Commands: queued in sequence, claimed once, finished once.
import assert from "node:assert/strict";
import { inspect } from "node:util";
import { type Claim, newId, type Store } from "../../../src/index.ts";
import { present } from "../../../src/present.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { Opened, TestedBackend } from "../../support/backends.ts";
import { bytes, cancelAll, fails, subject } from "../suite.ts";

const argv = ["true"];

const held = ({ command, fence }: Claim) => ({ commandId: command.id, fence });

async function claimed(store: Store, runnerId: string, sessionId?: string): Promise<Claim> {
  const claim = await store.commands.claim(sessionId === undefined ? { runnerId } : { runnerId, sessionId });
  return claim ?? assert.fail("there was nothing to claim");
}

/** Signs of life under the fencing token of a claim, from which the store knows that the claim reached its runner. */
const signs = {
  heartbeat: (store: Store, { command, fence }: Claim) =>
    store.runners.heartbeat({ runnerId: command.runnerId as string, commands: [{ id: command.id, fence }] }),
  append: (store: Store, claim: Claim) => store.logs.append({ ...held(claim), offset: 0, data: bytes("x") }),
};

export function commandsConformance(backend: TestedBackend): void {
  subject(backend, "commands: enqueue", ({ test }) => {
    test("sequence numbers are consecutive across calls and callers", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const calls = Array.from({ length: 10 }, (_, n) =>
        store.commands.enqueue({
          sessionId: session.id,
          commands: Array.from({ length: (n % 3) + 1 }, () => ({ argv })),
        }),
      );
      const rows = (await Promise.all(calls)).flat();
      assert.deepEqual(
        rows.map(({ sequence }) => sequence).sort((a, b) => a - b),
        Array.from(rows, (_, index) => index + 1),
      );
      const after = await store.sessions.get({ sessionId: session.id });
      assert.deepEqual([after.nextSequence, after.queuedCommands], [rows.length + 1, rows.length]);
    });

    test("a command keeps the fields that it was enqueued with", async ({ store }) => {
      const input = {
        argv: ["npm", "test", "", "ünï"],
        cwd: "/src",
        env: { CI: "1", EMPTY: "" },
        secretEnvKeys: ["TOKEN"],
        priority: -3,
        timeoutMs: 5_000,
        maxAttempts: 2,
      };
      const { command } = await fixtures(store).command(input);
      for (const [name, value] of Object.entries(input))
        assert.deepEqual(command[name as keyof typeof command], value, name);
      assert.deepEqual(
        [command.state, command.attempt, command.fence, command.runnerId, command.version],
        ["queued", 0, 0, null, 1],
      );
      assert.deepEqual(await store.commands.get({ commandId: command.id }), command);
    });

    test("a variable named in secretEnvKeys has no value in env, and the error does not show it", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const { commitSha } = fixtures(store);
      const secret = `hidden-${newId()}`;
      const commands = [{ argv }, { argv, env: { CI: "1", API_TOKEN: secret }, secretEnvKeys: ["OTHER", "API_TOKEN"] }];
      for (const call of [
        () => store.commands.enqueue({ sessionId: session.id, commands }),
        () => store.sessions.create({ repositoryId: session.repositoryId, commitSha, commands }),
      ]) {
        const error = await fails(call, "invalid_input");
        assert.match(error.message, /: commands\.1\.env\.API_TOKEN: API_TOKEN is a secret .*leave it out of env$/);
        assert.ok(!inspect(error, { depth: 10 }).includes(secret));
      }
      assert.deepEqual((await store.commands.list({ sessionId: session.id })).items, []);
      const named = { argv, env: { CI: "1" }, secretEnvKeys: ["API_TOKEN", "OTHER", "API_TOKEN"] };
      const [stored] = await store.commands.enqueue({ sessionId: session.id, commands: [named] });
      assert.deepEqual(stored?.secretEnvKeys, ["API_TOKEN", "OTHER"]);
    });

    test("an id that exists, or occurs twice in one call, is a conflict, and nothing is enqueued", async ({
      store,
    }) => {
      const { session, command } = await fixtures(store).command();
      const id = newId();
      for (const ids of [
        [newId(), command.id],
        [id, id],
      ]) {
        const commands = ids.map((one) => ({ id: one, argv }));
        await fails(
          store.commands.enqueue({ sessionId: session.id, commands }),
          "conflict",
          { reason: "exists" },
          "rolled_back",
        );
      }
      assert.equal((await store.commands.list({ sessionId: session.id })).items.length, 1);
      assert.equal((await store.sessions.get({ sessionId: session.id })).nextSequence, 2);
    });

    test("an unknown session is not_found; an empty or oversized list is invalid_input", async ({ store }) => {
      await fails(store.commands.enqueue({ sessionId: newId(), commands: [{ argv }] }), "not_found", {
        entity: "session",
      });
      await fails(store.commands.enqueue({ sessionId: newId(), commands: [] }), "invalid_input");
      await fails(
        store.commands.enqueue({ sessionId: newId(), commands: Array.from({ length: 501 }, () => ({ argv })) }),
        "invalid_input",
      );
      await fails(store.commands.enqueue({ sessionId: newId(), commands: [{ argv: [] }] }), "invalid_input");
      // Both arguments are within their own bounds, and the list is beyond that of a JSON value.
      for (const long of [{ argv: Array(2).fill("x".repeat(131_072)) }, { argv, env: { A: "é".repeat(131_072) } }]) {
        const error = await fails(store.commands.enqueue({ sessionId: newId(), commands: [long] }), "invalid_input");
        assert.match(error.message, /commands\.0\.(?:argv|env): takes 262\d{3} bytes as JSON, and at most 262144/);
      }
      await fails(
        store.commands.enqueue({ sessionId: newId(), commands: [{ argv, env: { "A=B": "c" } }] }),
        "invalid_input",
      );
    });

    test("list returns the commands of a session in sequence, page by page", async ({ store }) => {
      const { session } = await fixtures(store).session();
      await store.commands.enqueue({ sessionId: session.id, commands: Array.from({ length: 23 }, () => ({ argv })) });
      const sequences: number[] = [];
      for (let cursor: string | undefined; ; ) {
        const { items, nextCursor } = await store.commands.list({
          sessionId: session.id,
          limit: 5,
          ...present({ cursor }),
        });
        sequences.push(...items.map(({ sequence }) => sequence));
        if (nextCursor === undefined) break;
        cursor = nextCursor;
      }
      assert.deepEqual(
        sequences,
        Array.from({ length: 23 }, (_, index) => index + 1),
      );
    });
  });

  subject(backend, "commands: claim", ({ test }) => {
    const runnerOf = async (store: Store) => (await fixtures(store).runner()).runner.id;
    /** Defines a test that sees all claimable commands. The commands that earlier tests left are cancelled first. */
    const alone: typeof test = (name, run, options) =>
      test(
        name,
        async (opened) => {
          await cancelAll(opened.store);
          await run(opened);
        },
        options,
      );

    test("claim creates the attempt, leases the command and starts the session", async ({ store, clock }) => {
      const { session, command } = await fixtures(store).command();
      const runnerId = await runnerOf(store);
      const before = clock.now();
      const claim = (await store.commands.claim({ runnerId, ttlMs: 5_000, sessionId: session.id })) as Claim;
      assert.deepEqual(
        [claim.command.id, claim.command.state, claim.command.attempt, claim.fence, claim.command.fence],
        [command.id, "running", 1, 1, 1],
      );
      assert.deepEqual(
        [claim.command.runnerId, claim.session.state, claim.session.queuedCommands, claim.session.activeCommands],
        [runnerId, "running", 0, 1],
      );
      assert.deepEqual(claim.command.leaseExpiresAt, claim.expiresAt);
      // The store's clock may differ from this one: it may be that of another machine.
      const grantedAtMs = claim.expiresAt.getTime() - 5_000;
      assert.ok(grantedAtMs >= before - 50 && grantedAtMs <= clock.now() + 50, `${grantedAtMs - before}`);
      assert.deepEqual(await store.commands.get({ commandId: command.id }), claim.command);
      const { attempt, chunks, ended } = await store.logs.read({ commandId: command.id });
      assert.deepEqual([attempt, chunks, ended], [1, [], false]);
    });

    alone("claim returns undefined when there is no work", async ({ store }) => {
      assert.equal(await store.commands.claim({ runnerId: await runnerOf(store) }), undefined);
    });

    alone("of twenty claims for eight commands, eight return one command each", async ({ store }) => {
      for (let n = 0; n < 8; n++) await fixtures(store).command();
      const runners = await Promise.all(Array.from({ length: 4 }, () => runnerOf(store)));
      const claims = await Promise.all(
        Array.from({ length: 20 }, (_, n) => store.commands.claim({ runnerId: runners[n % 4] as string })),
      );
      const ids = claims.flatMap((claim) => (claim === undefined ? [] : [claim.command.id]));
      assert.equal(ids.length, 8);
      assert.equal(new Set(ids).size, 8);
    });

    alone(
      "claim takes the highest priority first, then the oldest command; within a session the sequence decides",
      async ({ store, clock }) => {
        const made: Record<string, string> = {};
        for (const [name, priorities] of Object.entries({ old: [0], young: [0], urgent: [5], blocked: [-5, 9] })) {
          const { session } = await fixtures(store).session({
            commands: priorities.map((priority) => ({ argv: [name], priority })),
          });
          made[session.id] = name;
          clock.advance(10);
        }
        const runnerId = await runnerOf(store);
        const order: (string | undefined)[] = [];
        for (let n = 0; n < 4; n++) order.push(made[(await claimed(store, runnerId)).session.id]);
        assert.deepEqual(order, ["urgent", "old", "young", "blocked"]);
        assert.equal(await store.commands.claim({ runnerId }), undefined);
      },
    );

    alone(
      "a step of priority is worth a minute of waiting, so a low priority runs at last",
      async ({ store, clock }) => {
        const runnerId = await runnerOf(store);
        const queue = async (priority: number) =>
          (await fixtures(store).session({ commands: [{ argv, priority }] })).session.id;
        const low = await queue(-3);
        const order: string[] = [];
        // One more command of the normal priority each time, and room for one.
        for (let n = 0; n < 6; n++) {
          const normal = await queue(0);
          const claim = await claimed(store, runnerId);
          order.push(claim.session.id === low ? "low" : "normal");
          await store.commands.finish({ ...held(claim), outcome: "succeeded" });
          if (order.at(-1) === "low") assert.equal((await claimed(store, runnerId)).session.id, normal);
          clock.advance(50_000);
          await store.runners.heartbeat({ runnerId });
        }
        assert.deepEqual(order, ["normal", "normal", "normal", "normal", "low", "normal"]);
      },
    );

    alone("a command that is queued again keeps the age of its first time in the queue", async ({ store, clock }) => {
      const { claim, session } = await fixtures(store).claim({ maxAttempts: 2 });
      clock.advance(60_001);
      const { session: later } = await fixtures(store).command();
      await store.maintenance.reap();
      const runnerId = await runnerOf(store);
      const order = [await claimed(store, runnerId), await claimed(store, runnerId)];
      assert.deepEqual(
        order.map(({ session: { id } }) => id),
        [session.id, later.id],
      );
      assert.equal(order[0]?.command.id, claim.command.id);
    });

    alone(
      "what was queued before the clock was set back is claimed before what is queued later",
      async ({ store, clock }) => {
        const queued: string[] = [];
        for (const priority of [0, 7, 0]) {
          queued.push(
            (
              await fixtures(store).session({
                commands: [
                  { argv, priority },
                  { argv, priority },
                ],
              })
            ).session.id,
          );
          clock.advance(1_000);
        }
        clock.jump(-86_400_000);
        await store.maintenance.reap();
        clock.advance(1_000);
        queued.push((await fixtures(store).session({ commands: [{ argv }, { argv }] })).session.id);
        const runnerId = await runnerOf(store);
        const [first, urgent, third, last] = queued;
        const claims: Claim[] = [];
        for (let n = 0; n < 4; n++) claims.push(await claimed(store, runnerId));
        assert.deepEqual(
          claims.map(({ session }) => session.id),
          [urgent, first, third, last],
        );
        // The next command of a session, which was queued in the future, counts as queued now.
        await store.commands.finish({ ...held(claims[1] as Claim), outcome: "succeeded" });
        clock.advance(1_000);
        await fixtures(store).command();
        assert.equal((await claimed(store, runnerId)).session.id, first);
      },
    );

    test("the commands of a session run one at a time, in sequence", async ({ store }) => {
      const { session } = await fixtures(store).session({ commands: [{ argv }, { argv, priority: 9 }] });
      const runnerId = await runnerOf(store);
      const first = await claimed(store, runnerId, session.id);
      assert.equal(first.command.sequence, 1);
      assert.equal(await store.commands.claim({ runnerId, sessionId: session.id }), undefined);
      await store.commands.finish({ ...held(first), outcome: "succeeded" });
      assert.equal((await claimed(store, runnerId, session.id)).command.sequence, 2);
    });

    test("at most maxParallel commands of a session run at once", async ({ store }) => {
      const { session } = await fixtures(store).session({ maxParallel: 2, commands: [{ argv }, { argv }, { argv }] });
      const runnerId = await runnerOf(store);
      const claims = [await claimed(store, runnerId, session.id), await claimed(store, runnerId, session.id)];
      assert.deepEqual(
        claims.map(({ command }) => command.sequence),
        [1, 2],
      );
      assert.equal(await store.commands.claim({ runnerId, sessionId: session.id }), undefined);
      await store.commands.finish({ ...held(claims[1] as Claim), outcome: "failed", exitCode: 1 });
      assert.equal((await claimed(store, runnerId, session.id)).command.sequence, 3);
    });

    test("a runner whose lease of the worktree has run out claims, as long as nobody has taken it", async ({
      store,
      clock,
    }) => {
      const holder = await runnerOf(store);
      const { session } = await fixtures(store).session({
        reserve: { runnerId: holder, ttlMs: 30_000 },
        commands: [{ argv }],
      });
      clock.advance(30_001);
      await claimed(store, holder, session.id);
    });

    test("only the runner that leases a session's worktree claims its commands", async ({ store, clock }) => {
      const [holder, other] = [await runnerOf(store), await runnerOf(store)];
      const { session } = await fixtures(store).session({
        reserve: { runnerId: holder, ttlMs: 30_000 },
        commands: [{ argv }, { argv }],
      });
      assert.equal(await store.commands.claim({ runnerId: other, sessionId: session.id }), undefined);
      const claim = await claimed(store, holder, session.id);
      await store.commands.finish({ ...held(claim), outcome: "succeeded" });
      clock.advance(30_001);
      await store.maintenance.reap();
      await store.runners.heartbeat({ runnerId: other });
      assert.equal((await claimed(store, other, session.id)).command.sequence, 2);
    });

    test("no runner claims commands of a session whose worktree is leased to an owner without a runner", async ({
      store,
    }) => {
      const { session } = await fixtures(store).session({ reserve: { owner: "another owner" }, commands: [{ argv }] });
      assert.equal(await store.commands.claim({ runnerId: await runnerOf(store), sessionId: session.id }), undefined);
    });

    alone("between a session with a worktree and one without, priority and age decide", async ({ store, clock }) => {
      const runnerId = await runnerOf(store);
      const { session: bound } = await fixtures(store).session({
        reserve: { runnerId, ttlMs: 600_000 },
        commands: [{ argv }, { argv, priority: 2 }],
      });
      clock.advance(10);
      const { session: free } = await fixtures(store).session({ commands: [{ argv, priority: 1 }, { argv }] });
      const order: string[] = [];
      for (let n = 0; n < 4; n++) {
        const claim = await claimed(store, runnerId);
        order.push(`${claim.session.id === bound.id ? "bound" : "free"} ${claim.command.sequence}`);
        assert.ok([bound.id, free.id].includes(claim.session.id));
        await store.commands.finish({ ...held(claim), outcome: "succeeded" });
      }
      assert.deepEqual(order, ["free 1", "bound 1", "bound 2", "free 2"]);
    });

    alone("a waiting claim returns a command that is enqueued", async ({ store }) => {
      const waiting = store.commands.claim({ runnerId: await runnerOf(store), waitMs: 60_000 });
      const { command } = await fixtures(store).command();
      assert.equal((await waiting)?.command.id, command.id);
    });

    alone("a waiting claim returns the next command when the one before it has finished", async ({ store }) => {
      const { session } = await fixtures(store).session({ commands: [{ argv }, { argv }] });
      const runnerId = await runnerOf(store);
      const first = await claimed(store, runnerId);
      const waiting = store.commands.claim({ runnerId, waitMs: 60_000 });
      await store.commands.finish({ ...held(first), outcome: "succeeded" });
      const next = await waiting;
      assert.deepEqual([next?.session.id, next?.command.sequence], [session.id, 2]);
    });

    alone(
      "of two waiting claims one returns the only command, and the other waits until its timeout",
      async ({ store }) => {
        const runners = [await runnerOf(store), await runnerOf(store)];
        const waiting = runners.map((runnerId) => store.commands.claim({ runnerId, waitMs: 300 }));
        await fixtures(store).command();
        const claims = await Promise.all(waiting);
        assert.equal(claims.filter((claim) => claim !== undefined).length, 1);
      },
    );

    alone("a waiting claim fails when its runner is drained", async ({ store }) => {
      const runnerId = await runnerOf(store);
      const refused = fails(store.commands.claim({ runnerId, waitMs: 60_000 }), "invalid_transition", {
        state: "draining",
      });
      await store.runners.drain({ runnerId });
      await fixtures(store).command();
      await refused;
    });
  });

  subject(backend, "commands: finish and cancel", ({ test }) => {
    const outcomes = [
      { outcome: "succeeded" },
      { outcome: "succeeded", exitCode: 0 },
      { outcome: "failed", exitCode: 3 },
      { outcome: "failed", signal: "SIGSEGV" },
      { outcome: "failed", reason: "ENOENT: no such program" },
      { outcome: "timed_out", signal: "SIGKILL" },
    ] as const;

    for (const result of outcomes) {
      test(`a running command ends with ${JSON.stringify(result)}, and a repetition changes nothing`, async ({
        store,
      }) => {
        const { claim } = await fixtures(store).claim();
        const first = await store.commands.finish({ ...held(claim), ...result });
        const { command } = first;
        const exitCode = result.outcome === "succeeded" ? 0 : "exitCode" in result ? result.exitCode : null;
        assert.deepEqual(
          [command.state, command.exitCode, command.leaseExpiresAt, first.remainingCommands],
          [result.outcome, exitCode, null, 0],
        );
        assert.deepEqual(
          [command.signal, command.endReason],
          ["signal" in result ? result.signal : null, "reason" in result ? result.reason : null],
        );
        assert.ok(command.endedAt instanceof Date);
        assert.equal(first.session.failedCommands, result.outcome === "succeeded" ? 0 : 1);
        assert.deepEqual(await store.commands.finish({ ...held(claim), ...result }), first);
      });
    }

    /** The results that runners of several systems report, and what is recorded of them. */
    const reports = [
      [{ exitCode: -1 }, [-1, null]],
      [{ exitCode: -2, signal: null, reason: null }, [-2, null]],
      [{ exitCode: null, signal: "SIGTERM" }, [null, "SIGTERM"]],
      [{ exitCode: 137, signal: "SIGKILL" }, [137, "SIGKILL"]],
      [{ exitCode: 0, signal: "killed" }, [0, "killed"]],
      [{ exitCode: 1, signal: "" }, [1, null]],
      [{ exitCode: null, signal: null }, [null, null]],
      [{ exitCode: 0xc000_0005 }, [0xc000_0005, null]],
      [{ exitCode: -0x8000_0000, signal: "9" }, [-0x8000_0000, "9"]],
      [{ exitCode: 0xffff_ffff, signal: "x".repeat(100) }, [0xffff_ffff, `${"x".repeat(63)}…`]],
    ] as const;

    test("a result is recorded as the runner's system reports it, and can be repeated", async ({ store }) => {
      for (const [report, recorded] of reports) {
        const { claim } = await fixtures(store).claim();
        const first = await store.commands.finish({ ...held(claim), outcome: "failed", ...report });
        assert.deepEqual([first.command.exitCode, first.command.signal], recorded);
        assert.deepEqual(await store.commands.finish({ ...held(claim), outcome: "failed", ...report }), first);
      }
      for (const exitCode of [-0x8000_0001, 0x1_0000_0000, 1.5]) {
        const { claim } = await fixtures(store).claim();
        await fails(store.commands.finish({ ...held(claim), outcome: "failed", exitCode }), "invalid_input");
      }
      const { claim } = await fixtures(store).claim();
      const { command } = await store.commands.finish({
        ...held(claim),
        outcome: "succeeded",
        exitCode: null,
        signal: null,
      });
      assert.deepEqual([command.state, command.exitCode, command.signal], ["succeeded", 0, null]);
    });

    test("a reason of any form is recorded, cut and mended, and never refuses the result", async ({ store }) => {
      const face = "\u{1f600}";
      for (const [reason, recorded] of [
        ["", null],
        ["a\u0000b\ud800", "a\u2400b\ufffd"],
        ["x".repeat(1_000), "x".repeat(1_000)],
        ["x".repeat(100_000), `${"x".repeat(999)}…`],
        [`${"x".repeat(998)}${face}xx`, `${"x".repeat(998)}…`],
      ] as const) {
        const { claim } = await fixtures(store).claim();
        const { command } = await store.commands.finish({ ...held(claim), outcome: "failed", reason });
        assert.equal(command.endReason, recorded);
      }
    });

    test("a second, different result is invalid_transition and overwrites nothing", async ({ store }) => {
      const { claim } = await fixtures(store).claim();
      const { command } = await store.commands.finish({ ...held(claim), outcome: "failed", exitCode: 3 });
      for (const other of [
        { outcome: "succeeded" },
        { outcome: "failed" },
        { outcome: "failed", exitCode: 4 },
        { outcome: "cancelled" },
      ] as const) {
        await fails(store.commands.finish({ ...held(claim), ...other }), "invalid_transition", { state: "failed" });
      }
      assert.deepEqual(await store.commands.get({ commandId: command.id }), command);
    });

    test("of sixteen simultaneous results one is stored, and counted once", async ({ store }) => {
      const { claim, session } = await fixtures(store).claim();
      const calls = Array.from({ length: 16 }, (_, n) =>
        store.commands.finish({ ...held(claim), outcome: "failed", exitCode: n % 2 }),
      );
      const settled = await Promise.allSettled(calls);
      assert.equal(settled.filter(({ status }) => status === "fulfilled").length, 8);
      const after = await store.sessions.get({ sessionId: session.id });
      assert.deepEqual([after.activeCommands, after.failedCommands], [0, 1]);
    });

    test("finish with an outdated fence is lease_lost", async ({ store }) => {
      const { claim } = await fixtures(store).claim();
      await fails(
        store.commands.finish({ ...held(claim), fence: claim.fence + 1, outcome: "succeeded" }),
        "lease_lost",
        { currentFence: claim.fence },
      );
      const { command } = await fixtures(store).command();
      await fails(store.commands.finish({ commandId: command.id, fence: 1, outcome: "succeeded" }), "lease_lost", {
        currentFence: 0,
      });
      await fails(store.commands.finish({ commandId: newId(), fence: 1, outcome: "succeeded" }), "not_found", {
        entity: "command",
      });
    });

    test("a claim from an unknown session is not_found, and from an ending session undefined", async ({ store }) => {
      const runnerId = (await fixtures(store).runner()).runner.id;
      await fails(store.commands.claim({ runnerId, sessionId: newId(), waitMs: 60_000 }), "not_found", {
        entity: "session",
      });
      const { session } = await fixtures(store).session();
      const waiting = store.commands.claim({ runnerId, sessionId: session.id, waitMs: 60_000 });
      await store.sessions.complete({ sessionId: session.id });
      assert.equal(await waiting, undefined);
      assert.equal(await store.commands.claim({ runnerId, sessionId: session.id, waitMs: 60_000 }), undefined);
    });

    test("a command that was ended by a signal cannot have succeeded", async ({ store }) => {
      const { claim } = await fixtures(store).claim();
      await fails(
        store.commands.finish({
          commandId: claim.command.id,
          fence: claim.fence,
          outcome: "succeeded",
          signal: "SIGKILL",
        }),
        "invalid_input",
      );
    });

    test("a result that contradicts itself is invalid_input", async ({ store }) => {
      const { claim } = await fixtures(store).claim();
      await fails(store.commands.finish({ ...held(claim), outcome: "succeeded", exitCode: 1 }), "invalid_input");
      await fails(
        store.commands.finish({ ...held(claim), outcome: "succeeded", exitCode: 0, signal: "SIGTERM" }),
        "invalid_input",
      );
    });

    test("finish is accepted after the lease has run out, until the command is reaped", async ({ store, clock }) => {
      const { claim } = await fixtures(store).claim();
      clock.advance(60_001);
      assert.equal((await store.commands.finish({ ...held(claim), outcome: "succeeded" })).command.state, "succeeded");
    });

    test("finish before the whole log is stored is log_gap, and the command stays running", async ({ store }) => {
      const { claim, nextOffset } = await fixtures(store).log("hello\n");
      await fails(
        store.commands.finish({ ...held(claim), outcome: "succeeded", logOffset: nextOffset + 1 }),
        "log_gap",
        { expectedOffset: nextOffset },
      );
      assert.equal((await store.commands.get({ commandId: claim.command.id })).state, "running");
      await store.commands.finish({ ...held(claim), outcome: "succeeded", logOffset: nextOffset });
    });

    test("finish returns the number of commands that the session has left", async ({ store }) => {
      const { session } = await fixtures(store).session({ maxParallel: 2, commands: [{ argv }, { argv }, { argv }] });
      const { runner } = await fixtures(store).runner();
      const first = await claimed(store, runner.id, session.id);
      await claimed(store, runner.id, session.id);
      assert.equal((await store.commands.finish({ ...held(first), outcome: "succeeded" })).remainingCommands, 2);
    });

    test("a command that is given back is queued again at once, until no attempt remains", async ({ store }) => {
      const { session, command } = await fixtures(store).command({ maxAttempts: 2 });
      const { runner } = await fixtures(store).runner();
      const first = await claimed(store, runner.id, session.id);
      await signs.append(store, first);
      await fails(store.commands.handBack({ ...held(first), logOffset: 2 }), "log_gap", { expectedOffset: 1 });
      const back = await store.commands.handBack({ ...held(first), logOffset: 1 });
      assert.deepEqual(
        [back.command.state, back.command.attempt, back.command.leaseExpiresAt, back.remainingCommands],
        ["queued", 1, null, 1],
      );
      assert.deepEqual(await store.commands.handBack({ ...held(first), logOffset: 1 }), back);
      assert.equal((await store.logs.read({ commandId: command.id, attempt: 1 })).state, "sealed");
      const second = await claimed(store, runner.id, session.id);
      await fails(store.commands.handBack(held(first)), "lease_lost", { currentFence: second.fence });
      const lost = await store.commands.handBack({ ...held(second), reason: "the runner stops" });
      assert.deepEqual([lost.command.state, lost.command.endReason], ["lost", "the runner stops"]);
      assert.deepEqual((await store.commands.handBack(held(second))).command, lost.command);
      const attempts = await store.commands.attempts({ commandId: command.id });
      assert.deepEqual(
        attempts.map(({ outcome }) => outcome),
        ["lost", "lost"],
      );
      const after = await store.sessions.get({ sessionId: session.id });
      assert.deepEqual([after.queuedCommands, after.activeCommands, after.failedCommands], [0, 0, 1]);
    });

    test("an attempt that was given back before its program started does not count, three times", async ({ store }) => {
      const { session } = await fixtures(store).command({ maxAttempts: 1 });
      const { runner } = await fixtures(store).runner();
      for (let back = 1; back <= 4; back++) {
        const claim = await claimed(store, runner.id, session.id);
        await signs.heartbeat(store, claim);
        const { command } = await store.commands.handBack({ ...held(claim), hasStarted: false });
        assert.deepEqual([command.state, command.lostClaims], back < 4 ? ["queued", back] : ["lost", 3]);
      }
    });

    test("a command that is given back while it is being cancelled is cancelled", async ({ store }) => {
      const { claim } = await fixtures(store).claim({ maxAttempts: 5 });
      await store.commands.cancel({ commandId: claim.command.id, reason: "unwanted" });
      const { command } = await store.commands.handBack(held(claim));
      assert.deepEqual([command.state, command.endReason], ["cancelled", "unwanted"]);
    });

    test("a command that has ended with a result cannot be given back", async ({ store }) => {
      const { claim } = await fixtures(store).claim({ maxAttempts: 5 });
      await store.commands.finish({ ...held(claim), outcome: "succeeded" });
      await fails(store.commands.handBack(held(claim)), "invalid_transition", { state: "succeeded" });
    });

    test("a claim that never reached its runner does not use up an attempt, three times", async ({ store, clock }) => {
      const { session, command } = await fixtures(store).command({ maxAttempts: 1 });
      const { runner } = await fixtures(store).runner({ ttlMs: 3_600_000 });
      for (let lost = 1; lost <= 4; lost++) {
        const { attempt } = (await claimed(store, runner.id, session.id)).command;
        assert.equal(attempt, lost);
        clock.advance(60_001);
        assert.ok((await store.maintenance.reap()).commands.includes(command.id));
        const row = await store.commands.get({ commandId: command.id });
        assert.deepEqual([row.state, row.lostClaims], lost < 4 ? ["queued", lost] : ["lost", 3]);
        assert.equal((await store.logs.read({ commandId: command.id, attempt })).state, "sealed");
      }
    });

    for (const [sign, confirm] of Object.entries(signs)) {
      test(`an attempt with a sign of life (${sign}) counts`, async ({ store, clock }) => {
        const { session, command } = await fixtures(store).command({ maxAttempts: 2 });
        const { runner } = await fixtures(store).runner();
        const next = async () => {
          await store.runners.heartbeat({ runnerId: runner.id });
          return await claimed(store, runner.id, session.id);
        };
        const end = async () => {
          clock.advance(60_001);
          await store.maintenance.reap();
          const { state, attempt, lostClaims } = await store.commands.get({ commandId: command.id });
          return [state, attempt, lostClaims];
        };
        await next();
        assert.deepEqual(await end(), ["queued", 1, 1]);
        await confirm(store, await next());
        assert.deepEqual(await end(), ["queued", 2, 1]);
        // The sign of the last attempt says nothing about this one.
        await next();
        assert.deepEqual(await end(), ["queued", 3, 2]);
        await confirm(store, await next());
        assert.deepEqual(await end(), ["lost", 4, 2]);
      });
    }

    test("a command with an expired lease is queued again, with a higher fence, until no attempt remains", async ({
      store,
      clock,
    }) => {
      const { session, command } = await fixtures(store).command({ maxAttempts: 2 });
      const { runner } = await fixtures(store).runner({ ttlMs: 3_600_000 });
      const first = await claimed(store, runner.id, session.id);
      await signs.append(store, first);
      clock.advance(60_001);
      assert.ok((await store.maintenance.reap()).commands.includes(command.id));
      const queued = await store.commands.get({ commandId: command.id });
      assert.deepEqual(
        [queued.state, queued.attempt, queued.runnerId, queued.startedAt, queued.queuedAt],
        ["queued", 1, null, null, command.queuedAt],
      );
      await fails(store.commands.finish({ ...held(first), outcome: "succeeded" }), "lease_lost", {
        currentFence: first.fence,
      });
      const second = await claimed(store, runner.id, session.id);
      assert.deepEqual([second.command.attempt, second.fence], [2, first.fence + 1]);
      await fails(store.commands.finish({ ...held(first), outcome: "succeeded" }), "lease_lost", {
        currentFence: second.fence,
      });
      await signs.append(store, second);
      clock.advance(60_001);
      await store.maintenance.reap();
      const lost = await store.commands.get({ commandId: command.id });
      assert.deepEqual([lost.state, lost.exitCode, lost.endReason], ["lost", null, "lease_expired"]);
      await fails(store.commands.finish({ ...held(second), outcome: "succeeded" }), "invalid_transition", {
        state: "lost",
      });
      const after = await store.sessions.get({ sessionId: session.id });
      assert.deepEqual([after.queuedCommands, after.activeCommands, after.failedCommands], [0, 0, 1]);
    });

    test("a command that was being cancelled when its lease expired is cancelled, and does not run again", async ({
      store,
      clock,
    }) => {
      const { claim } = await fixtures(store).claim({ maxAttempts: 5 });
      const { claim: other } = await fixtures(store).claim();
      await store.commands.cancel({ commandId: claim.command.id });
      await store.commands.cancel({ commandId: other.command.id, reason: "obsolete" });
      clock.advance(60_001);
      await store.maintenance.reap();
      const ends = await Promise.all(
        [claim, other].map(({ command }) => store.commands.get({ commandId: command.id })),
      );
      assert.deepEqual(
        ends.map(({ state, endReason }) => [state, endReason]),
        [
          ["cancelled", "lease_expired"],
          ["cancelled", "obsolete"],
        ],
      );
    });

    test("cancel ends a queued command at once", async ({ store }) => {
      const { session, command } = await fixtures(store).command();
      const row = await store.commands.cancel({ commandId: command.id, reason: "not needed" });
      assert.deepEqual([row.state, row.endReason, row.attempt], ["cancelled", "not needed", 0]);
      assert.deepEqual(await store.commands.cancel({ commandId: command.id }), row);
      const { runner } = await fixtures(store).runner();
      assert.equal(await store.commands.claim({ runnerId: runner.id, sessionId: session.id }), undefined);
    });

    for (const outcome of ["cancelled", "succeeded", "failed", "timed_out"] as const) {
      test(`cancel makes a running command cancelling, which may still end as ${outcome}`, async ({ store }) => {
        const { claim } = await fixtures(store).claim();
        const row = await store.commands.cancel({ commandId: claim.command.id });
        assert.deepEqual([row.state, row.leaseExpiresAt, row.fence], ["cancelling", claim.expiresAt, claim.fence]);
        assert.deepEqual(await store.commands.cancel({ commandId: claim.command.id }), row);
        assert.equal((await store.commands.finish({ ...held(claim), outcome })).command.state, outcome);
      });
    }

    test("a command whose cancellation was not requested cannot end as cancelled", async ({ store }) => {
      const { claim } = await fixtures(store).claim();
      await fails(store.commands.finish({ ...held(claim), outcome: "cancelled" }), "invalid_transition", {
        state: "running",
      });
    });

    test("cancel of a command with another result is invalid_transition", async ({ store }) => {
      const { claim } = await fixtures(store).claim();
      await store.commands.finish({ ...held(claim), outcome: "timed_out" });
      await fails(store.commands.cancel({ commandId: claim.command.id }), "invalid_transition", { state: "timed_out" });
      await fails(store.commands.cancel({ commandId: newId() }), "not_found");
    });

    test("wait returns the command when it has ended", async ({ store }) => {
      const { claim } = await fixtures(store).claim();
      const waiting = store.commands.wait({ commandId: claim.command.id });
      const { command } = await store.commands.finish({ ...held(claim), outcome: "succeeded" });
      assert.deepEqual(await waiting, command);
      assert.deepEqual(await store.commands.wait({ commandId: command.id }), command);
      await fails(store.commands.wait({ commandId: newId() }), "not_found");
    });

    test("wait returns when the command's session is cancelled, and when its lease expires", async ({
      store,
      clock,
    }: Opened) => {
      const { session, command } = await fixtures(store).command();
      const waiting = store.commands.wait({ commandId: command.id });
      await store.sessions.cancel({ sessionId: session.id });
      assert.equal((await waiting).state, "cancelled");
      const { claim } = await fixtures(store).claim();
      const lost = store.commands.wait({ commandId: claim.command.id });
      clock.advance(60_001);
      await store.maintenance.reap();
      assert.equal((await lost).state, "lost");
    });

    test("wait fails with deadline_exceeded at its timeout", async ({ store }) => {
      const { command } = await fixtures(store).command();
      await fails(store.commands.wait({ commandId: command.id, timeoutMs: 20 }), "deadline_exceeded");
    });
  });
}
