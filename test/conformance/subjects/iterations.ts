// Iterations that a caller leaves: they end at once, also while they wait, and hold nothing on the other side.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, get, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Chunk, newId, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { bytes, collect, endOfFeed, fails, parked, subject } from "../suite.ts";

const done = { done: true, value: undefined };

/** Starts one iteration of each kind, each of which waits for its first item. */
async function iterations(store: Store, { signal }: { readonly signal?: AbortSignal } = {}) {
  const { command } = await fixtures(store).command();
  const { debugSessionId } = await fixtures(store).debugSession();
  const { position } = (await store.debug.get({ debugSessionId, events: 1 })).events[0] as { position: number };
  const options = signal === undefined ? {} : { signal };
  return [
    store.logs.follow({ commandId: command.id, waitMs: 3_600_000 }, options),
    store.debug.follow({ debugSessionId, after: position, waitMs: 3_600_000 }, options),
    store.changes.watch({ after: await endOfFeed(store), sessionId: newId(), waitMs: 3_600_000 }, options),
  ] as const;
}

export function iterationsConformance(backend: TestedBackend): void {
  subject(backend, "iterations", ({ test, alone }) => {
    alone("return ends an iteration that waits, and the call that waited", async ({ store }) => {
      const started = await iterations(store);
      const waiting = started.flatMap((iteration) => [iteration.next(), iteration.next()]);
      await parked(store, 3);
      for (const iteration of started) assert.deepEqual(await iteration.return(), done);
      assert.deepEqual(await Promise.all(waiting), Array(6).fill(done));
      await parked(store, 0);
      for (const iteration of started) assert.deepEqual(await iteration.next(), done);
    });

    alone("throw ends an iteration that waits like return, and fails with its argument", async ({ store }) => {
      const started = await iterations(store);
      const waiting = started.map((iteration) => iteration.next());
      await parked(store, 3);
      for (const iteration of started) await assert.rejects(iteration.throw(new RangeError("mine")), RangeError);
      assert.deepEqual(await Promise.all(waiting), Array(3).fill(done));
      await parked(store, 0);
    });

    alone("a stream of Node that is destroyed, and `await using`, leave the iteration", async ({ store }) => {
      const [first, second, third] = await iterations(store);
      const streams = [first, second].map((iteration) => Readable.from(iteration));
      const closed = streams.map((stream) => new Promise((resolve) => stream.once("close", resolve)));
      for (const stream of streams) stream.resume();
      let waiting: Promise<unknown> | undefined;
      {
        await using watching = third;
        waiting = watching.next();
        await parked(store, 3);
        for (const stream of streams) stream.destroy();
        await Promise.all(closed);
        await parked(store, 1);
      }
      assert.deepEqual(await waiting, done);
      await parked(store, 0);
    });

    alone("an iteration that is left in the middle of a page, or before its first item, ends", async ({ store }) => {
      const { command, fence } = await fixtures(store).log("a\n");
      const commandId = command.id;
      await store.logs.append({ commandId, fence, offset: 2, stream: "stderr", data: bytes("b\n") });
      const reading = store.logs.follow({ commandId });
      for await (const { offset } of reading) {
        assert.equal(offset, 0);
        break;
      }
      assert.deepEqual(await reading.next(), done);
      const fresh = store.logs.follow({ commandId });
      assert.deepEqual(await fresh.return(), done);
      assert.deepEqual(await fresh.next(), done);
      await parked(store, 0);
    });

    alone("a signal ends an iteration that waits with aborted, and the call that waited", async ({ store }) => {
      const aborter = new AbortController();
      const waiting = (await iterations(store, { signal: aborter.signal })).map((iteration) => iteration.next());
      await parked(store, 3);
      aborter.abort();
      await Promise.all(waiting.map((call) => fails(call, "aborted", {}, "not_run")));
      await parked(store, 0);
    });

    alone("viewers that only wait use up no part of their client's results", async ({ store }) => {
      const { debugSessionId } = await fixtures(store).debugSession();
      const { position } = (await store.debug.get({ debugSessionId, events: 1 })).events[0] as { position: number };
      const { command } = await fixtures(store).command();
      // Together, the pages that they ask for exceed limits.resultBytes.
      const started = Array.from({ length: 40 }, () => [
        store.debug.follow({ debugSessionId, after: position, limit: 500, waitMs: 3_600_000 }),
        store.logs.follow({ commandId: command.id, maxBytes: 1_048_576, waitMs: 3_600_000 }),
      ]).flat();
      const waiting = started.map((iteration) => iteration.next());
      await parked(store, 80);
      assert.equal((await store.debug.get({ debugSessionId, events: 500 })).debugSession.id, debugSessionId);
      for (const iteration of started) await iteration.return();
      await Promise.all(waiting);
    });

    test("calls of next are answered in their order, and a failure ends the iteration", async ({ store }) => {
      const { command, fence } = await fixtures(store).log("a\n");
      const commandId = command.id;
      const reading = store.logs.follow({ commandId, maxBytes: 1 });
      const calls = [reading.next(), reading.next(), reading.next()];
      await store.logs.append({ commandId, fence, offset: 2, stream: "stderr", data: bytes("b\n") });
      await store.commands.finish({ commandId, fence, outcome: "succeeded" });
      const [first, second, third] = await Promise.all(calls);
      assert.deepEqual([first?.value?.offset, second?.value?.offset, third], [0, 2, done]);

      const unknown = store.logs.follow({ commandId: newId() });
      const failing = unknown.next();
      const later = unknown.next();
      await fails(failing, "not_found");
      assert.deepEqual(await later, done);
      assert.deepEqual(await collect(unknown), []);
    });

    test("all is left while a page is being read, and answers its calls in order", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      for (let n = 0; n < 3; n++) await fixtures(store).session({ repositoryId: repository.id });
      const reading = store.sessions.all({ repositoryId: repository.id, limit: 1 });
      const [first, second] = await Promise.all([reading.next(), reading.next()]);
      assert.ok((first?.value?.id as string) < (second?.value?.id as string));
      const pending = reading.next();
      assert.deepEqual(await reading.return(), done);
      assert.deepEqual(await pending, done);
    });

    alone("a viewer over HTTP holds nothing, whenever its connection breaks", async ({ store }) => {
      const { command } = await fixtures(store).log("a\n");
      let view = Promise.withResolvers<unknown>();
      const server = createServer(async (request, response) => {
        if (request.url === "/before") {
          request.socket.destroy();
          await once(response, "close");
        }
        const position = request.url === "/waiting" ? { offset: 2 } : {};
        const chunks = store.logs.follow({ commandId: command.id, waitMs: 3_600_000, ...position });
        const toBytes = new Transform({
          writableObjectMode: true,
          transform: ({ data }: Chunk, _encoding, done) => done(null, data),
        });
        view.resolve(pipeline(Readable.from(chunks), toBytes, response).catch((error: unknown) => error));
      }).listen(0, "127.0.0.1");
      await once(server, "listening");
      const { port } = server.address() as AddressInfo;
      for (const moment of ["/before", "/waiting", "/reading"]) {
        view = Promise.withResolvers();
        const request = get({ host: "127.0.0.1", port, path: moment }).on("error", () => undefined);
        if (moment === "/waiting") await parked(store, 1);
        if (moment === "/reading") {
          const [answer] = (await once(request, "response")) as [IncomingMessage];
          await once(
            answer.on("error", () => undefined),
            "data",
          );
        }
        // The server has broken the first connection by itself.
        if (moment !== "/before") request.destroy();
        assert.ok((await view.promise) instanceof Error, moment);
        await parked(store, 0);
      }
      server.close();
      await once(server, "close");
    });

    alone("the calls of a client that has closed its connection wait no longer", async ({ store, connect }) => {
      const viewer = await connect();
      const waiting = (await iterations(viewer)).map((iteration) => iteration.next());
      await parked(store, 3);
      const settled = Promise.allSettled(waiting);
      await viewer.close();
      for (const { status } of await settled) assert.equal(status, "rejected");
      await parked(store, 0);
    });
  });
}
