// Idempotency keys: a repeated request gets the first answer and runs once; another request with the key is refused.
import assert from "node:assert/strict";
import { newId, type Repository, type Session } from "../../../src/index.ts";
import { present } from "../../../src/present.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { bytes, endOfFeed, fails, subject } from "../suite.ts";

export function idempotencyConformance(backend: TestedBackend): void {
  subject(backend, "idempotency", ({ test, alone }) => {
    test("a call that is repeated with its key gets the same answer and runs once, although its defaults differ", async ({
      store,
    }) => {
      const { session } = await fixtures(store).session();
      const after = await endOfFeed(store);
      const key = { idempotencyKey: newId() };
      const input = { sessionId: session.id, commands: [{ argv: ["make"], env: { A: "1", B: "2" } }] };
      const first = await store.commands.enqueue(input, key);
      // The order of fields, and undefined fields, do not make another request.
      const again = await store.commands.enqueue(
        { commands: [{ env: { B: "2", A: "1" }, cwd: undefined as never, argv: ["make"] }], sessionId: session.id },
        key,
      );
      assert.deepEqual(again, first);
      assert.equal((await store.commands.list({ sessionId: session.id })).items.length, 1);
      assert.equal((await store.changes.since({ after, entity: "command", sessionId: session.id })).changes.length, 1);
    });

    test("another request with the key is idempotency_mismatch and changes nothing", async ({ store }) => {
      const name = newId();
      const idempotencyKey = newId();
      const row = await store.repositories.upsert({ name, settings: { a: [1, "1", null] } }, { idempotencyKey });
      for (const input of [
        { name: `${name} ` },
        { name },
        { name, settings: { a: [1, 1, null] } },
        { name, settings: { a: [1, "1", null] }, description: "d" },
      ]) {
        await fails(store.repositories.upsert(input, { idempotencyKey }), "idempotency_mismatch", {}, "rolled_back");
      }
      assert.deepEqual(await store.repositories.get({ repositoryId: row.id }), row);
    });

    test("a key belongs to an operation and an actor", async ({ store }) => {
      const idempotencyKey = newId();
      const made: Repository[] = [];
      for (const options of [{}, { actor: "ada" }, { actor: "bob" }]) {
        made.push(await store.repositories.upsert({ name: newId() }, { idempotencyKey, ...options }));
      }
      assert.equal(new Set(made.map(({ id }) => id)).size, 3);
      await store.accounts.create({ name: newId(), kind: "human" }, { idempotencyKey });
      await fails(
        store.repositories.upsert({ name: newId() }, { idempotencyKey, actor: "ada" }),
        "idempotency_mismatch",
      );
    });

    test("sixteen simultaneous calls of two clients with one key run once", async (opened) => {
      const { store } = opened;
      const other = await opened.connect();
      const { session } = await fixtures(store).session();
      const input = { sessionId: session.id, commands: [{ argv: ["make"] }] };
      const idempotencyKey = newId();
      const answers = await Promise.all(
        Array.from({ length: 16 }, (_, index) =>
          (index % 2 ? other : store).commands.enqueue(input, { idempotencyKey }),
        ),
      );
      assert.equal(new Set(answers.map(([command]) => command?.id)).size, 1);
      assert.equal((await store.sessions.get({ sessionId: session.id })).queuedCommands, 1);
      await other.close();
    });

    test("a failure is not stored, so a repeated call runs again", async ({ store }) => {
      const idempotencyKey = newId();
      const { repository } = await fixtures(store).repository({ maxWorktrees: 0 });
      const reserve = () => store.worktrees.reserve({ repositoryId: repository.id, owner: "o" }, { idempotencyKey });
      await fails(reserve, "capacity_exhausted");
      await store.repositories.upsert({ name: repository.name, maxWorktrees: 1 });
      const lease = await reserve();
      assert.deepEqual(await reserve(), lease);
      // This call fails after it wrote: its group runs again, and the key is free again.
      const { command } = await fixtures(store).command();
      const taken = {
        repositoryId: repository.id,
        commitSha: fixtures(store).commitSha,
        commands: [{ id: command.id, argv: ["a"] }],
      };
      for (const _ of [1, 2]) await fails(store.sessions.create(taken, { idempotencyKey }), "conflict");
    });

    test("a waiting call that finds nothing stores nothing", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const { runner } = await fixtures(store).runner();
      const idempotencyKey = newId();
      const claim = (waitMs: number) =>
        store.commands.claim({ runnerId: runner.id, sessionId: session.id, waitMs }, { idempotencyKey });
      assert.equal(await claim(0), undefined);
      await fixtures(store).command({ sessionId: session.id });
      const waiting = store.commands.claim(
        { runnerId: runner.id, sessionId: session.id, waitMs: 60_000 },
        { idempotencyKey },
      );
      const claimed = await waiting;
      assert.equal(claimed?.session.id, session.id);
      // The first call was another request, but it stored nothing.
      assert.deepEqual(
        await store.commands.claim({ runnerId: runner.id, sessionId: session.id, waitMs: 60_000 }, { idempotencyKey }),
        claimed,
      );
      await fails(claim(0), "idempotency_mismatch");
    });

    test("an answer of undefined is stored too", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const { runner } = await fixtures(store).runner();
      await store.sessions.cancel({ sessionId: session.id });
      const idempotencyKey = newId();
      const claim = (sessionId: string) => store.commands.claim({ runnerId: runner.id, sessionId }, { idempotencyKey });
      assert.equal(await claim(session.id), undefined);
      assert.equal(await claim(session.id), undefined);
      const { session: other } = await fixtures(store).command();
      await fails(claim(other.id), "idempotency_mismatch");
    });

    test("a repeated mint returns the token without its secret", async ({ store }) => {
      const given = fixtures(store);
      const { account } = await given.account();
      const input = {
        accountId: account.id,
        name: "ci",
        scopes: ["sessions:read" as const],
        createdBy: await given.adminTokenId(),
      };
      const idempotencyKey = newId();
      const first = await store.tokens.mint(input, { idempotencyKey });
      assert.deepEqual(await store.tokens.mint(input, { idempotencyKey }), { token: first.token, secret: undefined });
      await store.tokens.verify({ token: first.secret as string });
      const rotation = { idempotencyKey: newId() };
      const rotated = await store.tokens.rotate({ tokenId: first.token.id }, rotation);
      assert.deepEqual(await store.tokens.rotate({ tokenId: first.token.id }, rotation), {
        token: rotated.token,
        secret: undefined,
      });
    });

    test("the key of an atomic envelope covers all its calls", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const { commitSha } = fixtures(store);
      const create = (calls: number, idempotencyKey: string) =>
        store.atomically<Session[]>(
          (tx) => {
            for (let n = 0; n < calls; n++) tx.sessions.create({ repositoryId: repository.id, commitSha });
          },
          { idempotencyKey },
        );
      const key = newId();
      const first = await create(2, key);
      assert.deepEqual(await create(2, key), first);
      await fails(create(3, key), "idempotency_mismatch", { index: 0 });
      await fails(create(1, key), "idempotency_mismatch");
      assert.equal((await store.sessions.list({ repositoryId: repository.id })).items.length, 2);
    });

    test("the key of an atomic envelope is one key, whatever its calls and their order, and of any length", async ({
      store,
    }) => {
      const { repository } = await fixtures(store).repository();
      const { commitSha } = fixtures(store);
      const { name, id: repositoryId } = repository;
      type Recorders = Parameters<Parameters<typeof store.atomically>[0]>[0];
      const verbs = {
        upsert: (tx: Recorders) => tx.repositories.upsert({ name }),
        create: (tx: Recorders) => tx.sessions.create({ repositoryId, commitSha }),
        get: (tx: Recorders) => tx.repositories.get({ repositoryId }),
      };
      const idempotencyKey = newId().padEnd(200, "x");
      const run = (...order: (keyof typeof verbs)[]) =>
        store.atomically<(Repository | { session: Session })[]>(
          (tx) => {
            for (const verb of order) verbs[verb](tx);
          },
          { idempotencyKey },
        );
      const first = await run("get", "upsert", "create", "get");
      assert.deepEqual(await run("get", "upsert", "create", "get"), first);
      for (const order of [["create", "upsert"], ["upsert", "create"], ["create"], ["upsert"]] as const) {
        await fails(run(...order), "idempotency_mismatch", {}, "rolled_back");
      }
      // A key stores nothing for reads alone, as for a single read.
      await run("get");
      assert.equal((await store.sessions.list({ repositoryId })).items.length, 1);
      // The key of an envelope is not the key of a call.
      await store.repositories.upsert({ name }, { idempotencyKey });
    });

    test("an envelope that fails stores nothing under its key", async ({ store }) => {
      const idempotencyKey = newId();
      const name = newId();
      const run = () =>
        store.atomically(
          (tx) => {
            tx.accounts.create({ name, kind: "agent" });
            tx.accounts.create({ name: `${name} 2`, kind: "agent" });
          },
          { idempotencyKey },
        );
      await fixtures(store).account({ name: `${name} 2` });
      for (const _ of [1, 2]) await fails(run(), "conflict", { index: 1 });
    });

    test("the key of a call within an atomic envelope covers that call", async ({ store }) => {
      const name = newId();
      const idempotencyKey = newId();
      const alone = await store.repositories.upsert({ name }, { idempotencyKey });
      const [within] = await store.atomically<[Repository]>((tx) =>
        tx.repositories.upsert({ name }, { idempotencyKey }),
      );
      assert.deepEqual(within, alone);
    });

    test("appends with a key are not joined with other appends", async ({ store }) => {
      const { claim } = await fixtures(store).claim();
      const held = { commandId: claim.command.id, fence: claim.fence };
      const append = (offset: number, idempotencyKey?: string) =>
        store.logs.append({ ...held, offset, data: bytes("ab") }, present({ idempotencyKey }));
      const key = newId();
      await Promise.all([append(0), append(2, key), append(4)]);
      assert.equal((await append(2, key)).ackOffset, 4);
      await fails(
        store.logs.append({ ...held, offset: 2, data: bytes("ac") }, { idempotencyKey: key }),
        "idempotency_mismatch",
      );
    });

    test("reads accept a key and ignore it; for an operation in steps, the last reply is stored", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const { claim } = await fixtures(store).claim();
      const sessionId = claim.session.id;
      const held = { commandId: claim.command.id, fence: claim.fence };
      const idempotencyKey = newId();
      await store.repositories.get({ repositoryId: repository.id }, { idempotencyKey });
      await store.sessions.get({ sessionId }, { idempotencyKey });
      // More chunks than one step deletes.
      for (let offset = 0; offset < 600; offset++) await store.logs.append({ ...held, offset, data: bytes("x") });
      await store.commands.finish({ ...held, outcome: "succeeded" });
      await store.sessions.complete({ sessionId });
      for (const _ of [1, 2])
        assert.deepEqual(await store.sessions.delete({ sessionId }, { idempotencyKey }), { deleted: true });
      await fails(store.sessions.delete({ sessionId: newId() }, { idempotencyKey }), "idempotency_mismatch");
    });

    test("a key that is not text of 1 to 200 characters is invalid_input", async ({ store }) => {
      for (const idempotencyKey of ["", "x".repeat(201), "\u0000", "\ud800", 7, {}, null]) {
        await fails(
          store.repositories.upsert({ name: newId() }, { idempotencyKey: idempotencyKey as string }),
          "invalid_input",
          {},
          "not_run",
        );
      }
    });

    alone("a key is kept for 24 hours and then deleted", async ({ store, clock }) => {
      const idempotencyKey = newId();
      const [one, two] = [newId(), newId()];
      const first = await store.repositories.upsert({ name: one }, { idempotencyKey });
      clock.advance(86_340_000);
      assert.equal((await store.maintenance.reap()).keys, 0);
      assert.deepEqual(await store.repositories.upsert({ name: one }, { idempotencyKey }), first);
      clock.advance(60_000);
      // The key has expired but is not deleted yet, so the next request takes it.
      const second = await store.repositories.upsert({ name: two }, { idempotencyKey });
      assert.notEqual(second.id, first.id);
      assert.equal((await store.maintenance.reap()).keys, 0);
      clock.advance(86_400_000);
      assert.equal((await store.maintenance.reap()).keys, 1);
      assert.equal((await store.maintenance.reap()).keys, 0);
    });
  });
}
