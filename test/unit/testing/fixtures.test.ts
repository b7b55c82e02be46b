// Fixtures create a valid row of each entity with one call.
import assert from "node:assert/strict";
import { after, it } from "node:test";
import { fixtures, openTestStore } from "../../../src/testing/index.ts";

const store = await openTestStore();
after(() => store.close());
const fixture = fixtures(store);

it("each fixture creates its row and the rows that it depends on", async () => {
  const [{ repository }, { runner }] = await Promise.all([fixture.repository(), fixture.runner()]);
  assert.deepEqual([repository.version, runner.state], [1, "online"]);
  assert.equal((await fixture.lease()).worktree.state, "leased");
  assert.equal((await fixture.worktree()).worktree.state, "idle");
  assert.equal((await fixture.session()).session.state, "pending");
  assert.equal((await fixture.command()).command.state, "queued");
  const { claim, fence, command } = await fixture.claim();
  assert.deepEqual([command.state, fence], ["running", claim.fence]);
  assert.equal((await fixture.debugSession()).debugSession.state, "running");
  const { view } = await fixture.debugStop();
  assert.deepEqual([view.debugSession.state, view.threads.length, view.breakpoints[0]?.hitCount], ["stopped", 1, 1]);
  const log = await fixture.log("text");
  assert.equal((await fixture.account()).account.kind, "human");
  const { token, secret } = await fixture.token();
  assert.equal((await store.tokens.verify({ token: secret })).tokenId, token.id);
  assert.equal((await fixture.artifact()).artifact.state, "ready");
  assert.deepEqual([log.nextOffset, (await store.logs.read({ commandId: log.command.id })).nextOffset], [4, 4]);
});

it("the input of a fixture overrides the fields of its row", async () => {
  const { repository } = await fixture.repository({ description: "d", maxWorktrees: 2 });
  assert.deepEqual([repository.description, repository.maxWorktrees], ["d", 2]);
  const { session } = await fixture.session({ repositoryId: repository.id, maxParallel: 3 });
  assert.deepEqual([session.repositoryId, session.maxParallel], [repository.id, 3]);
  const { command } = await fixture.command({ sessionId: session.id, argv: ["x"], priority: 4 });
  assert.deepEqual([command.sessionId, command.argv, command.priority], [session.id, ["x"], 4]);
  const { lease } = await fixture.lease({ repositoryId: repository.id, owner: "me", ttlMs: 5_000 });
  assert.deepEqual([lease.worktree.repositoryId, lease.worktree.leaseOwner], [repository.id, "me"]);
  const { account } = await fixture.account({ kind: "runner" });
  const { token } = await fixture.token({ accountId: account.id, kind: "runner", scopes: ["debug:read"] });
  assert.deepEqual([token.accountId, token.kind, token.scopes], [account.id, "runner", ["debug:read"]]);
  const { artifact } = await fixture.artifact({ sessionId: session.id, name: "n", kind: "junit" });
  assert.deepEqual(
    [artifact.sessionId, artifact.commandId, artifact.name, artifact.kind],
    [session.id, null, "n", "junit"],
  );
  assert.equal(await fixtures(store).adminTokenId(), await fixture.adminTokenId(), "a store has one first admin");
});

it("a worktree has the commit and the environment that were asked for", async () => {
  const { repository } = await fixture.repository();
  const asked = { repositoryId: repository.id, commitSha: "a".repeat(40), environmentHash: "e1" };
  const { worktree } = await fixture.worktree(asked);
  const { lease } = await fixture.lease(asked);
  for (const { commitSha, environmentHash } of [worktree, lease.worktree])
    assert.deepEqual([commitSha, environmentHash], [asked.commitSha, "e1"]);
  assert.deepEqual([lease.worktree.id, lease.needsSync, lease.needsEnvironment], [worktree.id, false, false]);
});

it("two calls create two rows with different names", async () => {
  const [one, two] = [await fixture.repository(), await fixture.repository()];
  assert.notEqual(one.repository.name, two.repository.name);
});
