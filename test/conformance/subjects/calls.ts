// Calls: every operation is a method, checks its input, and can be reached only through a port that allows it.
import assert from "node:assert/strict";
import type { z } from "zod";
import { newId, StoreError } from "../../../src/index.ts";
import { operations } from "../../../src/operations/table.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { Opened, TestedBackend } from "../../support/backends.ts";
import { collect, endOfFeed, fails, subject } from "../suite.ts";

// biome-ignore lint/suspicious/noExplicitAny: the names are known at run time only.
type AnyMethod = (input?: unknown, options?: object) => any;

const names = Object.entries(operations).flatMap(([entity, verbs]) =>
  Object.entries(verbs).map(([verb, operation]) => ({ name: `${entity}.${verb}`, entity, verb, operation })),
);

function call(
  { store }: Pick<Opened, "store">,
  { entity, verb, operation }: (typeof names)[number],
  input?: unknown,
): Promise<unknown> {
  const method = (store as unknown as Record<string, Record<string, AnyMethod>>)[entity]?.[verb] as AnyMethod;
  return operation.stream === undefined ? method(input) : collect(method(input));
}

export function callsConformance(backend: TestedBackend): void {
  subject(backend, "calls", ({ test }) => {
    for (const one of names) {
      test(`${one.name} is a method that refuses unknown fields and names them`, async (opened) => {
        const error = await fails(call(opened, one, { nonsense: 1 }), "invalid_input", {}, "not_run");
        assert.equal(error.operation, one.name);
        assert.ok((error.details.issues as { message: string }[]).some(({ message }) => message.includes("nonsense")));
      });

      const idField = Object.keys(one.operation.inputSchema.shape as z.ZodRawShape).find(
        // What an event names, the application has numbered as it likes.
        (field) => field === "id" || (field.endsWith("Id") && field !== "entityId"),
      );
      if (idField !== undefined) {
        test(`${one.name} refuses an ${idField} that is not a UUID in lower case`, async (opened) => {
          for (const id of ["", "1", newId().toUpperCase(), `${newId()} `, "'; DROP TABLE commands; --", 7, null, {}]) {
            const error = await fails(call(opened, one, { [idField]: id }), "invalid_input");
            assert.ok((error.details.issues as { path: string }[]).some(({ path }) => path === idField));
          }
        });
      }
    }

    test("an input that is not an object is invalid_input", async (opened) => {
      for (const one of names)
        for (const input of [null, 1, "a", [], [{}]]) await fails(call(opened, one, input), "invalid_input");
    });

    test("numbers out of bounds, fractions and NaN are invalid_input", async ({ store }) => {
      for (const ttlMs of [999, 86_400_001, 1_000.5, Number.NaN, Number.POSITIVE_INFINITY, -1, 2 ** 60, "60000"]) {
        await fails(store.runners.register({ name: "r", ttlMs: ttlMs as number }), "invalid_input");
      }
      for (const limit of [0, 501, 1.5]) await fails(store.sessions.list({ limit }), "invalid_input");
      await fails(store.worktrees.renew({ worktreeId: newId(), fence: 0 }), "invalid_input");
      await fails(store.sessions.list({ cursor: "'; --" }), "invalid_input");
    });

    test("an absent input is an empty input", async ({ store }) => {
      assert.deepEqual(Object.keys(await store.maintenance.reap()), Object.keys(await store.maintenance.reap({})));
      assert.deepEqual(await store.changes.since(), await store.changes.since({}));
    });

    test("an error names its operation and is plain data as JSON", async ({ store }) => {
      const repositoryId = newId();
      const error = await fails(
        store.repositories.get({ repositoryId }),
        "not_found",
        { entity: "repository", id: repositoryId },
        "not_run",
      );
      assert.ok(error instanceof StoreError && error instanceof Error);
      assert.equal(error.operation, "repositories.get");
      assert.equal(error.retryable, false);
      const { message, ...rest } = JSON.parse(JSON.stringify(error));
      assert.deepEqual(rest, {
        code: "not_found",
        outcome: "not_run",
        retryable: false,
        details: { entity: "repository", id: repositoryId },
        operation: "repositories.get",
      });
      assert.equal(typeof message, "string");
    });

    test("actor and request id are stored in the change rows", async ({ store }) => {
      const nextSeq = await endOfFeed(store);
      const row = await store.repositories.upsert({ name: `by ${newId()}` }, { actor: "ada", requestId: "r-1" });
      await store.repositories.archive({ repositoryId: row.id });
      const { changes } = await store.changes.since({ after: nextSeq });
      assert.deepEqual(
        changes.map(({ op, actor, requestId }) => [op, actor, requestId]),
        [
          ["create", "ada", "r-1"],
          ["archive", null, null],
        ],
      );
    });

    test("a port reaches only the operations that it names", async (opened) => {
      const port = await opened.connect({ operations: ["commands.*", "repositories.get"] });
      const { repository } = await fixtures(opened.store).repository();
      assert.deepEqual(await port.repositories.get({ repositoryId: repository.id }), repository);
      assert.equal((await port.commands.list()).nextCursor, undefined);
      const error = await fails(port.repositories.upsert({ name: "forbidden" }), "unknown_operation", {}, "not_run");
      assert.equal(error.operation, "repositories.upsert");
      await fails(port.maintenance.reap(), "unknown_operation");
      await fails(collect(port.changes.watch()), "unknown_operation");
      await fails(
        port.atomically((tx) => {
          tx.commands.list();
          tx.repositories.upsert({ name: "forbidden" });
        }),
        "unknown_operation",
        { index: 1 },
      );
      assert.equal(await opened.store.repositories.find({ name: "forbidden" }), undefined);
      await port.close();
    });

    test("each of several calls of one tick has its own answer", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const settled = await Promise.allSettled([
        store.repositories.get({ repositoryId: repository.id }),
        store.repositories.get({ repositoryId: newId() }),
        store.repositories.get({ repositoryId: "bad" }),
        store.repositories.find({ name: repository.name }),
      ]);
      assert.deepEqual(
        settled.map((one) => (one.status === "fulfilled" ? one.value : one.reason.code)),
        [repository, "not_found", "invalid_input", repository],
      );
    });
  });
}
