// The client and the mailbox measure the size of a call in the same way.
import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { callBytes, callSizes } from "../../src/load.ts";
import { fixtures, openTestStore } from "../../src/testing/index.ts";

const sumOf = (sizes: readonly number[]): number => sizes.reduce((sum, size) => sum + size, 0);

it("the client packs many large calls of one tick into messages that the mailbox accepts", async (t) => {
  const store = await openTestStore();
  t.after(() => store.close());
  const { repository, session } = await fixtures(store).session();
  const input = {
    repositoryId: repository.id,
    commitSha: session.commitSha,
    metadata: { text: "x".repeat(20_000) },
  };
  const calls = Array.from({ length: 500 }, () => store.sessions.create(input));
  const failed = (await Promise.allSettled(calls)).filter(({ status }) => status === "rejected");
  assert.equal(failed.length, 0, `${failed.length} of 500 calls failed`);
});

it("callSizes is the sum of callBytes up to the limit, and exceeds the limit for any larger message", () => {
  const bytes = fc.uint8Array({ maxLength: 20 });
  const plain = fc.oneof(fc.string(), fc.integer(), fc.constantFrom(null, undefined, true), bytes);
  const wire = fc.array(fc.oneof(plain, fc.array(plain, { maxLength: 5 })), { maxLength: 5 });
  const caller = fc.option(fc.tuple(fc.string(), fc.string()), { nil: undefined });
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.string(), wire, caller), { minLength: 1, maxLength: 5 }), (calls) => {
      const sum = calls.reduce((total, call) => total + callBytes(...call), 0);
      assert.equal(sumOf(callSizes(calls.flat(), sum)), sum);
      assert.ok(sumOf(callSizes(calls.flat(), sum - 1)) > sum - 1);
    }),
  );
});

it("callSizes returns more than the limit for a cyclic value and a huge sparse array", () => {
  const cyclic: unknown[] = [];
  cyclic.push(cyclic, cyclic);
  for (const wire of [cyclic, new Array(4_000_000_000)])
    assert.ok(sumOf(callSizes(["t.read", [wire], undefined], 8_388_608)) > 8_388_608);
});

it("bytes count with the buffer below them, and values whose size cannot be seen have none that would pass", () => {
  const view = new Uint8Array(new ArrayBuffer(1_000), 10, 1);
  assert.ok(callBytes("logs.append", [view], undefined) >= 1_000);
  assert.ok(callBytes("t.read", [new Date()], undefined) < 100);
  const map = new Map(Array.from({ length: 10 }, (_, n) => [n, n]));
  for (const value of [
    map,
    new Set(map),
    new ArrayBuffer(10),
    new DataView(new ArrayBuffer(10)),
    new Error("x"),
    [map],
    { map },
  ])
    assert.equal(callBytes("t.read", [value], undefined), Number.POSITIVE_INFINITY);
});
