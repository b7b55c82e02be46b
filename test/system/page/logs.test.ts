// Logs in a browser: live, with colors, search and their end; and output that tries to be more than text.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { Page } from "playwright-core";
import { fixtures } from "../../../src/testing/index.ts";
import { noBrowser, openSignedIn } from "./chromium.ts";
import { servePage } from "./pageServer.ts";
import { fill } from "./pageStore.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const log = (page: Page) => page.getByRole("region", { name: "Log" });
const colorOf = (page: Page, text: string) =>
  page.evaluate<string>(`getComputedStyle([...document.querySelectorAll(".line span")].find(
    (element) => element.textContent === ${JSON.stringify(text)})).color`);

/** Output that does harm where text becomes markup, where a terminal obeys, or where lines have no end. */
export const hostile = [
  `<script>window.harmed = 1</script><img src=x onerror="window.harmed = 1"><svg onload=window.harmed=1>`,
  `<a href="javascript:window.harmed=1">link</a> &lt;b&gt; \${window.harmed = 1}`,
  "\u001b]0;title\u0007\u001b]8;;javascript:window.harmed=1\u001b\\click\u001b]8;;\u001b\\ after the link",
  "\u001b]52;c;aGFybQ==\u0007\u001bP+q544e\u001b\\\u001b[2J\u001b[1;1H\u001b[?1049hbehind the controls",
  "\u001b[38;2;999;-1;url(http://evil.example)mstrange color\u001b[0m",
  "\u001b[31",
  "\u001b]unfinished",
  "file\u202efdp.exe \u2066isolated \u200fmarks",
  "zero\u0000one\u0007two\u009b31mthree",
  "💥".repeat(3_000),
  `${"long ".repeat(40_000)}end of the long line`,
].join("\n");

suite("logs in the page", { skip: noBrowser, timeout: 240_000 }, () => {
  test("the log of a command is live, in color, and ends with the command", async (t) => {
    const { url, admin, store } = await servePage(t);
    const made = await fill(store);
    const { page } = await openSignedIn(t, url, admin, {}, `#/commands/${made.runningCommandId}`);
    await log(page).getByText("building …").waitFor();
    await page.getByText("1 line · 13 B · live").waitFor();
    const running = { commandId: made.runningCommandId, fence: made.runningFence };
    const { ackOffset } = await store.logs.append({
      ...running,
      offset: 13,
      data: bytes("\u001b[31mred\u001b[0m plain \u001b[1;32mgreen\nstill green\u001b[0m\n50 %\r100 %\nhalf a "),
    });
    await log(page).getByText("still green").waitFor();
    assert.equal(await colorOf(page, "red"), "rgb(179, 38, 30)");
    assert.equal(await colorOf(page, "still green"), "rgb(17, 111, 56)");
    assert.equal(await log(page).getByText("50 %").count(), 0);
    await store.logs.append({ ...running, offset: ackOffset, data: bytes("line\n") });
    await log(page).getByText("half a line").waitFor();
    await store.commands.finish({ ...running, outcome: "succeeded", exitCode: 0 });
    await page.getByText(/ · complete$/).waitFor();
    await page.locator("h1 + span").getByText("succeeded").waitFor();
  });

  test("the log of a session has its commands, their ends and its marks", async (t) => {
    const { url, admin, store } = await servePage(t);
    const made = await fill(store);
    const { page } = await openSignedIn(t, url, admin, {}, `#/sessions/${made.sessionId}`);
    for (const text of [
      "▶ npm test on build-1",
      "● checkout: weather at 4be1f0c93a",
      "npm test: failed, exit code 1",
      "▶ npm run build -- '--target=it'\\''s here' on build-1",
    ])
      await log(page).getByText(text).waitFor();
    const mark = { sessionId: made.sessionId, phase: "upload" };
    await store.logs.mark(mark);
    await log(page).getByText("● upload").waitFor();
  });

  test("search finds text across colors, goes from match to match, and finds what arrives later", async (t) => {
    const { url, admin, store } = await servePage(t);
    const lines = Array.from(
      { length: 5_000 },
      (_, index) => `line ${index}${index % 1_000 === 7 ? " nee\u001b[31mDLE\u001b[0m" : ""}\n`,
    );
    const { command, fence, nextOffset } = await fixtures(store).log(lines.slice(0, 2_500).join(""));
    const { page } = await openSignedIn(t, url, admin, {}, `#/commands/${command.id}`);
    await page.getByText("2,500 lines").waitFor();
    // It is at the end, where it stays.
    await log(page).getByText("line 2499", { exact: true }).waitFor();
    const search = page.getByLabel("Search in the log");
    await search.fill("needle");
    await page.getByText("1 of 3").waitFor();
    await log(page).getByText("line 7 nee").waitFor();
    await search.press("Enter");
    await page.getByText("2 of 3").waitFor();
    await log(page).getByText("line 1007 nee").waitFor();
    await page.getByRole("button", { name: "Previous match" }).click();
    await page.getByText("1 of 3").waitFor();
    await store.logs.append({
      commandId: command.id,
      fence,
      offset: nextOffset,
      data: bytes(lines.slice(2_500).join("")),
    });
    await page.getByText("1 of 5").waitFor();
    // A reader who looks at something is left there.
    assert.equal(await log(page).getByText("line 7 nee").count(), 1);
    await page.getByRole("button", { name: "Jump to end" }).click();
    await log(page).getByText("line 4999", { exact: true }).waitFor();
    await search.fill("nothing like it");
    await page.getByText("No match").waitFor();
    await log(page).focus();
    await page.keyboard.press("Home");
    await log(page).getByText("line 0", { exact: true }).waitFor();
  });

  test("what a program printed is text, whatever it looks like, in logs and in names", async (t) => {
    const { url, admin, store } = await servePage(t);
    const make = fixtures(store);
    const { claim, command, fence, session } = await make.claim({
      argv: ["echo", "<img src=x onerror=alert(1)>", "a\u202eb"],
    });
    const output = bytes(hostile);
    for (let offset = 0; offset < output.length; offset += 60_000)
      await store.logs.append({ commandId: command.id, fence, offset, data: output.subarray(offset, offset + 60_000) });
    await store.logs.mark({ sessionId: session.id, phase: "<b>bold</b>", text: "\u001b[31mred\u202e" });
    await make.debugStop({ sessionId: session.id, name: "<script>alert(1)</script>" });
    assert.equal(claim.command.id, command.id);
    for (const hash of [
      `#/commands/${command.id}`,
      `#/sessions/${session.id}`,
      `#/sessions/${session.id}/debug`,
      "#/commands",
      "#/changes",
    ]) {
      const { page } = await openSignedIn(t, url, admin, {}, hash);
      await page
        .getByText(hash === "#/changes" ? "command: claim" : /onerror|script>|end of the long line/)
        .first()
        .waitFor();
      if (hash.startsWith("#/commands/")) {
        await log(page).getByText("end of the long line").waitFor();
        await log(page).focus();
        await page.keyboard.press("Home");
        await log(page).getByText("<script>window.harmed = 1</script>").waitFor();
        await log(page).getByText("click after the link").waitFor();
        await log(page).getByText("behind the controls").waitFor();
        await log(page).getByText("file\ufffdfdp.exe").waitFor();
        assert.equal(await log(page).locator("a, img, svg, script").count(), 0);
        const width = "Math.max(...[...document.querySelectorAll('.line')].map((line) => line.textContent.length))";
        assert.ok((await page.evaluate<number>(width)) <= 2_000);
      }
      assert.equal(await page.evaluate("window.harmed"), undefined);
      assert.equal(await page.locator("main script, main img").count(), 0);
    }
  });

  test("a log is saved as its bytes", async (t) => {
    const { url, admin, store } = await servePage(t);
    const { command } = await fixtures(store).log("caf\u00e9 \u001b[31mred\u001b[0m\n");
    const { page } = await openSignedIn(t, url, admin, {}, `#/commands/${command.id}`);
    await log(page).getByText("red").waitFor();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: "Save" }).click(),
    ]);
    assert.equal(download.suggestedFilename(), `command-${command.id.slice(-8)}.log`);
    const parts: Buffer[] = [];
    for await (const part of await download.createReadStream()) parts.push(part as Buffer);
    assert.equal(Buffer.concat(parts).toString(), "caf\u00e9 \u001b[31mred\u001b[0m\n");
  });
});
