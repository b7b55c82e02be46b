// A function of the user is waited for, but not for ever once its work has to stop.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { callHook } from "../../../src/runner/callHook.ts";

const never = () => new Promise<never>(() => undefined);

suite("callHook", { concurrency: true }, () => {
  test("its result and its failure are passed on", async () => {
    const limits = { signal: new AbortController().signal };
    assert.equal(await callHook("it", () => 7, limits), 7);
    await assert.rejects(
      callHook("it", () => Promise.reject(new Error("mine")), limits),
      /^Error: mine$/,
    );
    const broken = (): number => {
      throw new Error("at once");
    };
    await assert.rejects(callHook("it", broken, limits), /^Error: at once$/);
  });

  test("one that ends within the time after its signal is waited for", async () => {
    const stop = new AbortController();
    const slow = Promise.withResolvers<string>();
    const result = callHook("it", () => slow.promise, { signal: stop.signal, graceMs: 60_000 });
    stop.abort();
    slow.resolve("cleaned up");
    assert.equal(await result, "cleaned up");
  });

  test("one that ignores its signal is not waited for, also if it fired before the call", async () => {
    const refused = { name: "HookAbandoned", message: "it was not waited for: it went on for 20 ms after its signal" };
    const stop = new AbortController();
    const result = callHook("it", never, { signal: stop.signal, graceMs: 20 });
    stop.abort();
    await assert.rejects(result, refused);
    await assert.rejects(callHook("it", never, { signal: AbortSignal.abort(), graceMs: 20 }), refused);
  });

  test("when the lease is lost, nothing is waited for", async () => {
    const lost = new AbortController();
    const { signal } = new AbortController();
    const result = callHook("it", never, { signal, lost: lost.signal, graceMs: 60_000 });
    lost.abort();
    await assert.rejects(result, { name: "HookAbandoned", message: /when the lease was lost/ });
  });
});
