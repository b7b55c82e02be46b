// The page in a browser: signing in, every list and every row, the keyboard, and both widths.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { suite, type TestContext, test } from "node:test";
import type { Page } from "playwright-core";
import { nodeHandler, storeHandler } from "../../../src/http/index.ts";
import { noBrowser, openSignedIn, openTab } from "./chromium.ts";
import { servePage } from "./pageServer.ts";
import { type FilledStore, fill } from "./pageStore.ts";

async function filled(t: TestContext) {
  const server = await servePage(t);
  return { ...server, made: await fill(server.store) };
}

/** The addresses of all views, with a text that each of them shows. */
function viewsOf(made: FilledStore): readonly (readonly [hash: string, text: string])[] {
  return [
    ["#/sessions", "4be1f0c93a"],
    ["#/commands", "npm run lint"],
    ["#/worktrees", "quarantined"],
    ["#/runners", "node-a.example"],
    ["#/debug", "main"],
    ["#/tokens", "bootstrap"],
    ["#/changes", "worktree: quarantine"],
    ["#/health", "Queue depth"],
    [`#/sessions/${made.sessionId}`, "divides numbers"],
    [`#/sessions/${made.sessionId}/commands`, "npm run build"],
    [`#/sessions/${made.sessionId}/debug`, "main"],
    [`#/sessions/${made.sessionId}/artifacts`, "report.xml"],
    [`#/sessions/${made.sessionId}/changes`, "debug session: "],
    [`#/commands/${made.commandId}`, "ELIFECYCLE"],
    [`#/commands/${made.commandId}/attempts`, "Attempt 1"],
    [`#/worktrees/${made.worktreeId}`, "Fencing token"],
    [`#/runners/${made.runnerId}`, "npm test"],
    [`#/debug/${made.debugSessionId}`, "Stopped by breakpoint at /srv/main.js:3:1"],
    [`#/tokens/${made.tokenId}`, "logs:read"],
    ["#/changes/3", "Change 3"],
    ["#/sessions/nothing", "Not found"],
    ["#/nothing", "Not found"],
  ];
}

const focused = (page: Page) => page.evaluate<string>("document.activeElement.textContent");

suite("page", { skip: noBrowser, timeout: 240_000 }, () => {
  test("a token is asked for, refused when it is wrong, kept for the tab, and forgotten", async (t) => {
    const { url, admin } = await filled(t);
    const { page } = await openTab(t);
    await page.goto(`${url}/`);
    await page.getByLabel("Token").fill("dsp_wrong");
    await page.getByLabel("Token").press("Enter");
    await page.getByRole("alert").filter({ hasText: "refused" }).waitFor();
    await page.getByLabel("Token").fill(` ${admin}\n`);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("heading", { name: "Sessions" }).waitFor();
    await page.reload();
    await page.getByRole("link", { name: /4be1f0c93a/ }).waitFor();
    assert.equal(await page.evaluate<string>("document.cookie + localStorage.length + location.search"), "0");
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByLabel("Token").waitFor();
    assert.equal(await page.evaluate<number>("sessionStorage.length"), 0);
  });

  test("a token that is revoked while the page is open leads back to the question", async (t) => {
    const { url, store, made } = await filled(t);
    const { account } = { account: await store.accounts.create({ name: "grace", kind: "human" }) };
    const issuer = (await store.tokens.list()).items[0]?.id as string;
    const minted = await store.tokens.mint({
      ...{ accountId: account.id, name: "page", createdBy: issuer },
      scopes: ["sessions:read", "changes:read"],
    });
    const { page } = await openSignedIn(t, url, minted.secret as string);
    await page.getByRole("link", { name: /4be1f0c93a/ }).waitFor();
    await store.tokens.revoke({ tokenId: minted.token.id });
    await page.evaluate("sessionStorage.clear()");
    // The page may have found out by itself by now, and have no link any more.
    await page.evaluate(`location.hash = "#/sessions/${made.sessionId}"`);
    await page.getByRole("alert").filter({ hasText: "refused" }).waitFor();
  });

  test("a token sees what its scopes cover", async (t) => {
    const { url, tokenWith, made } = await filled(t);
    const { page } = await openSignedIn(t, url, await tokenWith("sessions:read", "logs:read"));
    await page.getByRole("link", { name: /4be1f0c93a/ }).waitFor();
    assert.deepEqual(await page.getByRole("navigation").getByRole("link").allTextContents(), ["Sessions", "Health"]);
    await page.getByText("Every 5 s").waitFor();
    await page.goto(`${url}/#/sessions/${made.sessionId}`);
    await page.getByText("divides numbers").waitFor();
    assert.equal(await page.getByRole("button", { name: "Cancel session" }).count(), 0);
    await page.goto(`${url}/#/tokens`);
    await page.getByText("needs a token with the scope tokens:read").waitFor();
    await page.goto(`${url}/#/health`);
    await page.getByText("need a token with the scope admin").waitFor();
    await page.getByRole("figure").filter({ hasText: "Round trips" }).waitFor();
  });

  for (const [width, height] of [
    [1440, 900],
    [375, 720],
  ] as const)
    test(`every view shows its rows at ${width} pixels, dark and light, and none is wider than the screen`, async (t) => {
      const { url, admin, made } = await filled(t);
      for (const colorScheme of ["dark", "light"] as const) {
        const { page } = await openSignedIn(t, url, admin, { viewport: { width, height }, colorScheme });
        for (const [hash, text] of viewsOf(made)) {
          await page.evaluate(`location.hash = ${JSON.stringify(hash)}`);
          await page.locator("main").filter({ hasText: text }).waitFor();
          const over = "document.documentElement.scrollWidth - innerWidth";
          assert.ok((await page.evaluate<number>(over)) <= 0, `${hash} at ${width}`);
          assert.equal(await page.evaluate<number>(unnamed), 0, `${hash}: what has no name for a screen reader`);
          // A row that is opened by its address is in the list of its kind.
          const current = page.locator("header nav a[aria-current]");
          if ((await current.count()) === 0) continue;
          const box = await current.boundingBox();
          assert.ok(
            box !== null && box.x >= 0 && box.x + box.width <= width,
            `${hash} at ${width}: its place is in view`,
          );
        }
      }
    });

  test("a list is filtered by state and by text, and follows what changes", async (t) => {
    const { url, admin, store, made } = await filled(t);
    const { page } = await openSignedIn(t, url, admin, {}, "#/sessions");
    const rows = page.getByRole("row");
    await page.getByText("4 rows").waitFor();
    await page.getByLabel("State").selectOption("running");
    await page.getByText("1 row", { exact: true }).waitFor();
    await page.getByLabel("State").selectOption("");
    await page.getByLabel("Filter sessions").fill("GRACE");
    await page.getByText("2 rows").waitFor();
    await page.getByLabel("Filter sessions").fill("");
    await store.sessions.cancel({ sessionId: made.sessionId });
    await rows.filter({ hasText: "4be1f0c93a" }).getByText("cancelling").waitFor();
    const { repositoryId } = await store.sessions.get({ sessionId: made.sessionId });
    await store.sessions.create({ repositoryId, commitSha: "f".repeat(40) });
    await rows.filter({ hasText: "ffffffffff" }).waitFor();
    assert.match((await rows.nth(1).textContent()) ?? "", /^ffffffffff/);
    await page.goto(`${url}/#/changes`);
    await rows.nth(1).filter({ hasText: "session: create" }).waitFor();
    await store.repositories.upsert({ name: "another" });
    await rows.nth(1).filter({ hasText: "repository: create" }).waitFor();
  });

  test("a debug session is live: it goes on, and stops elsewhere", async (t) => {
    const { url, admin, store, made } = await filled(t);
    const { debugSessionId } = made;
    const { page } = await openSignedIn(t, url, admin, {}, `#/debug/${debugSessionId}`);
    await page.getByText("Stopped by breakpoint at").waitFor();
    await page.getByRole("listitem").filter({ hasText: "x" }).filter({ hasText: "number" }).first().waitFor();
    await page.getByRole("img", { name: "bound" }).waitFor();
    const { adapterRun } = (await store.debug.get({ debugSessionId })).debugSession;
    const adapter = { debugSessionId, adapterRun };
    await store.debug.applyEvent({ ...adapter, seq: 3, event: "continued", body: { threadId: 1 } });
    await page.getByText("No frames: it is not stopped").waitFor();
    const body = { reason: "step", threadId: 1 };
    const { stopEpoch } = await store.debug.applyEvent({ ...adapter, seq: 4, event: "stopped", body });
    const variables = [
      {
        name: "list",
        value: "Array(2)",
        variablesReference: 2,
        variables: [{ name: "0", value: "7", variablesReference: 0 }],
      },
    ];
    const scopes = [{ name: "Locals", variablesReference: 1, expensive: false, variables }];
    const source = { path: "/srv/other.js" };
    const frames = [
      { id: 1, name: "inner", source, line: 8, column: 5, scopes },
      { id: 2, name: "outer", source, line: 20, column: 1 },
    ];
    await store.debug.putStop({ ...adapter, stopEpoch, threads: [{ id: 1, name: "main", frames }] });
    await page.getByText("Stopped by step at").waitFor();
    await page.getByText("Array(2)").click();
    await page.getByText("7", { exact: true }).waitFor();
    await page.getByRole("button", { name: /outer/ }).click();
    await page.getByText("None were stored for this frame").waitFor();
    await store.debug.close({ debugSessionId });
    await page.getByRole("heading", { name: "Debug session main" }).locator("..").getByText("terminated").waitFor();
    // What it showed at its last stop, and at those before, can still be read.
    await page.getByText("An earlier stop at /srv/other.js:8:5").waitFor();
    await page.getByLabel("Stop", { exact: true }).selectOption({ label: "Stop 1" });
    await page.getByText("An earlier stop at /srv/main.js:3:1").waitFor();
    await page.getByLabel("Stop", { exact: true }).selectOption({ label: "Now" });
    await page.getByText("No frames: it is not stopped").waitFor();
  });

  test("a debug session shows its threads: those that are stopped with their frames, and those that run", async (t) => {
    const { url, admin, store, made } = await filled(t);
    const { debugSessionId } = made;
    const { page } = await openSignedIn(t, url, admin, {}, `#/debug/${debugSessionId}`);
    const threads = page.getByRole("heading", { name: "Threads" }).locator("../..");
    await threads.getByRole("heading", { name: "main breakpoint" }).waitFor();
    const { adapterRun } = (await store.debug.get({ debugSessionId })).debugSession;
    const adapter = { debugSessionId, adapterRun };
    const event = (name: string, body: Record<string, unknown>) =>
      store.debug.applyEvent({ ...adapter, seq: 0, event: name, body });
    await event("thread", { reason: "started", threadId: 3 });
    const { stopEpoch } = await event("stopped", { reason: "pause", threadId: 2 });
    await threads.getByRole("heading", { name: "Thread 2 pause · frames not read yet" }).waitFor();
    const scopes = [
      {
        ...{ name: "Locals", variablesReference: 1, expensive: false },
        variables: [{ name: "mine", value: "77", variablesReference: 0 }],
      },
    ];
    const frames = [{ id: 5, name: "inSecond", source: { path: "/srv/two.c" }, line: 9, column: 1, scopes }];
    await store.debug.putStop({ ...adapter, stopEpoch, threads: [{ id: 2, name: "second", frames }] });
    // The thread in focus is first, and the other one still has its frames and variables.
    await threads.getByRole("heading", { name: "second pause" }).waitFor();
    const headings = () =>
      page.evaluate<string>("[...document.querySelectorAll('.thread h3')].map((h) => h.textContent).join()");
    assert.equal(await headings(), "second pause,main breakpoint,Running");
    await page.getByText("77", { exact: true }).waitFor();
    await threads.getByRole("button", { name: /main \/srv\/main.js:3/ }).click();
    await page.getByRole("listitem").filter({ hasText: "x" }).filter({ hasText: "number" }).first().waitFor();
    // The frame that was chosen stays chosen while another thread is marked, and goes on.
    await event("invalidated", { areas: ["variables"], threadId: 2 });
    await threads.getByRole("heading", { name: "second pause · variables out of date" }).waitFor();
    await event("invalidated", { stackFrameId: 5 });
    await threads.getByText("out of date", { exact: true }).waitFor();
    assert.equal(await threads.getByRole("button", { pressed: true }).textContent(), "main/srv/main.js:3:1");
    await event("continued", { threadId: 2, allThreadsContinued: false });
    await page.getByText("Stopped by breakpoint at /srv/main.js:3:1").waitFor();
    assert.equal(await headings(), "main breakpoint,Running");
    assert.deepEqual(await threads.getByRole("list").last().getByRole("listitem").allTextContents(), [
      "second",
      "Thread 3",
    ]);
    // A breakpoint of the debugger itself is told from one that a person has set.
    const breakpoint = { id: 9, verified: true, line: 4, source: { path: "/srv/main.js" } };
    await event("breakpoint", { reason: "new", breakpoint });
    await page.getByText("by the debugger").waitFor();
    // It goes on after the end, until the debug session is closed.
    await event("terminated", {});
    await page.getByRole("heading", { name: "Debug session main" }).locator("..").getByText("terminated").waitFor();
    await event("output", { output: "the last words" });
    await page.getByText("the last words").waitFor();
  });

  test("below a prefix, the page finds its server", async (t) => {
    const { store, admin, made } = await filled(t);
    const handler = nodeHandler(storeHandler(store, { page: true }));
    const server = createServer((incoming, outgoing) => {
      const path = /^\/tools\/store(\/.*)$/.exec(incoming.url ?? "")?.[1];
      if (path === undefined) return void outgoing.writeHead(404).end();
      incoming.url = path;
      void handler(incoming, outgoing);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/tools/store`;
    const { page } = await openSignedIn(t, url, admin, {}, `#/sessions/${made.sessionId}`);
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    await page.getByText("divides numbers").waitFor();
    await page.getByRole("link", { name: "Runners" }).click();
    await page.getByText("node-a.example").waitFor();
    await page.getByText("Live", { exact: true }).waitFor();
  });

  test("the keyboard reaches everything: rows by arrows, a row by Enter, the heading behind it, back", async (t) => {
    const { url, admin } = await filled(t);
    const { page } = await openSignedIn(t, url, admin, {}, "#/commands");
    await page.getByRole("link", { name: "npm test" }).waitFor();
    await page.keyboard.press("Tab");
    assert.equal(await focused(page), "Skip to content");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Tab");
    assert.equal(await focused(page), "true");
    await page.keyboard.press("End");
    assert.equal(await focused(page), "npm test");
    await page.keyboard.press("ArrowUp");
    assert.equal(await focused(page), "npm run lint");
    await page.keyboard.press("Enter");
    await page.getByText("Checked 214 files").waitFor();
    assert.equal(await focused(page), "npm run lint");
    await page.goBack();
    await page.getByRole("heading", { name: "Commands" }).waitFor();
    assert.equal(await focused(page), "Commands");
  });
});

/** Counts the elements that can be used and have no name. */
const unnamed = `[...document.querySelectorAll("a, button, input, select, [role=img], [tabindex='0']")].filter((element) =>
  !(element.textContent.trim() || element.getAttribute("aria-label") || element.labels?.length)).length`;
