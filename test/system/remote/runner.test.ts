// A runner that knows the store only over HTTP, with the token of a runner: in its own thread and in threads of a pool.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { runnerScopes, serveStore } from "../../../src/http/index.ts";
import { openStore, type Scope } from "../../../src/index.ts";
import { type StartRunnerOptions, startRunner } from "../../../src/runner/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { git, workingFolder } from "../cli/commandLine.ts";

for (const [threads, keepsFiles] of [
  [0, true],
  [1, true],
  [0, false],
] as const)
  test(`a runner with ${threads} threads runs sessions of a store on another machine${keepsFiles ? ", which keeps files" : ""}`, async (t) => {
    const { folder, url } = workingFolder(t, { commits: 1 });
    const store = await openStore({ url });
    const { secret } = await fixtures(store).token({ scopes: [...runnerScopes], kind: "runner" });
    const artifactsFolder = join(folder, "files");
    const api = await serveStore(store, { listen: "127.0.0.1:0", ...(keepsFiles ? { artifactsFolder } : {}) });
    const remote = await openStore({ url: api.url as string, token: secret });
    const runner = await startRunner(remote, {
      threads,
      concurrency: 1,
      signals: false,
      folder: join(folder, "runner"),
      artifacts: ["*.out"],
    });
    t.after(async () => {
      await runner.close({ drainMs: 0 });
      await remote.close();
      await api.close({ withinMs: 0 });
      await store.close();
    });
    const repository = await store.repositories.upsert({ name: "demo", remoteUrl: join(folder, ".git") });
    const commitSha = git(folder, "rev-parse", "HEAD").trim();
    const commands = [{ argv: ["sh", "-c", "cat file-1.txt; echo made > a.out"] }, { argv: ["false"] }];
    const { session, commands: made } = await store.sessions.create({
      repositoryId: repository.id,
      commitSha,
      autoComplete: true,
      commands,
    });
    assert.equal((await store.sessions.wait({ sessionId: session.id, timeoutMs: 60_000 })).state, "failed");
    let log = "";
    for await (const { stream, data } of store.logs.follow({ commandId: made[0]?.id as string }))
      if (stream === "stdout") log += Buffer.from(data).toString();
    assert.equal(log, "line 1\n");
    const states = await Promise.all(made.map(async ({ id }) => (await store.commands.get({ commandId: id })).state));
    assert.deepEqual(states, ["succeeded", "failed"]);
    const { items } = await store.artifacts.list({ commandId: made[0]?.id as string });
    assert.deepEqual(
      items.map(({ name, state }) => [name, state]),
      [["a.out", "ready"]],
    );
    const [{ id: artifactId, uri, contentType } = { id: "", uri: "" }] = items;
    assert.ok(uri?.includes(keepsFiles ? "/files/" : "/runner/artifacts/"), `${uri} ${contentType}`);
    const { secret: reader } = await fixtures(store).token({ scopes: ["artifacts:read"] });
    const got = await fetch(`${api.url}/v1/artifacts.content?artifactId=${artifactId}`, {
      headers: { authorization: `Bearer ${reader}` },
    });
    assert.deepEqual([got.status, keepsFiles ? await got.text() : ""], keepsFiles ? [200, "made\n"] : [404, ""]);
    // What the token does not cover stays closed, whatever the client asks for.
    await assert.rejects(remote.sessions.create({ repositoryId: repository.id, commitSha }), {
      code: "unknown_operation",
    });
  });

test("a runner whose token covers too little does not start, and says what is missing", async (t) => {
  const { folder, url } = workingFolder(t, { commits: 1 });
  const store = await openStore({ url });
  const api = await serveStore(store, { listen: "127.0.0.1:0" });
  t.after(async () => {
    await api.close({ withinMs: 0 });
    await store.close();
  });
  const startWith = async (scopes: readonly Scope[], options: StartRunnerOptions = {}) => {
    const { secret } = await fixtures(store).token({ scopes: [...scopes], kind: "runner" });
    const remote = await openStore({ url: api.url as string, token: secret });
    try {
      const runner = await startRunner(remote, {
        concurrency: 1,
        signals: false,
        folder: join(folder, "r"),
        ...options,
      });
      await runner.close({ drainMs: 0 });
    } finally {
      await remote.close();
    }
  };
  for (const missing of runnerScopes) {
    const scopes = runnerScopes.filter((scope) => scope !== missing);
    await assert.rejects(startWith(scopes, { artifacts: ["*.out"] }), {
      code: "scope_missing",
      details: { missing: [missing] },
    });
  }
  await assert.rejects(startWith(runnerScopes, { repositoryPath: folder }), {
    code: "scope_missing",
    details: { missing: ["repositories:write"] },
  });
  assert.deepEqual((await store.runners.list()).items, []);
  await startWith(runnerScopes, { artifacts: ["*.out"] });
});
