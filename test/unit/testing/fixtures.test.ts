// Fixtures: a valid row of each entity with one call.
import assert from "node:assert/strict";
import { after, it } from "node:test";
import { fixtures, openTestStore } from "../../../src/testing/index.ts";

const store = await openTestStore();
after(() => store.close());
const given = fixtures(store);

it("each fixture makes its row and what the row needs", async () => {
  const [{ repository }, { runner }] = await Promise.all([given.repository(), given.runner()]);
  assert.deepEqual([repository.version, runner.state], [1, "online"]);
  assert.equal((await given.lease()).worktree.state, "leased");
  assert.equal((await given.worktree()).worktree.state, "idle");
  assert.equal((await given.session()).session.state, "pending");
  assert.equal((await given.command()).command.state, "queued");
  const { claim, fence, command } = await given.claim();
  assert.deepEqual([command.state, fence], ["running", claim.fence]);
  assert.equal((await given.debugSession()).debugSession.state, "running");
  const { view } = await given.debugStop();
  assert.deepEqual([view.debugSession.state, view.threads.length, view.breakpoints[0]?.hitCount], ["stopped", 1, 1]);
  const log = await given.log("text");
  assert.equal((await given.account()).account.kind, "human");
  const { token, secret } = await given.token();
  assert.equal((await store.tokens.verify({ token: secret })).tokenId, token.id);
  assert.equal((await given.artifact()).artifact.state, "ready");
  assert.deepEqual([log.nextOffset, (await store.logs.read({ commandId: log.command.id })).nextOffset], [4, 4]);
});

it("each takes what its row should be", async () => {
  const { repository } = await given.repository({ description: "d", maxWorktrees: 2 });
  assert.deepEqual([repository.description, repository.maxWorktrees], ["d", 2]);
  const { session } = await given.session({ repositoryId: repository.id, maxParallel: 3 });
  assert.deepEqual([session.repositoryId, session.maxParallel], [repository.id, 3]);
  const { command } = await given.command({ sessionId: session.id, argv: ["x"], priority: 4 });
  assert.deepEqual([command.sessionId, command.argv, command.priority], [session.id, ["x"], 4]);
  const { lease } = await given.lease({ repositoryId: repository.id, owner: "me", ttlMs: 5_000 });
  assert.deepEqual([lease.worktree.repositoryId, lease.worktree.leaseOwner], [repository.id, "me"]);
  const { account } = await given.account({ kind: "runner" });
  const { token } = await given.token({ accountId: account.id, kind: "runner", scopes: ["debug:read"] });
  assert.deepEqual([token.accountId, token.kind, token.scopes], [account.id, "runner", ["debug:read"]]);
  const { artifact } = await given.artifact({ sessionId: session.id, name: "n", kind: "junit" });
  assert.deepEqual(
    [artifact.sessionId, artifact.commandId, artifact.name, artifact.kind],
    [session.id, null, "n", "junit"],
  );
  assert.equal(await fixtures(store).adminTokenId(), await given.adminTokenId(), "a store has one first admin");
});

it("two calls make two rows that do not meet", async () => {
  const [one, two] = [await given.repository(), await given.repository()];
  assert.notEqual(one.repository.name, two.repository.name);
});
