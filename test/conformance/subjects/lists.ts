// Lists: their orders, filters, times and cursors, and what they show of the rows that belong to a row.
import assert from "node:assert/strict";
import { newId, type Session, type Store } from "../../../src/index.ts";
import { operations } from "../../../src/operations/table.ts";
import { type fixtures as Fixtures, fixtures } from "../../../src/testing/index.ts";
import type { Opened, TestedBackend } from "../../support/backends.ts";
import { collect, fails, subject } from "../suite.ts";

type Row = Readonly<Record<string, unknown>> & { readonly id: string; readonly createdAt: Date };

interface Lists {
  list(input: object): Promise<{ readonly items: readonly Row[]; readonly nextCursor?: string }>;
  all(input: object): AsyncGenerator<Row, void, undefined>;
}

const lists = Object.entries(operations).flatMap(([entity, verbs]) =>
  "list" in verbs ? [[entity, verbs.list] as const] : [],
);

const listsOf = (store: Store, entity: string) => (store as unknown as Record<string, Lists>)[entity] as Lists;
const idsOf = (rows: readonly { readonly id: string }[]) => rows.map(({ id }) => id);

/** The fields that every list has. */
const common = ["order", "since", "until", "limit", "cursor"];
/** A filter that compares no value of a row with one of its own; sessionLabels.ts has its tests. */
const ofSeveral = ["labels"];

/** Returns the value of a row that a filter compares. */
const comparedValue = (entity: string, row: Row, filter: string) =>
  row[entity === "worktrees" && filter === "runnerId" ? "leaseRunnerId" : filter];

/** Creates several rows of each entity, each at another time, with different values of what filters compare. */
async function createRows({ store, clock }: Opened) {
  const given: ReturnType<typeof Fixtures> = fixtures(store);
  const { token } = await given.token();
  const { session: debugged } = await given.session();
  const { runner } = await given.runner();
  for (const n of [0, 1, 2]) {
    clock.advance(10);
    const { patch } = await given.patch();
    await given.environment({ place: n === 1 ? "a" : "" });
    const { session, repository } = await given.session({
      ...(n === 0 ? {} : { patchHash: patch.sha256 }),
      requestedBy: n === 1 ? "bob" : "ada",
      commitSha: `${n % 2}`.repeat(40),
      ...(n === 2 ? {} : { tokenId: token.id }),
    });
    await given.account();
    await given.token({ accountId: token.accountId });
    await given.worktree({ repositoryId: repository.id });
    await given.lease({ repositoryId: repository.id, runnerId: runner.id });
    await given.debugSession({ sessionId: debugged.id });
    for (const kind of ["junit", "log"] as const) {
      clock.advance(10);
      const { command, fence } = await given.claim({ sessionId: session.id });
      const { artifact } = await given.artifact({ sessionId: session.id, commandId: command.id, kind });
      await given.command({ sessionId: session.id });
      if (kind === "log") await store.artifacts.delete({ artifactId: artifact.id });
      await store.commands.finish({ commandId: command.id, fence, outcome: n === 0 ? "failed" : "succeeded" });
    }
    if (n === 1) await store.sessions.cancel({ sessionId: session.id });
  }
  return { debugged };
}

export function listsConformance(backend: TestedBackend): void {
  subject(backend, "lists", ({ test, alone }) => {
    alone("the newest rows come first with desc, on every list and in pages of every size", async (opened) => {
      const { store } = opened;
      const { debugged } = await createRows(opened);
      for (const [entity, { inputSchema }] of lists) {
        const filter = inputSchema.safeParse({}).success ? {} : { sessionId: debugged.id };
        const { list, all } = listsOf(store, entity);
        const { items } = await list({ ...filter, limit: 500 });
        assert.ok(items.length > 2, entity);
        for (const limit of [1, 2, 500])
          assert.deepEqual(
            await collect(all({ ...filter, order: "desc", limit })),
            items.toReversed(),
            `${entity} by ${limit}`,
          );
        assert.deepEqual((await list({ ...filter, order: "asc", limit: 500 })).items, items);
      }
    });

    alone("rows pass every filter and every pair of filters, one value or several, in both orders", async (opened) => {
      const { store } = opened;
      const { debugged } = await createRows(opened);
      let found = 0;
      for (const [entity, { inputSchema }] of lists) {
        const { list, all } = listsOf(store, entity);
        const required = inputSchema.safeParse({}).success ? {} : { sessionId: debugged.id };
        const { items } = await list({ ...required, limit: 500 });
        const names = Object.keys(inputSchema.shape).filter(
          (name) => ![...common, ...ofSeveral].includes(name) && !/^include/.test(name),
        );
        const inputs = items.flatMap((row) =>
          names.flatMap((one) =>
            names.map((other) =>
              Object.fromEntries([one, other].map((name) => [name, comparedValue(entity, row, name)] as const)),
            ),
          ),
        );
        const states = [...new Set(items.map(({ state }) => state))];
        if (names.includes("state"))
          for (const count of [1, 2, states.length]) inputs.push({ state: states.slice(0, count) });
        const distinct = new Map(inputs.map((input) => [JSON.stringify(input), input]));
        for (const input of distinct.values()) {
          if (Object.values(input).some((value) => value === null)) continue;
          const expected = items.filter((row) =>
            Object.entries(input).every(([name, wanted]) => [wanted].flat().includes(comparedValue(entity, row, name))),
          );
          found += expected.length;
          const title = `${entity} ${JSON.stringify(input)}`;
          assert.deepEqual(idsOf(await collect(all({ ...required, ...input, limit: 2 }))), idsOf(expected), title);
          assert.deepEqual(
            idsOf(await collect(all({ ...required, ...input, order: "desc", limit: 2 }))),
            idsOf(expected.toReversed()),
            title,
          );
        }
      }
      assert.ok(found > 300, `${found} rows were found`);
    });

    alone(
      "since is inclusive and until exclusive, with a cursor too, and also when they move between pages",
      async (opened) => {
        const { store } = opened;
        const { debugged } = await createRows(opened);
        for (const [entity, { inputSchema }] of lists) {
          const { list, all } = listsOf(store, entity);
          const filters = inputSchema.safeParse({}).success ? [{}] : [{ sessionId: debugged.id }];
          if (entity === "commands") filters.push({ sessionId: (await list({})).items[0]?.sessionId as string });
          for (const filter of filters) {
            const { items } = await list({ ...filter, limit: 500 });
            const since = (items[1] as Row).createdAt;
            const until = (items.at(-1) as Row).createdAt;
            const expected = items.filter(({ createdAt }) => createdAt >= since && createdAt < until);
            assert.ok(expected.length > 0 && expected.length < items.length, entity);
            for (const order of ["asc", "desc"] as const) {
              const ordered = order === "asc" ? expected : expected.toReversed();
              const range = { ...filter, since, until, order };
              for (const limit of [1, 500]) assert.deepEqual(await collect(all({ ...range, limit })), ordered, entity);
              const { nextCursor } = await list({ ...filter, order, limit: 1 });
              const cursor = nextCursor as string;
              // The first row of the whole list lies outside of the range, or is its first row.
              const later = ordered.filter(({ id }) => id !== (order === "asc" ? items[0] : items.at(-1))?.id);
              assert.deepEqual(idsOf((await list({ ...range, cursor, limit: 500 })).items), idsOf(later), entity);
            }
          }
        }
        const { items } = await store.sessions.list({});
        const [first, last] = [items[0], items.at(-1)] as [Session, Session];
        for (const [order, range, expected] of [
          ["asc", { since: last.createdAt }, last],
          ["desc", { until: new Date(first.createdAt.getTime() + 1) }, first],
        ] as const) {
          const { nextCursor } = await store.sessions.list({ order, limit: 1 });
          const page = await store.sessions.list({ order, ...range, cursor: nextCursor as string });
          assert.deepEqual(idsOf(page.items), [expected.id]);
        }
        await fails(store.sessions.list({ since: new Date(Number.NaN) }), "invalid_input");
        await fails(store.sessions.list({ until: new Date(8.64e15) }), "invalid_input");
        await fails(store.sessions.list({ since: new Date(-1) }), "invalid_input");
      },
    );

    test("rows that are created meanwhile move no row of a list that begins with the newest", async ({
      store,
      clock,
    }) => {
      const { repository } = await fixtures(store).repository();
      const ids: string[] = [];
      const add = async () => {
        clock.advance(1);
        ids.unshift((await fixtures(store).session({ repositoryId: repository.id })).session.id);
      };
      for (let n = 0; n < 5; n++) await add();
      const before = [...ids];
      const seen: string[] = [];
      for await (const { id } of store.sessions.all({ repositoryId: repository.id, order: "desc", limit: 1 })) {
        seen.push(id);
        await add();
      }
      assert.deepEqual(seen, before);
    });

    alone("a cursor that this list did not make is invalid_input", async (opened) => {
      const { store } = opened;
      const { debugged } = await createRows(opened);
      const { session, command } = await fixtures(store).command();
      await fixtures(store).command({ sessionId: session.id });
      for (const kind of ["junit", "log"] as const) {
        const { artifact } = await fixtures(store).artifact({ sessionId: session.id, kind });
        await store.artifacts.delete({ artifactId: artifact.id });
      }
      const cursorOf = async (entity: string, input: object) => {
        const { nextCursor } = await listsOf(store, entity).list({ ...input, limit: 1 });
        return nextCursor as string;
      };
      const required = (entity: string) => (entity === "debug" ? { sessionId: debugged.id } : {});
      const cursors = new Map<string, string>();
      for (const [entity] of lists) cursors.set(entity, await cursorOf(entity, required(entity)));
      for (const [entity] of lists) {
        const { list } = listsOf(store, entity);
        const input = required(entity);
        const own = cursors.get(entity) as string;
        await list({ ...input, cursor: own, limit: 7, since: new Date(0), until: new Date(1) });
        const raw = Buffer.from(own, "base64url");
        const farAway = Buffer.from(raw).fill(0xff, 6, 12).toString("base64url");
        const wrong = [
          ...[...cursors].filter(([other]) => other !== entity).map(([, cursor]) => cursor),
          await cursorOf(entity, { ...input, order: "desc" }),
          farAway,
          ...[
            "",
            "x",
            own.slice(1),
            `${own}A`,
            `${own}=`,
            ` ${own}`,
            own.replace(/.$/, "_"),
            own.replaceAll(/./g, "-"),
          ],
          `1_${newId()}`,
          `9999999999999999_${newId()}`,
          "1_------------------------------------",
        ];
        for (const cursor of wrong) {
          const error = await fails(list({ ...input, cursor }), "invalid_input");
          assert.match(error.message, /cursor: must be the nextCursor of an earlier page of this list/);
        }
      }
      const { list } = store.commands;
      const ofSession = await cursorOf("commands", { sessionId: session.id });
      await fails(list({ cursor: ofSession }), "invalid_input");
      await fails(list({ sessionId: command.id, cursor: ofSession }), "invalid_input");
      await fails(list({ sessionId: session.id, cursor: cursors.get("commands") as string }), "invalid_input");
      await fails(list({ sessionId: session.id, state: "queued", cursor: ofSession }), "invalid_input");
      const several = await cursorOf("commands", { state: ["succeeded", "queued"] });
      await list({ state: ["queued", "succeeded", "queued"], cursor: several });
    });

    alone(
      "a page reads past a bounded number of rows, and all goes on behind them",
      async ({ store }) => {
        for (const order of ["asc", "desc"] as const) {
          const { session } = await fixtures(store).session();
          const ids: string[] = [];
          for (let n = 0; n < 11; n++) {
            const commands = Array.from({ length: 500 }, () => ({ argv: ["a"] }));
            ids.push(...idsOf(await store.commands.enqueue({ sessionId: session.id, commands })));
          }
          const rare = (order === "asc" ? ids.at(-1) : ids[0]) as string;
          await store.commands.cancel({ commandId: rare });
          const filter = { sessionId: session.id, state: "cancelled", order } as const;
          const first = await store.commands.list(filter);
          assert.deepEqual(first.items, []);
          const second = await store.commands.list({ ...filter, cursor: first.nextCursor as string });
          assert.deepEqual([idsOf(second.items), second.nextCursor], [[rare], undefined]);
          assert.deepEqual(idsOf(await collect(store.commands.all(filter))), [rare]);
        }
      },
      { limits: { queuedCommands: 6_000 } },
    );

    test("a session shows the account of its token, and the outcome of its last command", async ({ store, clock }) => {
      const given = fixtures(store);
      const { token } = await given.token();
      const { session } = await given.session({ tokenId: token.id, maxParallel: 2 });
      assert.equal(session.accountId, token.accountId);
      const last = async () => {
        const { items } = await store.sessions.list({ tokenId: token.id });
        const [{ lastCommandId, lastCommandState, lastExitCode, lastSignal }] = items as [(typeof items)[number]];
        return [lastCommandId, lastCommandState, lastExitCode, lastSignal];
      };
      assert.deepEqual(await last(), [null, null, null, null]);
      const first = await given.claim({ sessionId: session.id });
      const second = await given.claim({ sessionId: session.id, maxAttempts: 2 });
      assert.deepEqual(await last(), [null, null, null, null]);
      const failed = { outcome: "failed", exitCode: 3, signal: "SIGTERM" } as const;
      await store.commands.finish({ commandId: first.command.id, fence: first.fence, ...failed });
      assert.deepEqual(await last(), [first.command.id, "failed", 3, "SIGTERM"]);

      // It is queued again, so it has not ended; and what never started has no outcome.
      clock.advance(120_000);
      await store.maintenance.reap({});
      assert.deepEqual((await store.commands.get({ commandId: second.command.id })).state, "queued");
      const { command: waiting } = await given.command({ sessionId: session.id });
      await store.commands.cancel({ commandId: waiting.id });
      assert.deepEqual(await last(), [first.command.id, "failed", 3, "SIGTERM"]);

      const { runner } = await given.runner();
      assert.ok((await store.commands.claim({ runnerId: runner.id, sessionId: session.id })) !== undefined);
      await store.runners.heartbeat({ runnerId: runner.id, commands: [{ id: second.command.id, fence: 2 }] });
      clock.advance(120_000);
      await store.maintenance.reap({});
      assert.deepEqual(await last(), [second.command.id, "lost", null, null]);
      const forced = await given.claim({ sessionId: session.id });
      await store.commands.cancel({ commandId: forced.command.id, force: true });
      assert.deepEqual(await last(), [forced.command.id, "cancelled", null, null]);
      const ok = await given.claim({ sessionId: session.id });
      await store.commands.finish({ commandId: ok.command.id, fence: ok.fence, outcome: "succeeded" });
      assert.deepEqual(await last(), [ok.command.id, "succeeded", 0, null]);
      await given.command({ sessionId: session.id });
      await store.sessions.complete({ sessionId: session.id });
      assert.deepEqual(await last(), [ok.command.id, "succeeded", 0, null]);
    });

    test("the attempts of a command: who ran it, how it ended, and how large its log is", async ({ store, clock }) => {
      const given = fixtures(store);
      const { command: queued } = await given.command();
      assert.deepEqual(await store.commands.attempts({ commandId: queued.id }), []);
      const first = await given.claim({ maxAttempts: 2 });
      const commandId = first.command.id;
      const data = new TextEncoder().encode("a\nb");
      await store.logs.append({ commandId, fence: first.fence, offset: 0, data });
      const startedAt = first.command.startedAt as Date;
      const running = {
        attempt: 1,
        fence: first.fence,
        runnerId: first.runner.id,
        outcome: null,
        exitCode: null,
        signal: null,
        startedAt,
        endedAt: null,
        logState: "open",
        logBytes: 3,
        logLines: 1,
        droppedBytes: 0,
        logUri: null,
        cpuMs: null,
        memoryBytes: null,
        writtenBytes: null,
      };
      assert.deepEqual(await store.commands.attempts({ commandId }), [running]);
      clock.advance(120_000);
      await store.maintenance.reap({});
      const { runner } = await given.runner();
      const again = await store.commands.claim({ runnerId: runner.id, sessionId: first.session.id });
      await store.commands.finish({ commandId, fence: again?.fence as number, outcome: "failed", exitCode: 7 });
      const [lost, failed, ...others] = await store.commands.attempts({ commandId });
      assert.deepEqual(lost, { ...running, outcome: "lost", endedAt: lost?.endedAt, logState: "sealed" });
      assert.deepEqual(
        [failed?.attempt, failed?.runnerId, failed?.outcome, failed?.exitCode, failed?.logState, failed?.logBytes],
        [2, runner.id, "failed", 7, "sealed", 0],
      );
      assert.deepEqual(others, []);
    });

    test("a runner is read by its id", async ({ store }) => {
      const { runner } = await fixtures(store).runner({ labels: { os: "linux" } });
      assert.deepEqual(await store.runners.get({ runnerId: runner.id }), runner);
    });
  });
}
