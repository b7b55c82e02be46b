// debug-server-db usage: what commands used on each day, by names that people know.
import assert from "node:assert/strict";
import { test } from "node:test";
import { openStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { run, workingFolder } from "./commandLine.ts";

test("usage prints the sums of a repository, an account, a requester or a session", async (t) => {
  const { folder, url } = workingFolder(t, { init: false });
  const cli = (...args: readonly string[]) => run(folder, ["usage", ...args, "--url", url]);
  const store = await openStore({ url });
  const { account } = await fixtures(store).account();
  const { token } = await fixtures(store).token({ accountId: account.id });
  const { repository } = await fixtures(store).repository({ name: "demo" });
  const requested = { repositoryId: repository.id, tokenId: token.id, requestedBy: "ada" };
  const { session } = await fixtures(store).session(requested);
  for (let n = 0; n < 2; n++) {
    const { claim } = await fixtures(store).claim({ sessionId: session.id });
    const usage = { cpuMs: 90_500, memoryBytes: 3 * 1024 ** 2, writtenBytes: 1024 };
    await store.commands.finish({ commandId: claim.command.id, fence: claim.fence, outcome: "succeeded", usage });
  }
  const { days } = await store.usage.days({ by: "session" });
  await store.close();
  const sums = / 2 +\d+\.\d s +181\.0 s +3\.0 MiB +2\.0 KiB\n$/;
  for (const [by, name] of [
    ["repository", "demo"],
    ["account", account.name],
    ["requester", "ada"],
    ["session", session.id],
  ] as const) {
    const { code, stdout } = await cli("--by", by, "--name", name, "--since", "2d");
    assert.equal(code, 0);
    assert.match(stdout, new RegExp(`${days[0]?.day} +${name} `));
    assert.match(stdout, sums);
  }
  assert.match((await cli()).stdout, /^day +repository .*\n.* demo /);
  assert.deepEqual(JSON.parse((await cli("--by", "session", "--json")).stdout), JSON.parse(JSON.stringify(days[0])));
  const none = await cli("--until", "2d");
  assert.deepEqual([none.code, none.stdout, none.stderr], [0, "", "None.\n"]);
  assert.equal((await cli("--name", "nobody")).code, 1);
});
