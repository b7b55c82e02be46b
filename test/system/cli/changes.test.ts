// debug-server-db changes: the audit log as lines of JSON, the feed as it grows, and its consumers.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openStore } from "../../../src/index.ts";
import { openVisitor } from "../../../src/store.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { run, startProcess, workingFolder } from "./commandLine.ts";

const linesOf = (text: string) =>
  text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));

test("changes export prints what passes its filters, one change on a line, and ends", async (t) => {
  const { folder, url } = workingFolder(t, { init: false });
  const store = await openStore({ url });
  const { session } = await fixtures(store).session();
  for (let n = 0; n < 600; n++) void store.changes.publish({ topic: `topic.${n % 2}`, entityId: `order ${n}` });
  await store.sessions.cancel({ sessionId: session.id }, { actor: "ada" });
  const { changes: all } = await store.changes.since({ limit: 500 });
  await store.close();
  const exported = async (...args: readonly string[]) => {
    const { code, stdout, stderr } = await run(folder, ["changes", "export", "--url", url, ...args]);
    assert.deepEqual([code, stderr], [0, ""]);
    return linesOf(stdout);
  };
  const everything = await exported();
  assert.equal(everything.length, 603);
  assert.deepEqual(everything.slice(0, 500), JSON.parse(JSON.stringify(all)));
  assert.deepEqual(
    everything.map(({ seq }) => seq),
    everything.map((_, index) => index + 1),
  );
  assert.equal((await exported("--entity", "event", "--op", "topic.1")).length, 300);
  assert.deepEqual(
    (await exported("--entity", "session", "repository", "--json")).map(({ entity, op }) => `${entity} ${op}`),
    ["repository create", "session create", "session end"],
  );
  assert.deepEqual((await exported("--id", "order 7")).length, 1);
  assert.deepEqual(
    (await exported("--actor", "ada")).map(({ op }) => op),
    ["end"],
  );
  assert.deepEqual((await exported("--session", session.id, "--after", "2")).length, 1);
  assert.deepEqual(await exported("--until", "1h"), []);
  assert.equal((await exported("--since", "1h")).length, 603);
  assert.equal((await run(folder, ["changes", "export", "--since", "yesterday", "--url", url])).code, 2);
});

test("changes tail follows the feed, with secrets masked for people", async (t) => {
  const { folder, url } = workingFolder(t, { init: false });
  const store = await openStore({ url });
  const { nextSeq } = await store.changes.since({ limit: 0 });
  const tail = startProcess(folder, ["changes", "tail", "--after", `${nextSeq}`, "--count", "2", "--url", url]);
  await store.changes.publish(
    { topic: "a.b", entityId: "order\u001b[31m 7", detail: { uri: "https://host/key?signature=hidden" } },
    { actor: "ada" },
  );
  assert.match(
    await tail.printed("order"),
    /^\d{4}-\S+Z {2}1 {2}event a\.b {2}order 7 {2}by ada {2}.*host\/key\?\*\*\*/,
  );
  await store.changes.publish({ topic: "c" });
  assert.equal((await tail.ended).code, 0);
  const exported = await run(folder, ["changes", "export", "--op", "a.b", "--url", url]);
  assert.equal(JSON.parse(exported.stdout).detail.uri, "https://host/key?***");
  const stored = await run(folder, ["changes", "export", "--op", "a.b", "--json", "--url", url]);
  assert.equal(JSON.parse(stored.stdout).detail.uri, "https://host/key?signature=hidden");
  const endless = startProcess(folder, ["changes", "tail", "--json", "--after", "0", "--url", url]);
  await endless.printed(/"op":"c"/);
  endless.kill("SIGINT");
  assert.equal((await endless.ended).code, 130);
  await store.close();
});

test("changes consumers shows who is behind; checkpoint and forget administer them", async (t) => {
  const { folder, url } = workingFolder(t, { init: false });
  const cli = (...args: readonly string[]) => run(folder, ["changes", ...args, "--url", url]);
  const store = await openVisitor({ url, migrate: "create" });
  await store.changes.consume({ consumer: "webhooks", entity: "event", waitMs: 0 });
  await store.changes.publish({ topic: "a" });
  const held = await store.changes.consume({ consumer: "webhooks", entity: "event", waitMs: 0, owner: "worker 7" });
  const listed = await cli("consumers");
  assert.match(listed.stdout, /webhooks +\d+ +[12] .*worker 7/);
  const refused = await cli("checkpoint", "webhooks", "--seq", "0");
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /somebody reads as consumer webhooks now/);
  const ack = { consumer: "webhooks", seq: held.nextSeq, fence: held.fence as number, release: true };
  await store.changes.checkpoint(ack);
  await store.close();
  assert.deepEqual((await cli("checkpoint", "webhooks", "--seq", "0")).code, 0);
  assert.equal(JSON.parse((await cli("consumers", "--json")).stdout).seq, 0);
  assert.equal((await cli("forget", "webhooks")).stdout, "forgotten  webhooks\n");
  const none = await cli("consumers");
  assert.deepEqual([none.code, none.stdout, none.stderr], [0, "", "None.\n"]);
});
