// A remote store whose connections are cut at any byte, and whose server is killed: nothing is lost, done twice or
// unknown.
import assert from "node:assert/strict";
import { suite, test } from "node:test";
import fc from "fast-check";
import { type OwnedStore, openStore, type StoreError } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { run, startProcess, workingFolder } from "../cli/commandLine.ts";
import { until } from "../faults/until.ts";
import { behindProxy } from "./behindProxy.ts";
import { type Cut, CuttingProxy } from "./cuttingProxy.ts";

const anyCut: fc.Arbitrary<Cut> = fc.record({
  direction: fc.constantFrom("to server" as const, "to client" as const),
  afterBytes: fc.oneof(fc.integer({ min: 1, max: 1_500 }), fc.integer({ min: 1, max: 200 })),
});

/** Reads the whole log of a command. */
async function logOf(store: OwnedStore, commandId: string): Promise<string> {
  let text = "";
  for await (const { data } of store.logs.follow({ commandId })) text += Buffer.from(data).toString();
  return text;
}

suite("a remote store", { concurrency: 3 }, () => {
  test("calls run once, and are all answered, wherever their connections are cut", async (t) => {
    const { owned, store, proxy } = await behindProxy(t);
    const { session } = await fixtures(owned).session({ maxParallel: 1_000 });
    let round = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(anyCut, { minLength: 1, maxLength: 4 }), async (cuts) => {
        const name = `round ${round++}`;
        proxy.cutNext(cuts);
        const calls = Array.from({ length: 6 }, (_, index) =>
          store.commands.enqueue({ sessionId: session.id, commands: [{ argv: [name, String(index)] }] }),
        );
        const both = store.atomically((tx) => {
          tx.commands.enqueue({ sessionId: session.id, commands: [{ argv: [name, "atomic"] }] });
          tx.sessions.get({ sessionId: session.id });
        });
        const answers = await Promise.all([...calls, both.then(([commands]) => commands)]);
        const stored: string[] = [];
        for await (const { id, argv } of owned.commands.all({ sessionId: session.id, limit: 500 }))
          if (argv[0] === name) stored.push(id);
        assert.deepEqual(answers.map(([command]) => command.id).toSorted(), stored.toSorted());
      }),
      { numRuns: 60 },
    );
    assert.ok(proxy.cut > 100, `${proxy.cut} connections were cut`);
  });

  test("a log that is followed while connections are cut has no gap and no duplicate", async (t) => {
    const { owned, store, proxy } = await behindProxy(t);
    const { claim } = await fixtures(owned).claim();
    const { id: commandId } = claim.command;
    let offset = 0;
    const followed: string[] = [];
    const following = (async () => {
      for await (const { data } of store.logs.follow({ commandId })) followed.push(Buffer.from(data).toString());
    })();
    const lines = Array.from({ length: 120 }, (_, index) => `line ${index}\n`);
    for (const [index, line] of lines.entries()) {
      if (index % 5 === 0) proxy.cutNext([{ direction: "to client", afterBytes: 1 + index * 7 }]);
      await store.logs.append({ commandId, fence: claim.fence, offset, data: new TextEncoder().encode(line) });
      offset += line.length;
    }
    await store.commands.finish({ commandId, fence: claim.fence, outcome: "succeeded", logOffset: offset });
    await following;
    assert.equal(followed.join(""), lines.join(""));
    assert.equal(await logOf(owned, commandId), lines.join(""));
    assert.ok(proxy.cut > 10);
  });

  test("a claim that waits survives cuts, and no command is given to nobody", async (t) => {
    const { owned, store, proxy } = await behindProxy(t);
    const { runner } = await fixtures(owned).runner();
    const { session } = await fixtures(owned).session();
    const claiming = store.commands.claim({ runnerId: runner.id, waitMs: 60_000 });
    const parked = async () => Number((await owned.maintenance.stats()).serving.parked);
    for (let cut = 0; cut < 5; cut++) {
      await until(async () => (await parked()) === 1);
      proxy.cutAll();
    }
    await owned.commands.enqueue({ sessionId: session.id, commands: [{ argv: ["true"] }] });
    assert.equal((await claiming)?.command.sessionId, session.id);
  });

  test("an unreachable server fails calls at their deadlines, and says that those which never left have not run", async (t) => {
    const { store, proxy } = await behindProxy(t);
    proxy.leadTo(1);
    proxy.cutAll();
    const failure = await store.repositories
      .upsert({ name: "one" }, { timeoutMs: 300 })
      .catch((error: unknown) => error);
    assert.equal((failure as StoreError).code, "deadline_exceeded");
    const read = await store.repositories.list({}, { timeoutMs: 300 }).catch((error: unknown) => error);
    assert.deepEqual([(read as StoreError).code, (read as StoreError).outcome], ["deadline_exceeded", "not_run"]);
  });

  test("a token that is wrong, revoked or not enough gets its code", async (t) => {
    const { owned, url, token } = await behindProxy(t);
    await assert.rejects(openStore({ url }), { code: "token_unknown" });
    await assert.rejects(openStore({ url, token: `${token}x` }), { code: "token_malformed" });
    const { secret, token: minted } = await fixtures(owned).token({ scopes: ["sessions:read"] });
    const reader = await openStore({ url, token: secret });
    t.after(() => reader.close());
    assert.deepEqual((await reader.sessions.list()).items, []);
    await assert.rejects(reader.repositories.upsert({ name: "one" }), {
      code: "unknown_operation",
      outcome: "not_run",
    });
    await owned.tokens.revoke({ tokenId: minted.id });
    await assert.rejects(reader.sessions.list(), { code: "token_revoked" });
    await assert.rejects(openStore({ url: "http://127.0.0.1:1", token }), { code: "busy" });
  });

  test("writes are made once through kills of the server, and none is unknown", async (t) => {
    const { folder, url } = workingFolder(t, { init: false });
    assert.equal((await run(folder, ["admin", "seed", "--url", url, "--out", "admin.token"])).code, 0);
    const token = (
      await run(folder, ["admin", "create-token", "--user", "remote", "--scopes", "admin", "--url", url])
    ).stdout.trim();
    const serve = async (port: string) => {
      const child = startProcess(folder, ["serve", "--url", url, "--listen", `127.0.0.1:${port}`]);
      const [, listening = ""] = /127\.0\.0\.1:(\d+)/.exec(await child.printed(/listening on \S+\n/)) ?? [];
      return { child, port: Number(listening) };
    };
    let { child, port } = await serve("0");
    const proxy = new CuttingProxy(port);
    const store = await openStore({ url: await proxy.listen(), token });
    t.after(async () => {
      await store.close();
      await proxy.close();
      child.kill("SIGKILL");
    });
    const known: string[] = [];
    const unknown: string[] = [];
    const notRun: string[] = [];
    let isOver = false;
    const writer = async (name: string): Promise<void> => {
      for (let count = 0; !isOver; count++) {
        const title = `${name} ${count}`;
        try {
          // A second run would find the name taken.
          known.push((await store.accounts.create({ name: title, kind: "agent" })).name);
        } catch (error) {
          const { outcome } = error as StoreError;
          (outcome === "unknown" ? unknown : notRun).push(`${title}: ${String(error)}`);
        }
      }
    };
    const writers = Array.from({ length: 6 }, (_, index) => writer(`writer ${index}`));
    for (let kill = 0; kill < 3; kill++) {
      const before = known.length;
      await until(() => known.length > before + 50);
      child.kill("SIGKILL");
      await child.ended;
      ({ child, port } = await serve("0"));
      proxy.leadTo(port);
      proxy.cutAll();
    }
    const before = known.length;
    await until(() => known.length > before + 50);
    isOver = true;
    await Promise.all(writers);
    const stored = new Set<string>();
    for await (const { name } of store.accounts.all({ limit: 500 })) stored.add(name);
    assert.deepEqual(
      known.filter((name) => !stored.has(name)),
      [],
      "lost",
    );
    assert.deepEqual([unknown, notRun], [[], []]);
  });
});
