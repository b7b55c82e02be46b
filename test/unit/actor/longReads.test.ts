// Long reads beside the groups of a mailbox, with readers that the tests move: order, turns, deaths, cancellation, closing.
import assert from "node:assert/strict";
import { it } from "node:test";
import { LongReads, type Reader } from "../../../src/actor/longReads.ts";
import { type Inbox, Mailbox } from "../../../src/actor/mailbox.ts";
import { systemClock } from "../../../src/clock.ts";
import type { Dispatcher, JobOutcome } from "../../../src/dispatch.ts";
import { StoreError } from "../../../src/errors.ts";
import type { StoreEvent } from "../../../src/events.ts";
import { defaultLimits, type Limits } from "../../../src/limits.ts";
import type { Call } from "../../../src/operation.ts";
import type { Envelope, Reply } from "../../../src/wire.ts";
import { until } from "../../system/faults/until.ts";

/** A reader whose transactions the test ends. */
interface TestedReader {
  /** The names of the calls of each transaction, in the order in which they began. */
  readonly batches: string[][];
  /** Ends the transaction that runs, with the first `count` calls. */
  end(count?: number, outcome?: Partial<JobOutcome>): void;
  die(): void;
  closed: boolean;
}

interface Rig {
  readonly mailbox: Mailbox;
  readonly longReads: LongReads;
  /** The transactions, in order: the calls of each group, and those of each transaction of a reader. */
  readonly log: string[];
  readonly readers: TestedReader[];
  readonly events: StoreEvent[];
  connect(): Inbox;
}

interface RigOptions {
  readonly readers?: number;
  readonly limits?: Partial<Limits>;
  /** Fails groups; receives the names of their calls. */
  readonly failGroup?: (names: readonly string[]) => void;
  /** Fails the start of a reader, or holds it up. */
  readonly failStart?: () => void | Promise<void>;
}

/** The words of a name: what a call does (write, rows, page, whole), and a label. "large" has a large result. */
function createRig({ readers: count = 1, limits: given = {}, failGroup, failStart }: RigOptions = {}): Rig {
  const limits = { ...defaultLimits, groupMs: 60_000, readerAfterMs: 0, ...given };
  const log: string[] = [];
  const events: StoreEvent[] = [];
  const readers: TestedReader[] = [];
  const dispatcher: Dispatcher = {
    knows: () => true,
    orderOf: () => ({ lane: "normal", entities: [] }),
    decodeCall(name, wire, caller) {
      const words = String(name).split(" ");
      const operation = {
        access: words[0] === "write" ? "write" : "read",
        resultBytes: () => (words.includes("large") ? limits.resultBytes : 0),
        extent: () => words[0],
        errors: [],
      };
      return { name: String(name), operation: operation as never, input: wire as never, caller, waitMs: Number(wire) };
    },
    async runTransaction(jobs) {
      const names = jobs.flat().map(({ name }) => name);
      failGroup?.(names);
      log.push(`group: ${names.join(", ")}`);
      const outcomes = jobs.map((calls) =>
        calls[0]?.name.includes("nothing") && calls[0].waitMs > 0
          ? { answers: [[true, "timeout"] as const], parkOn: ["topic"], usedMs: 1 }
          : { answers: calls.map(({ name }) => [true, name] as const), parkOn: undefined, usedMs: 1 },
      );
      return { outcomes, topics: new Set(), wrote: names.some((name) => name.startsWith("write")) };
    },
  };
  const longReads = new LongReads({
    engine: "sqlite",
    readers: count,
    limits,
    onEvent: (event) => void events.push(event),
    async start(onDeath) {
      await failStart?.();
      let running: { calls: readonly Call[]; gate: PromiseWithResolvers<readonly JobOutcome[]> } | undefined;
      const tested: TestedReader = {
        batches: [],
        closed: false,
        end(ended, outcome = {}) {
          const { calls, gate } = running as NonNullable<typeof running>;
          running = undefined;
          gate.resolve(
            calls.slice(0, ended).map(({ name }) => ({
              answers: [[true, `${name} on a reader`]],
              parkOn: undefined,
              usedMs: 1,
              ...outcome,
            })),
          );
        },
        die() {
          onDeath("it died");
          running?.gate.reject(new StoreError("closed"));
        },
      };
      const reader: Reader = {
        run(calls) {
          const names = calls.map(({ name }) => name);
          tested.batches.push(names);
          log.push(`reader: ${names.join(", ")}`);
          running = { calls, gate: Promise.withResolvers() };
          return running.gate.promise;
        },
        async close() {
          tested.closed = true;
        },
      };
      readers.push(tested);
      return reader;
    },
  });
  const mailbox = new Mailbox({
    engine: "sqlite",
    dispatcher,
    limits,
    clock: systemClock,
    epoch: 1,
    dataVersion: undefined,
    longReads,
    onFault: () => undefined,
  });
  return { mailbox, longReads, log, readers, events, connect: () => mailbox.connect(() => true) };
}

let lastId = 0;
const envelope = (...names: string[]): Envelope => [++lastId, false, names.flatMap((name) => [name, 0, undefined])];
const answersOf = ([, , answers]: Reply) => answers.filter((_, index) => index % 2 === 1);
const post = async (inbox: Inbox, ...names: string[]) => answersOf(await inbox.post(envelope(...names)));
const codeOf = (answer: unknown) => (answer as readonly [string])[0];

/** Starts a reader with a page that runs in a group, and forgets about both. */
async function withReader(rig: Rig): Promise<TestedReader> {
  await post(rig.connect(), "page first");
  await until(() => rig.readers.length === 1 && rig.longReads.accepts("page"));
  rig.log.length = 0;
  return rig.readers[0] as TestedReader;
}

it("pages run in groups until they have taken the time that is worth a reader, and short reads always", async () => {
  const rig = createRig({ limits: { readerAfterMs: 3 } });
  const inbox = rig.connect();
  for (let index = 0; index < 5; index++) await post(inbox, "rows a");
  await post(inbox, "page a");
  await post(inbox, "page b");
  assert.equal(rig.longReads.figures().readers, 0);
  await post(inbox, "page c");
  await until(() => rig.longReads.figures().readers === 1);
  const read = post(inbox, "page d", "rows d");
  await until(() => rig.readers[0]?.batches.length === 1);
  rig.readers[0]?.end();
  assert.deepEqual(await read, ["page d on a reader", "rows d"]);
});

it("the time of pages that were read long ago does not start a reader", async () => {
  const rig = createRig({ limits: { readerAfterMs: 2, readerIdleMs: 0 } });
  for (let index = 0; index < 5; index++) {
    await post(rig.connect(), "page a");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  assert.equal(rig.longReads.figures().readers, 0);
});

it("a read sees what its client has written before: it begins when that is committed", async () => {
  const rig = createRig();
  const reader = await withReader(rig);
  const [writer, other] = [rig.connect(), rig.connect()];
  const written = writer.post(envelope("write a", "page a", "write b"));
  const read = other.post(envelope("page other"));
  await until(() => reader.batches.length === 1);
  reader.end();
  await until(() => reader.batches.length === 2);
  reader.end();
  assert.deepEqual(rig.log, ["reader: page other", "group: write a, write b", "reader: page a"]);
  assert.deepEqual(answersOf(await written), ["write a", "page a on a reader", "write b"]);
  assert.deepEqual(answersOf(await read), ["page other on a reader"]);
});

it("a read keeps its place behind a write that was put back", async () => {
  let busy = 2;
  const rig = createRig({
    failGroup(names) {
      if (names.includes("write a") && busy-- > 0) throw new StoreError("busy");
    },
  });
  const reader = await withReader(rig);
  const written = rig.connect().post(envelope("write a", "page a"));
  await until(() => reader.batches.length === 1);
  reader.end();
  assert.deepEqual(answersOf(await written), ["write a", "page a on a reader"]);
  assert.deepEqual(rig.log, ["group: write a", "reader: page a"]);
});

it("a page never waits for a read of the whole store", async () => {
  const rig = createRig();
  const reader = await withReader(rig);
  const inbox = rig.connect();
  const [page, whole, waiting] = [post(inbox, "page a"), post(inbox, "whole b"), post(rig.connect(), "page c")];
  await until(() => reader.batches.length === 1 && rig.longReads.figures().readsQueued === 2);
  // The pages before it have had their turn. Those that are left run in a group while it runs.
  reader.end();
  assert.deepEqual(await page, ["page a on a reader"]);
  assert.deepEqual(await waiting, ["page c"]);
  assert.deepEqual(await post(inbox, "page d"), ["page d"]);
  reader.end();
  assert.deepEqual(await whole, ["whole b on a reader"]);
  assert.deepEqual(reader.batches, [["page a"], ["whole b"]]);
});

it("more readers are started when reads of the whole store keep those that run busy", async () => {
  const rig = createRig({ readers: 2 });
  const reader = await withReader(rig);
  const inbox = rig.connect();
  const reads = [post(inbox, "whole a"), post(inbox, "whole b"), post(inbox, "whole c")];
  await until(() => rig.readers.length === 2 && rig.readers[1]?.batches.length === 1);
  assert.equal(rig.longReads.figures().readsQueued, 1);
  reader.end();
  await until(() => reader.batches.length === 2);
  reader.end();
  rig.readers[1]?.end();
  assert.equal((await Promise.all(reads)).length, 3);
});

it("clients take turns, and the results of one transaction have a bound", async () => {
  const rig = createRig();
  const reader = await withReader(rig);
  const [first, second] = [rig.connect(), rig.connect()];
  const all = [post(first, "page 0")];
  await until(() => reader.batches.length === 1);
  const names = Array.from({ length: 20 }, (_, index) => `page ${index + 1}`);
  all.push(post(first, ...names), post(second, "page other", "page large"));
  await until(() => rig.longReads.figures().readsQueued === 22);
  reader.end();
  await until(() => reader.batches.length === 2);
  assert.deepEqual(reader.batches[1]?.slice(0, 4).sort(), ["page 1", "page 2", "page large", "page other"]);
  assert.equal(reader.batches[1]?.length, 16);
  // Those that the transaction had no time for run later.
  reader.end(2);
  await until(() => reader.batches.length === 3);
  while (reader.batches.flat().length < 23 + 14) {
    const count = reader.batches.length;
    reader.end();
    await until(() => reader.batches.length > count);
  }
  reader.end();
  await Promise.all(all);
});

it("the results of one transaction of a reader are at most limits.resultBytes, unless it is one read", async () => {
  const rig = createRig();
  const reader = await withReader(rig);
  const inbox = rig.connect();
  const busy = post(inbox, "page a");
  await until(() => reader.batches.length === 1);
  const all = [busy, post(inbox, "page large"), post(inbox, "page large b")];
  await until(() => rig.longReads.figures().readsQueued === 2);
  for (let batch = 2; batch <= 3; batch++) {
    reader.end();
    await until(() => reader.batches.length === batch);
  }
  reader.end();
  await Promise.all(all);
  assert.deepEqual(reader.batches, [["page a"], ["page large"], ["page large b"]]);
});

it("the reads of a reader that dies run again on another one, and one that ends two readers fails", async () => {
  const rig = createRig();
  const reader = await withReader(rig);
  const read = rig.connect().post(envelope("page a"));
  await until(() => reader.batches.length === 1);
  reader.die();
  await until(() => rig.readers[1]?.batches.length === 1);
  rig.readers[1]?.end();
  assert.deepEqual(answersOf(await read), ["page a on a reader"]);
  const deadly = post(rig.connect(), "whole b");
  await until(() => rig.readers[1]?.batches.length === 2);
  rig.readers[1]?.die();
  await until(() => rig.readers[2]?.batches.length === 1);
  rig.readers[2]?.die();
  assert.equal(codeOf((await deadly)[0]), "internal");
  assert.deepEqual(
    rig.events.map(({ type }) => type),
    ["reader_died", "reader_died", "reader_died"],
  );
});

it("reads run in groups when no reader can be started", async () => {
  const rig = createRig({
    failStart() {
      throw new StoreError("file_lost", "it is gone");
    },
  });
  const inbox = rig.connect();
  assert.deepEqual(await post(inbox, "whole a"), ["whole a"]);
  assert.deepEqual(await post(inbox, "page b", "whole b"), ["page b", "whole b"]);
  // It is not tried again at once.
  assert.equal(rig.events.length, 1);
  assert.equal((rig.events[0] as { code?: string }).code, "file_lost");
});

it("reads run in groups when the transaction of a reader fails as a whole", async () => {
  const rig = createRig();
  const reader = await withReader(rig);
  const read = post(rig.connect(), "page a");
  await until(() => reader.batches.length === 1);
  reader.end(0);
  assert.deepEqual(await read, ["page a"]);
});

it("a read is cancelled at any time, and what the reader finds has no receiver", async () => {
  const rig = createRig();
  const reader = await withReader(rig);
  const inbox = rig.connect();
  const [running, waiting] = [envelope("page a"), envelope("page b")];
  const replies = [inbox.post(running), inbox.post(waiting)];
  await until(() => reader.batches.length === 1);
  const third = envelope("page c");
  replies.push(inbox.post(third));
  await until(() => rig.longReads.figures().readsQueued === 1);
  for (const [id] of [running, waiting, third]) inbox.cancel(id, 0);
  for (const reply of await Promise.all(replies)) assert.equal(codeOf(answersOf(reply)[0]), "aborted");
  assert.equal(rig.longReads.figures().readsQueued, 0);
  reader.end();
  const next = post(inbox, "page d");
  await until(() => reader.batches.length === 2);
  reader.end();
  assert.deepEqual(await next, ["page d on a reader"]);
});

it("the reads of a client that has left are dropped", async () => {
  const rig = createRig();
  const reader = await withReader(rig);
  const inbox = rig.connect();
  void inbox.post(envelope("page a"));
  await until(() => reader.batches.length === 1);
  void inbox.post(envelope("page b"));
  await until(() => rig.longReads.figures().readsQueued === 1);
  inbox.disconnect();
  assert.equal(rig.longReads.figures().readsQueued, 0);
  reader.end();
  await rig.mailbox.close();
  assert.deepEqual(reader.batches, [["page a"]]);
});

it("a read that found nothing yet waits in the mailbox", async () => {
  const rig = createRig();
  const reader = await withReader(rig);
  const read = rig.connect().post([++lastId, false, ["page nothing", 50, undefined]]);
  await until(() => reader.batches.length === 1);
  reader.end(1, { parkOn: ["topic"] });
  assert.deepEqual(answersOf(await read), ["timeout"]);
  assert.deepEqual(rig.log, ["reader: page nothing", "group: page nothing"]);
});

it("closing waits for the reads, and answers those that take too long", async () => {
  const rig = createRig();
  const reader = await withReader(rig);
  const inbox = rig.connect();
  const [short, long] = [inbox.post(envelope("page a")), inbox.post(envelope("whole b"))];
  await until(() => reader.batches.length === 1);
  let idle = false;
  const closed = rig.mailbox.close().then(() => {
    idle = true;
  });
  reader.end();
  assert.deepEqual(answersOf(await short), ["page a on a reader"]);
  await until(() => reader.batches.length === 2);
  assert.equal(idle, false);
  rig.mailbox.endReads();
  assert.equal(codeOf(answersOf(await long)[0]), "closed");
  reader.end();
  await closed;
  await rig.longReads.close();
  assert.equal(reader.closed, true);
});

it("closing waits for a reader that is being started, and ends it", async () => {
  const gate = Promise.withResolvers<void>();
  const rig = createRig({ failStart: () => gate.promise });
  await post(rig.connect(), "page a");
  await rig.mailbox.close();
  let isClosed = false;
  const closed = rig.longReads.close().then(() => {
    isClosed = true;
  });
  await new Promise(setImmediate);
  assert.equal(isClosed, false);
  gate.resolve();
  await closed;
  assert.deepEqual(
    rig.readers.map((reader) => reader.closed),
    [true],
  );
});

it("a reader that has had nothing to do for a while is ended", async () => {
  const rig = createRig({ limits: { readerIdleMs: 1 } });
  await post(rig.connect(), "page a");
  await until(() => rig.readers[0]?.closed === true);
  assert.equal(rig.longReads.figures().readers, 0);
});

it("reads of an atomic envelope run in a group", async () => {
  const rig = createRig();
  const reader = await withReader(rig);
  const inbox = rig.connect();
  const reply = await inbox.post([++lastId, true, ["page a", 0, undefined, "page b", 0, undefined]]);
  assert.deepEqual(answersOf(reply), ["page a", "page b"]);
  assert.deepEqual(answersOf(await inbox.post([++lastId, true, ["page a", 0, undefined]])), ["page a"]);
  assert.deepEqual(reader.batches, []);
});
