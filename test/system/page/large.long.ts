// Much data in a browser: ten thousand rows, and a log of a hundred megabytes. Nothing keeps the page from drawing.
import assert from "node:assert/strict";
import { suite, type TestContext, test } from "node:test";
import type { Page } from "playwright-core";
import { fixtures } from "../../../src/testing/index.ts";
import { noBrowser, openSignedIn } from "./chromium.ts";
import { servePage } from "./pageServer.ts";

/** Records the tasks of more than 50 ms, which browsers report, and the longest time between two frames. */
const recorder = `
  window.longTasks = [];
  window.frames = { longestMs: 0, count: 0 };
  new PerformanceObserver((list) => window.longTasks.push(...list.getEntries().map(({ duration }) => duration)))
    .observe({ type: "longtask", buffered: false });
  let before = performance.now();
  const look = (now) => {
    window.frames.longestMs = Math.max(window.frames.longestMs, now - before);
    window.frames.count++;
    before = now;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);`;

interface Recorded {
  readonly longTasks: readonly number[];
  readonly longestMs: number;
  readonly frames: number;
}

async function recorded(page: Page, t: TestContext, what: string): Promise<Recorded> {
  const found = await page.evaluate<Recorded>(
    "({ longTasks: window.longTasks, longestMs: window.frames.longestMs, frames: window.frames.count })",
  );
  const longest = Math.max(0, ...found.longTasks);
  t.diagnostic(
    `${what}: ${found.longTasks.length} tasks above 50 ms, the longest ${longest.toFixed(0)} ms; ${found.frames} frames, at most ${found.longestMs.toFixed(0)} ms apart`,
  );
  await page.evaluate("window.longTasks = []; window.frames.longestMs = 0; window.frames.count = 0");
  return found;
}

/**
 * The server, the test and the browser share the processors of the machine, so a task may wait for its turn in the middle.
 * On a quiet machine none takes 100 ms; work that does not give way takes seconds.
 */
function assertSmooth({ longTasks }: Recorded): void {
  assert.ok(longTasks.filter((ms) => ms > 500).length === 0, `tasks of ${longTasks.map(Math.round).join(", ")} ms`);
}

suite("much data in the page", { skip: noBrowser, timeout: 400_000 }, () => {
  test("ten thousand rows are scrolled, filtered and followed", async (t) => {
    const { url, admin, store } = await servePage(t, {}, { limits: { queuedCommands: 20_000 } });
    const { session } = await fixtures(store).session();
    for (let from = 0; from < 10_000; from += 500)
      await store.commands.enqueue({
        sessionId: session.id,
        commands: Array.from({ length: 500 }, (_, index) => ({ argv: ["make", `target-${from + index}`] })),
      });
    const { page } = await openSignedIn(t, url, admin, {}, "#/commands");
    await page.getByRole("link", { name: "make target-9999" }).waitFor();
    await page.evaluate(recorder);
    await page.getByRole("link", { name: "make target-9999" }).focus();
    const shown = page.getByRole("heading", { name: "Commands" }).locator("..").getByText("10,000 rows");
    while (!(await shown.isVisible())) await page.keyboard.press("End");
    await page.keyboard.press("End");
    await page.getByRole("link", { name: "make target-0", exact: true }).waitFor();
    assertSmooth(await recorded(page, t, "loading 10 000 rows"));
    assert.ok((await page.getByRole("row").count()) < 60);
    for (let step = 0; step < 60; step++) await page.mouse.wheel(0, step < 30 ? -4_000 : 3_000);
    await page.keyboard.press("Home");
    await page.getByRole("link", { name: "make target-9999" }).waitFor();
    assertSmooth(await recorded(page, t, "scrolling 10 000 rows"));
    await page.getByLabel("Filter commands").fill("target-777");
    await page.getByText("11 rows").waitFor();
    await page.getByLabel("Filter commands").fill("");
    await store.commands.enqueue({ sessionId: session.id, commands: [{ argv: ["make", "last"] }] });
    await page.getByRole("link", { name: "make last" }).waitFor();
    assertSmooth(await recorded(page, t, "filtering and following 10 000 rows"));
  });

  test("a log of 100 MB is loaded, searched, and scrolled from end to end", async (t) => {
    const megabytes = 100;
    const { url, admin, store } = await servePage(t, {}, { limits: { logBytes: 128 * 1024 * 1024 } });
    const { command, fence } = await fixtures(store).claim();
    const lines = Array.from(
      { length: 1_000 },
      (_, index) => `\u001b[3${index % 7}mline\u001b[0m ${index} ${"x".repeat(40 + (index % 20))}\n`,
    );
    const chunk = Buffer.from(lines.slice(0, 900).join(""));
    let offset = 0;
    while (offset < megabytes * 1_000_000) {
      const appends = Array.from({ length: 8 }, (_, index) =>
        store.logs.append({ commandId: command.id, fence, offset: offset + index * chunk.length, data: chunk }),
      );
      await Promise.all(appends);
      offset += 8 * chunk.length;
    }
    await store.logs.append({ commandId: command.id, fence, offset, data: Buffer.from("\nthe needle at the end\n") });
    const { page } = await openSignedIn(t, url, admin, {}, "#/commands");
    await page.evaluate(recorder);
    const startedMs = performance.now();
    await page.evaluate(`location.hash = "#/commands/${command.id}"`);
    const log = page.getByRole("region", { name: "Log" });
    await log.getByText("the needle at the end").waitFor({ timeout: 120_000 });
    t.diagnostic(
      `loaded in ${((performance.now() - startedMs) / 1_000).toFixed(1)} s; ${await page.locator(".log .status").textContent()}`,
    );
    assertSmooth(await recorded(page, t, "loading 100 MB"));
    const searchedMs = performance.now();
    await log.focus();
    await page.keyboard.press("Home");
    await log.getByText("line 0 x").waitFor();
    await page.getByLabel("Search in the log").fill("needle");
    await page.getByText("1 of 1").waitFor({ timeout: 60_000 });
    await log.getByText("the needle at the end").waitFor();
    t.diagnostic(`searched in ${((performance.now() - searchedMs) / 1_000).toFixed(1)} s`);
    assertSmooth(await recorded(page, t, "searching 100 MB"));
    await page.getByLabel("Search in the log").fill("");
    await log.hover();
    for (let step = 0; step < 100; step++) await page.mouse.wheel(0, -700);
    await page.waitForTimeout(300);
    // A wheel moves by pixels, however long the log is, and the scroll bar settles without moving the lines.
    const numbers = async () => Number((await log.locator(".line").nth(30).textContent())?.split(" ")[1]);
    const before = await numbers();
    await page.mouse.wheel(0, 100);
    await page.waitForTimeout(400);
    assert.equal(((await numbers()) - before + 900) % 900, 5);
    assert.ok((await log.locator(".line").count()) < 120);
    assertSmooth(await recorded(page, t, "scrolling 100 MB"));
    // Near an end, a key gets exactly there.
    await log.focus();
    await page.keyboard.press("Home");
    await log.getByText("line 0 x").waitFor();
    await page.keyboard.press("PageDown");
    await page.keyboard.press("PageDown");
    await page.keyboard.press("Home");
    await log.getByText("line 0 x").waitFor();
    await page.keyboard.press("End");
    await log.getByText("the needle at the end").waitFor();
    await page.keyboard.press("PageUp");
    await page.getByRole("button", { name: "Jump to end" }).click();
    await log.getByText("the needle at the end").waitFor();
    await log.focus();
    await page.keyboard.press("Home");
    await log.getByText("line 0 x").waitFor();
    // Keys that follow each other faster than a browser would move end where the last one leads.
    for (let round = 0; round < 10; round++) {
      for (const key of ["Home", "PageDown", "PageDown", "Home", "End"]) await page.keyboard.press(key);
      await log.getByText("the needle at the end").waitFor();
      await page.keyboard.press("ArrowUp");
      await page.keyboard.press("ArrowUp");
      await page.keyboard.press("End");
      await log.getByText("the needle at the end").waitFor();
    }
  });
});
