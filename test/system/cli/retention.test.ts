// debug-server-db maintenance retention and prune, beside a store that has old rows.
import assert from "node:assert/strict";
import { it } from "node:test";
import { openStore } from "../../../src/index.ts";
import { fixtures, testClock } from "../../../src/testing/index.ts";
import { run, withStore, workingFolder } from "./commandLine.ts";

it("maintenance retention shows and changes the settings, and prune removes what they keep no longer", async (t) => {
  const { folder, url } = workingFolder(t, { init: false });
  const clock = testClock();
  clock.advance(-100 * 86_400_000);
  const store = await openStore({ url, clock });
  const { session } = await fixtures(store).session();
  await store.sessions.complete({ sessionId: session.id });
  await store.close();
  const call = async (...args: string[]) => {
    const { code, stdout, stderr } = await run(folder, ["maintenance", ...args, "--url", url]);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  assert.match(await call("retention"), /^logs +30d\nsessions +90d\n(?:.*\n)*readyArtifacts +forever\n/);
  const set = await call("retention", "--set", "sessions=forever", "logs=2w", "--json");
  assert.deepEqual(
    [JSON.parse(set).sessionsMs, JSON.parse(set).logsMs, JSON.parse(set).version],
    [null, 14 * 86_400_000, 1],
  );
  assert.equal(JSON.parse(await call("prune", "--kind", "sessions", "--json")).rows.sessions, 0);
  await call("retention", "--set", "sessions=90d");
  assert.match(await call("prune", "--dry-run"), /^sessions +1\n/);
  assert.deepEqual(JSON.parse(await call("prune", "--kind", "sessions", "--json")), {
    rows: { sessions: 1 },
    heldBy: [],
  });
  await withStore(url, async ({ sessions }) => assert.deepEqual((await sessions.list()).items, []));
});

it("maintenance retention refuses what is no setting, or no time", async (t) => {
  const { folder, url } = workingFolder(t, { init: false });
  for (const [setting, message] of [
    ["logs", /Expected a name and a time, such as logs=14d/],
    ["logs=soon", /Expected a number with its unit/],
    ["loggs=1d", /Expected one of sessions, logs, /],
  ] as const) {
    const { code, stderr } = await run(folder, ["maintenance", "retention", "--set", setting, "--url", url]);
    assert.equal(code, 2);
    assert.match(stderr, message);
  }
});
