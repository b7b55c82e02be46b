// The page while its server is away: it says so, comes back by itself, and has missed nothing.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { until } from "../faults/until.ts";
import { noBrowser, openSignedIn } from "./chromium.ts";
import { servePage } from "./pageServer.ts";
import { fill } from "./pageStore.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

suite("a server that is away", { skip: noBrowser, timeout: 240_000 }, () => {
  test("a list and a log say that it is away, and go on when it is back", async (t) => {
    const server = await servePage(t);
    const made = await fill(server.store);
    const { page } = await openSignedIn(t, server.url, server.admin, {}, "#/sessions");
    const other = await openSignedIn(t, server.url, server.admin, {}, `#/commands/${made.runningCommandId}`);
    await page.getByText("4 rows").waitFor();
    await page.getByText("Live", { exact: true }).waitFor();
    await other.page.getByText("building …").waitFor();
    await server.stop();
    for (const tab of [page, other.page]) {
      await tab.getByText("The server cannot be reached. Trying again …").waitFor();
      await tab.getByText("No connection").waitFor();
    }
    // What is loaded can still be read.
    assert.equal(await page.locator("main").getByRole("rowheader").count(), 4);
    await server.store.sessions.cancel({ sessionId: made.sessionId });
    const running = { commandId: made.runningCommandId, fence: made.runningFence };
    await server.store.logs.append({ ...running, offset: 13, data: bytes("written meanwhile\n") });
    await server.start();
    await page.getByText("Connected again").waitFor();
    await page.getByText("Live", { exact: true }).waitFor();
    await page.getByRole("row").filter({ hasText: "4be1f0c93a" }).getByText("cancelling").waitFor();
    await other.page.getByText("written meanwhile").waitFor();
    await server.store.logs.append({ ...running, offset: 31, data: bytes("and after\n") });
    await other.page.getByText("and after").waitFor();
    assert.equal(await other.page.getByText("building …").count(), 1);
    await server.store.repositories.upsert({ name: "another" });
  });

  test("a list that is opened while the server is away is read when it is back", async (t) => {
    const server = await servePage(t);
    const { page } = await openSignedIn(t, server.url, server.admin, {}, "#/tokens");
    await page.getByText("1 row", { exact: true }).waitFor();
    await server.stop();
    await page.getByText("No connection").waitFor();
    await page.getByRole("link", { name: "Runners" }).click();
    await page.getByRole("heading", { name: "Runners" }).waitFor();
    await server.start();
    await page.getByText("Nothing here").or(page.getByText("0 rows")).waitFor();
  });

  test("a proxy that answers for a server that is away does not end what the page follows", async (t) => {
    const server = await servePage(t);
    const made = await fill(server.store);
    const { page } = await openSignedIn(t, server.url, server.admin, {}, `#/commands/${made.runningCommandId}`);
    await page.getByText("building …").waitFor();
    await page.route("**/v1/**", (route) =>
      route.fulfill({ status: 502, contentType: "text/html", body: "<h1>Bad gateway</h1>" }),
    );
    await server.stop();
    await server.start();
    await page.getByText("The server cannot be reached. Trying again …").waitFor();
    const running = { commandId: made.runningCommandId, fence: made.runningFence };
    await server.store.logs.append({ ...running, offset: 13, data: bytes("written meanwhile\n") });
    // So does a page that is opened while it is away.
    await page.reload();
    await page.getByText("The server cannot be reached. Trying again …").waitFor();
    await page.unroute("**/v1/**");
    await page.getByText("written meanwhile").waitFor();
    await page.getByText("The server cannot be reached").waitFor({ state: "detached" });
    assert.equal(await page.getByText("building …").count(), 1);
  });

  test("a hidden tab follows nothing, and catches up when it is shown", async (t) => {
    const server = await servePage(t);
    const { page } = await openSignedIn(t, server.url, server.admin, {}, "#/changes");
    const parked = async () => (await server.store.maintenance.stats()).serving.parked;
    await page.getByText("Live", { exact: true }).waitFor();
    await until(async () => (await parked()) === 1);
    const setHidden = (isHidden: boolean) =>
      page.evaluate(`Object.defineProperty(document, "hidden", { configurable: true, value: ${isHidden} });
        document.dispatchEvent(new Event("visibilitychange"));`);
    await setHidden(true);
    await until(async () => (await parked()) === 0);
    await server.store.repositories.upsert({ name: "meanwhile" });
    assert.equal(await page.getByText("repository: create").count(), 0);
    await setHidden(false);
    await page.getByText("repository: create").waitFor();
  });
});
