// Lets a command print far more than its log holds, as fast as it can, and watches the memory and the heartbeats.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { openStore, type Store } from "../../../src/index.ts";
import { registerRepository, startRunner } from "../../../src/runner/index.ts";
import { git, workingFolder } from "../cli/commandLine.ts";

/** Defines the test of a command that prints this number of bytes. */
export function testOutput(bytes: number): void {
  test(`a command that prints ${bytes / 1e6} MB at full speed neither fills the memory nor stalls heartbeats`, async (t) => {
    const { folder, url } = workingFolder(t, { commits: 1 });
    const store = await openStore({ url });
    const beatsAtMs: number[] = [];
    const watched: Store = {
      ...store,
      runners: {
        ...store.runners,
        heartbeat: (input, options) => {
          beatsAtMs.push(performance.now());
          return store.runners.heartbeat(input, options);
        },
      },
    };
    const runnerFolder = join(folder, ".artifacts/runner");
    const repository = await registerRepository(store, { path: folder, worktreesFolder: join(runnerFolder, "trees") });
    const runner = await startRunner(watched, { folder: runnerFolder, concurrency: 1, signals: false });
    t.after(async () => {
      await runner.close({ drainMs: 0 });
      await store.close();
    });
    const before = process.memoryUsage().rss;
    let most = before;
    const watching = setInterval(() => {
      most = Math.max(most, process.memoryUsage().rss);
    }, 50);
    const { session, commands } = await store.sessions.create({
      repositoryId: repository.id,
      commitSha: git(folder, "rev-parse", "HEAD").trim(),
      autoComplete: true,
      commands: [
        { argv: ["sh", "-c", `yes 'a line as a test prints it, without end and without a stop' | head -c ${bytes}`] },
      ],
    });
    const startedAtMs = performance.now();
    for (let state = "running"; state !== "completed"; ) {
      ({ state } = await store.sessions.wait({ sessionId: session.id, timeoutMs: 600_000 }));
      assert.ok(state === "completed" || state === "running" || state === "pending", state);
    }
    clearInterval(watching);
    const seconds = (performance.now() - startedAtMs) / 1_000;
    const gaps = beatsAtMs.slice(1).map((at, index) => at - (beatsAtMs[index] as number));
    t.diagnostic(
      `${(bytes / 1e6 / seconds).toFixed(0)} MB/s, ${((most - before) / 1e6).toFixed(0)} MB more memory, ` +
        `${beatsAtMs.length} heartbeats, at most ${Math.max(0, ...gaps).toFixed(0)} ms apart`,
    );
    assert.ok(most - before < 250e6, `${most - before} bytes more`);
    // Every 2 s, and far from the 30 s after which the lease would be lost.
    assert.ok(
      gaps.every((gap) => gap < 10_000),
      `heartbeats were ${Math.max(...gaps)} ms apart`,
    );
    const [attempt] = await store.commands.attempts({ commandId: commands[0]?.id ?? "" });
    assert.ok((attempt?.logBytes ?? 0) >= bytes && (attempt?.droppedBytes ?? 0) > 0);
  });
}
