// The actions of the page: each is confirmed, can be called off, and shows why it was refused.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import type { Page } from "playwright-core";
import { noBrowser, openSignedIn } from "./chromium.ts";
import { servePage } from "./pageServer.ts";
import { fill } from "./pageStore.ts";

/** Opens the question of an action, and confirms it. */
async function confirm(page: Page, label: string): Promise<void> {
  await page.locator(".actions").getByRole("button", { name: label }).click();
  await page.getByRole("dialog").getByRole("button", { name: label }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
}

const stateMark = (page: Page, state: string) => page.locator(".heading .state").getByText(state).waitFor();

suite("actions of the page", { skip: noBrowser, timeout: 240_000 }, () => {
  test("a session and a command are cancelled, by force if that is chosen", async (t) => {
    const { url, admin, store } = await servePage(t);
    const made = await fill(store);
    const { page } = await openSignedIn(t, url, admin, {}, `#/commands/${made.runningCommandId}`);
    const button = page.getByRole("button", { name: "Cancel command" });
    await button.click();
    assert.equal(await page.evaluate("document.activeElement.textContent"), "Back");
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    assert.equal(await page.evaluate("document.activeElement.textContent"), "Cancel command");
    assert.equal((await store.commands.get({ commandId: made.runningCommandId })).state, "running");
    await button.click();
    await page.getByRole("button", { name: "Back" }).click();
    assert.equal((await store.commands.get({ commandId: made.runningCommandId })).state, "running");
    await confirm(page, "Cancel command");
    await stateMark(page, "cancelling");
    await page.getByText("The command is cancelled").waitFor();
    await page.goto(`${url}/#/sessions/${made.sessionId}`);
    await page.getByRole("button", { name: "Cancel session" }).click();
    await page.getByLabel("Reason (optional)").fill("not needed");
    await page.getByLabel(/By force/).check();
    await page.getByRole("dialog").getByRole("button", { name: "Cancel session" }).click();
    await stateMark(page, "cancelled");
    assert.equal((await store.sessions.get({ sessionId: made.sessionId })).endReason, "not needed");
    await page.getByRole("button", { name: "Cancel session" }).waitFor({ state: "detached" });
  });

  test("a worktree is released, restored, evicted and removed", async (t) => {
    const { url, admin, store } = await servePage(t);
    const made = await fill(store);
    const { page } = await openSignedIn(t, url, admin, {}, `#/worktrees/${made.worktreeId}`);
    await page.getByRole("button", { name: "Release worktree" }).click();
    await page.getByLabel("Then it is").selectOption("keep");
    await page.getByRole("dialog").getByRole("button", { name: "Release worktree" }).click();
    await stateMark(page, "quarantined");
    await confirm(page, "Restore worktree");
    await stateMark(page, "dirty");
    await confirm(page, "Evict worktree");
    await stateMark(page, "evicting");
    assert.equal((await store.worktrees.get({ worktreeId: made.worktreeId })).leaseOwner, "admin");
    await confirm(page, "It is deleted");
    await stateMark(page, "removed");
    assert.equal(await page.locator(".actions button").count(), 0);
  });

  test("a runner is drained, and a token revoked", async (t) => {
    const { url, admin, store } = await servePage(t);
    const made = await fill(store);
    const { page } = await openSignedIn(t, url, admin, {}, `#/runners/${made.runnerId}`);
    await confirm(page, "Drain runner");
    await stateMark(page, "draining");
    await page.goto(`${url}/#/tokens/${made.tokenId}`);
    await confirm(page, "Revoke token");
    await stateMark(page, "revoked");
    assert.notEqual((await store.tokens.list()).items.find(({ id }) => id === made.tokenId)?.revokedAt, null);
  });

  test("a refusal is shown in the question, which stays open", async (t) => {
    const { url, admin, store } = await servePage(t);
    const made = await fill(store);
    const { page } = await openSignedIn(t, url, admin, {}, `#/worktrees/${made.quarantinedId}`);
    await page.getByRole("button", { name: "Evict worktree" }).click();
    await store.worktrees.restore({ worktreeId: made.quarantinedId });
    await store.worktrees.evict({
      repositoryId: (await store.worktrees.get({ worktreeId: made.quarantinedId })).repositoryId,
      worktreeId: made.quarantinedId,
      owner: "somebody else",
    });
    await page.getByRole("dialog").getByRole("button", { name: "Evict worktree" }).click();
    await page.getByRole("dialog").getByRole("alert").filter({ hasText: "evicting" }).waitFor();
  });

  test("a token sees no buttons for what it may not do, and revokes only itself without admin", async (t) => {
    const { url, store, tokenWith } = await servePage(t);
    const made = await fill(store);
    const own = await tokenWith(
      "sessions:read",
      "worktrees:read",
      "runners:read",
      "commands:read",
      "tokens:read",
      "tokens:write",
      "changes:read",
    );
    const { page } = await openSignedIn(t, url, own);
    for (const [hash, text] of [
      [`#/sessions/${made.sessionId}`, "Requested by"],
      [`#/worktrees/${made.worktreeId}`, "Fencing token"],
      [`#/runners/${made.runnerId}`, "Heartbeat"],
      [`#/commands/${made.runningCommandId}`, "Attempt"],
      [`#/tokens/${made.tokenId}`, "Scopes"],
    ] as const) {
      await page.evaluate(`location.hash = ${JSON.stringify(hash)}`);
      await page.getByText(text).first().waitFor();
      assert.equal(await page.locator(".actions button").count(), 0, hash);
    }
    const { items } = await store.tokens.list({ order: "desc" });
    await page.goto(`${url}/#/tokens/${items[0]?.id}`);
    await page.evaluate("sessionStorage.clear()");
    await page.getByRole("button", { name: "Revoke token" }).click();
    await page.getByText("you will be signed out").waitFor();
    await page.getByRole("dialog").getByRole("button", { name: "Revoke token" }).click();
    await page.getByLabel("Token").waitFor();
  });
});
