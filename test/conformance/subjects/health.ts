// Health: what the store reports about itself, on every backend.
import assert from "node:assert/strict";
import { healthHandler } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { subject } from "../suite.ts";

export function healthConformance(backend: TestedBackend): void {
  subject(backend, "health", ({ test, alone }) => {
    test("a working store is ready: schema at head, last write stored, space left, queues free", async ({ store }) => {
      await fixtures(store).repository();
      const { ready, checks } = await store.maintenance.health();
      assert.equal(ready, true, JSON.stringify(checks));
      assert.deepEqual(Object.keys(checks), ["schema", "lastWrite", "file", "space", "queue"]);
      assert.match(checks.schema.at, /^\d{4}$/);
      assert.equal(checks.schema.at, checks.schema.head);
      assert.deepEqual(
        [checks.lastWrite.ok, checks.lastWrite.failed, typeof checks.lastWrite.agoMs],
        [true, null, "number"],
      );
      assert.ok(checks.queue.percent < 10);
    });

    test("/livez and /readyz return one line or all checks, and forbid caching", async ({ store }) => {
      const handle = healthHandler(store);
      for (const path of ["/livez", "/readyz", "/internal/readyz"]) {
        const response = await handle(new Request(`http://localhost${path}`));
        assert.deepEqual(
          [response.status, await response.text(), response.headers.get("cache-control")],
          [200, "ok\n", "no-store"],
        );
        const verbose = await handle(new Request(`http://localhost${path}?verbose`));
        const { status, checks } = (await verbose.json()) as {
          status: string;
          checks: Record<string, { ok: boolean }>;
        };
        assert.deepEqual(
          [verbose.status, verbose.headers.get("content-type"), status],
          [200, "application/json", "ok"],
        );
        for (const check of Object.values(checks)) assert.equal(check.ok, true);
        assert.ok(Object.keys(checks).includes(path === "/livez" && "liveness" in store ? "thread" : "ping"));
      }
      const head = await handle(new Request("http://localhost/readyz", { method: "HEAD" }));
      assert.deepEqual([head.status, await head.text()], [200, ""]);
      assert.equal((await handle(new Request("http://localhost/readyz", { method: "POST" }))).status, 405);
      assert.equal((await handle(new Request("http://localhost/other"))).status, 404);
    });

    test("simultaneous requests share one call of the store, and a request soon after makes none", async ({
      store,
    }) => {
      let calls = 0;
      const health = ((...input: []) => {
        calls++;
        return store.maintenance.health(...input);
      }) as typeof store.maintenance.health;
      const handle = healthHandler({ maintenance: { health } }, { cacheMs: 60_000 });
      await Promise.all(Array.from({ length: 20 }, () => handle(new Request("http://localhost/readyz"))));
      await handle(new Request("http://localhost/readyz"));
      assert.equal(calls, 1);
    });

    test("the handler reports the error of a call that the store did not accept", async ({ store }) => {
      const other = healthHandler({
        maintenance: {
          health: (_input, options) => store.maintenance.health({}, { ...options, signal: AbortSignal.abort() }),
        },
      });
      const response = await other(new Request("http://localhost/readyz?verbose"));
      assert.equal(response.status, 503);
      assert.deepEqual(await response.json(), { status: "not ok", checks: { ping: { ok: false, failed: "aborted" } } });
    });

    alone("a closed store is neither live nor ready", async ({ store }) => {
      const handle = healthHandler(store);
      await store.close();
      for (const path of ["livez", "readyz"])
        assert.equal((await handle(new Request(`http://localhost/${path}`))).status, 503, path);
    });

    alone(
      "a store with too little space, or with a queue that is nearly full, is not ready",
      async ({ store }) => {
        // The call alone fills more than a tenth of the client's queue.
        const { ready, checks } = await store.maintenance.health();
        assert.deepEqual([ready, checks.queue.ok, checks.queue.percent], [false, false, 20]);
        assert.equal(
          checks.space.ok,
          checks.space.leftBytes === null,
          "less space is left than the limit, where that is known",
        );
      },
      { limits: { queueCalls: 5, queuePercentMax: 10, leftBytesMin: Number.MAX_SAFE_INTEGER } },
    );
  });
}
