// The connections of a Kysely instance: who gets one, who waits, and when they are closed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { StoreError } from "../../../src/errors.ts";
import { type ReadSession, Sessions } from "../../../src/kysely/sessions.ts";

class FakeSession implements ReadSession {
  isEnded = false;
  readonly closed = Promise.withResolvers<StoreError>();
  readonly #onEnd: () => void;
  constructor(onEnd: () => void) {
    this.#onEnd = onEnd;
  }
  async open(): Promise<void> {}
  async query(): Promise<never> {
    throw new Error("not called");
  }
  stream(): never {
    throw new Error("not called");
  }
  async begin(): Promise<void> {}
  async end(): Promise<void> {}
  close(reason: StoreError): void {
    this.isEnded = true;
    this.closed.resolve(reason);
    this.#onEnd();
  }
}

function rig({ max = 2, idleMs = 60_000 } = {}) {
  const created: FakeSession[] = [];
  const sessions = new Sessions(
    (onEnd) => {
      created.push(new FakeSession(onEnd));
      return created.at(-1) as FakeSession;
    },
    { max, idleMs },
  );
  return { sessions, created };
}

test("a connection is used again, and a second one is opened only beside the first", async () => {
  const { sessions, created } = rig();
  const first = await sessions.take();
  sessions.giveBack(first);
  assert.equal(await sessions.take(), first);
  assert.notEqual(await sessions.take(), first);
  assert.equal(created.length, 2);
  sessions.close();
});

test("beyond the most connections readers wait, and get one in their order", async () => {
  const { sessions, created } = rig({ max: 1 });
  const first = await sessions.take();
  const order: string[] = [];
  const waiting = ["a", "b"].map(async (name) => {
    const session = await sessions.take();
    order.push(name);
    sessions.giveBack(session);
  });
  sessions.giveBack(first);
  await Promise.all(waiting);
  assert.deepEqual(order, ["a", "b"]);
  assert.equal(created.length, 1);
  sessions.close();
});

test("a connection that has ended is replaced, also for the reader who waits for it", async () => {
  const { sessions, created } = rig({ max: 1 });
  const first = await sessions.take();
  const next = sessions.take();
  first.close(new StoreError("deadline_exceeded"));
  // Nobody has given it back: its reader may never go on.
  const second = await next;
  sessions.giveBack(first);
  assert.notEqual(second, first);
  sessions.giveBack(second);
  second.close(new StoreError("internal"));
  assert.notEqual(await sessions.take(), second);
  assert.equal(created.length, 3);
  sessions.close();
});

test("a connection that cannot be opened leaves its place to the next one", async () => {
  const opened: ReadSession[] = [];
  const sessions = new Sessions(
    (onEnd) => {
      const session = new FakeSession(onEnd);
      if (opened.push(session) === 1) session.open = () => Promise.reject(new StoreError("busy"));
      return session;
    },
    { max: 1, idleMs: 60_000 },
  );
  await assert.rejects(sessions.take(), { code: "busy" });
  assert.equal(await sessions.take(), opened[1]);
  sessions.close();
});

test("a connection that nobody uses is closed after a time", async () => {
  const { sessions, created } = rig({ idleMs: 1 });
  sessions.giveBack(await sessions.take());
  assert.equal((await (created[0] as FakeSession).closed.promise).code, "closed");
  await sessions.take();
  assert.equal(created.length, 2);
  sessions.close();
});

test("closing ends every connection, and fails those who wait for one", async () => {
  const { sessions, created } = rig({ max: 1 });
  await sessions.take();
  const waiting = [1, 2].map(() => assert.rejects(sessions.take(), { code: "closed" }));
  sessions.close();
  await Promise.all(waiting);
  assert.equal(created[0]?.isEnded, true);
  await assert.rejects(sessions.take(), { code: "closed" });
});
