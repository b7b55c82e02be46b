// debug-server-db serve: its options, and what it says when one is wrong.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite, test } from "node:test";
import { openStore } from "../../../src/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { git, run, startProcess, workingFolder } from "./commandLine.ts";

suite("serve", { concurrency: 2 }, () => {
  test("options of a runner without a runner, and values that are none, are refused", async (t) => {
    const { folder } = workingFolder(t, { init: false });
    for (const option of [
      ["--runners", "2"],
      ["--keep", "*.xml"],
      ["--name", "x"],
      ["--env", "A=1"],
      ["--label", "gpu"],
      ["--submodules"],
    ]) {
      const { code, stderr } = await run(folder, ["serve", "--listen", "127.0.0.1:0", ...option]);
      assert.deepEqual([code, stderr], [2, `debug-server-db: ${option[0]} is for a runner: add --runner PATH\n`]);
    }
    const wrong = await run(folder, ["serve", "--runner", ".", "--env", "A"]);
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /expected NAME=VALUE/);
    assert.match((await run(folder, ["serve", "--runner", ".", "--label", "=b"])).stderr, /expected KEY or KEY=VALUE/);
    assert.equal(existsSync(join(folder, ".artifacts")), false);
  });

  test("a folder that is no git repository is named, with the option", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    const outside = temporaryFolder();
    const serve = (path: string) => run(folder, ["serve", "--url", url, "--listen", "127.0.0.1:0", "--runner", path]);
    const { code, stderr } = await serve(outside);
    assert.equal(code, 1);
    assert.ok(stderr.startsWith(`debug-server-db: --runner ${outside}: ${outside}: git`), stderr);
    assert.match((await serve(join(outside, "no"))).stderr, /--runner \S+: there is no folder \S+no\n/);
  });

  test("a runner gets its options, and leaves nothing for git to see", async (t) => {
    const { folder } = workingFolder(t, { commits: 1 });
    const server = startProcess(folder, [
      "serve",
      ...["--listen", "127.0.0.1:0", "--runner", ".", "--runners", "1", "--name", "builder"],
      ...["--keep", "*.out", "*.xml", "--env", "ONE=1", "--env", "TWO=2", "--inherit", "PATH"],
      ...["--label", "gpu", "os=linux", "--label", "note=a=b"],
    ]);
    t.after(() => server.kill("SIGKILL"));
    await server.printed("listening on");
    const said = await server.said(/running commands of .*\n/);
    const store = await openStore({ url: `sqlite:${join(folder, ".artifacts/data/metadata.db")}`, role: "visitor" });
    t.after(() => store.close());
    const [repository] = (await store.repositories.list()).items;
    assert.ok(said.includes(`(${repository?.id})`), said);
    const { session, commands } = await store.sessions.create({
      repositoryId: repository?.id as string,
      commitSha: git(folder, "rev-parse", "HEAD").trim(),
      autoComplete: true,
      requires: ["gpu", "os=linux"],
      commands: [{ argv: ["sh", "-c", 'echo "$ONE$TWO$HOME" > a.out'] }],
    });
    assert.equal((await store.sessions.wait({ sessionId: session.id, timeoutMs: 60_000 })).state, "completed");
    const [kept] = (await store.artifacts.list({ commandId: commands[0]?.id as string })).items;
    assert.equal(kept?.name, "a.out");
    assert.equal(readFileSync(new URL(kept?.uri as string), "utf8"), "12\n");
    const [runner] = (await store.runners.list()).items;
    assert.deepEqual([runner?.name, runner?.labels], ["builder-1", { gpu: "", os: "linux", note: "a=b" }]);
    assert.equal(git(folder, "status", "--porcelain"), "");
    server.kill("SIGTERM");
    assert.equal((await server.ended).code, 0);
  });
});
