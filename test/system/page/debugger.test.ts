// A person steps, pauses and evaluates in the page, while this process plays the bridge; the history is live.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { OwnedStore, TakenRequest } from "../../../src/index.ts";
import { noBrowser, openSignedIn } from "./chromium.ts";
import { servePage } from "./pageServer.ts";
import { fill } from "./pageStore.ts";

/** The bridge of the debug session that `fill` has made. */
function bridgeOf(store: OwnedStore, debugSessionId: string) {
  const adapter = { debugSessionId, adapterRun: 1 };
  let seq = 2;
  return {
    async take(): Promise<TakenRequest> {
      const { requests } = await store.debug.takeRequests({ ...adapter, limit: 1, waitMs: 60_000 });
      return requests[0] ?? assert.fail("no request has come");
    },
    reply: (request: TakenRequest, answer: object) =>
      store.debug.reply({ ...adapter, request, ...answer }, { actor: "bridge" }),
    async stopAt(line: number): Promise<void> {
      const body = { reason: "step", threadId: 1 };
      const { stopEpoch } = await store.debug.applyEvent({ ...adapter, seq: ++seq, event: "stopped", body });
      const frames = [{ id: 7, name: "main", source: { path: "/srv/main.js" }, line, column: 1 }];
      await store.debug.putStop({ ...adapter, stopEpoch, threads: [{ id: 1, name: "main", frames }] });
    },
    run: () => store.debug.applyEvent({ ...adapter, seq: ++seq, event: "continued", body: { threadId: 1 } }),
  };
}

suite("debuggers in the page", { skip: noBrowser, timeout: 240_000 }, () => {
  test("a person steps, evaluates and pauses, and sees who has asked what", async (t) => {
    const { url, store, tokenWith } = await servePage(t);
    const { debugSessionId } = await fill(store);
    const bridge = bridgeOf(store, debugSessionId);
    const token = await tokenWith("debug:read", "debug:write", "changes:read", "sessions:read");
    const { page } = await openSignedIn(t, url, token, {}, `#/debug/${debugSessionId}`);
    await page.getByText("Stopped by breakpoint at /srv/main.js:3:1").waitFor();

    await page.getByRole("button", { name: "Step over" }).click();
    const step = await bridge.take();
    assert.deepEqual([step.command, step.stopEpoch, step.arguments], ["next", 1, { threadId: 1 }]);
    await bridge.reply(step, { body: {} });
    await page.locator(".position").getByText("Running").waitFor();
    await bridge.stopAt(4);
    await page.getByText("Stopped by step at /srv/main.js:4:1").waitFor();
    // The button has kept the focus, so that Enter steps again.
    await page.keyboard.press("Enter");
    const again = await bridge.take();
    assert.deepEqual([again.command, again.stopEpoch], ["next", 3]);
    await bridge.reply(again, { success: false, message: "it cannot step here" });
    await page.getByText("Step over: it cannot step here").waitFor();

    await page.getByLabel("Expression", { exact: true }).fill("n * 2");
    await page.keyboard.press("Enter");
    const evaluate = await bridge.take();
    assert.deepEqual(evaluate.arguments, { expression: "n * 2", context: "repl", frameId: 7 });
    await bridge.reply(evaluate, { body: { result: "<b>42</b>", variablesReference: 0 } });
    await page.locator(".answer").getByText("n * 2 → <b>42</b>").waitFor();
    await page.getByLabel("Expression", { exact: true }).fill("x");
    await page.getByRole("button", { name: "Evaluate" }).click();
    await bridge.reply(await bridge.take(), { success: false, message: "x is not defined" });
    await page.locator(".answer.is-refused").getByText("x is not defined").waitFor();

    await bridge.run();
    await page.locator(".position").getByText("Running").waitFor();
    const off = page.locator(".moves button[aria-disabled=true]");
    assert.deepEqual(await off.allTextContents(), ["Continue", "Step over", "Step in", "Step out"]);
    await page.getByRole("button", { name: "Pause" }).click();
    const pause = await bridge.take();
    assert.deepEqual([pause.command, pause.stopEpoch], ["pause", null]);
    await bridge.reply(pause, { body: {} });

    const history = page.getByRole("list", { name: "History, the last entry first" }).getByRole("listitem");
    await history.first().filter({ hasText: "pause answered" }).filter({ hasText: "bridge" }).waitFor();
    const { entries } = await store.debug.history({ debugSessionId, limit: 500 });
    const asked = entries.find(({ kind }) => kind === "asked");
    await history
      .filter({ hasText: "next asked" })
      .filter({ hasText: asked?.actor ?? "?" })
      .first()
      .waitFor();
    // Somebody else asks, and the page shows it.
    await store.debug.request({ debugSessionId, command: "threads", wait: false }, { actor: "grace" });
    await history.first().filter({ hasText: "threads asked" }).filter({ hasText: "grace" }).waitFor();
    await store.debug.close({ debugSessionId });
    await history.first().filter({ hasText: "threads failed" }).waitFor();
    await page.getByRole("button", { name: "Pause" }).waitFor({ state: "hidden" });
  });

  test("who may only look sees the history, and nothing to ask", async (t) => {
    const { url, store, tokenWith } = await servePage(t);
    const { debugSessionId } = await fill(store);
    const token = await tokenWith("debug:read", "changes:read");
    const { page } = await openSignedIn(t, url, token, {}, `#/debug/${debugSessionId}`);
    await page.getByText("Stopped by breakpoint at").waitFor();
    await page.getByRole("list", { name: "History, the last entry first" }).getByText("opened").waitFor();
    assert.equal(await page.getByRole("button", { name: "Continue" }).isVisible(), false);
  });
});
