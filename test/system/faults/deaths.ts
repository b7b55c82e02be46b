// Kills threads and processes again and again while they write.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { newId, openStore, type StoreError } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { assertSoundAt } from "../../support/sound.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { startThread } from "./databaseThread.ts";

const commitSha = "a".repeat(40);

/** Checks that the file breaks no rule of a store, and holds all acknowledged sessions, and each session with both commands of its call. */
async function assertComplete(path: string, acknowledged: Iterable<string>): Promise<void> {
  const db = new Database(path);
  assert.equal(db.pragma("integrity_check", { simple: true }), "ok");
  const stored = new Set(db.prepare("SELECT id FROM sessions").pluck().all());
  for (const id of acknowledged) assert.ok(stored.has(id), `${id} was acknowledged but is not stored`);
  assert.equal(db.prepare("SELECT count(*) FROM sessions WHERE queued_commands <> 2").pluck().get(), 0);
  assert.equal(db.prepare("SELECT count(*) FROM commands").pluck().get(), stored.size * 2);
  db.close();
  await assertSoundAt(`sqlite:${path}`);
}

/** Terminates a database thread again and again while it writes, and checks that each acknowledged write is stored. */
export async function terminateThreads(times: number): Promise<void> {
  const path = join(temporaryFolder(), "store.db");
  const opened = await openStore({ url: `sqlite:${path}` });
  const { repository } = await fixtures(opened).repository();
  await opened.close();
  const acknowledged: string[] = [];
  for (let round = 0; round < times; round++) {
    const thread = await startThread(path);
    const store = thread.connect();
    const target = acknowledged.length + (round % 7) * 5;
    const writers = Array.from({ length: 8 }, async () => {
      for (;;) {
        const id = newId();
        await store.sessions.create({
          id,
          repositoryId: repository.id,
          commitSha,
          commands: [{ argv: ["true"] }, { argv: ["true"] }],
        });
        acknowledged.push(id);
        if (acknowledged.length >= target) void thread.worker.terminate();
      }
    });
    const ends = await Promise.allSettled(writers);
    for (const end of ends) assert.equal(end.status === "rejected" && (end.reason as StoreError).code, "closed");
    await thread.exited;
  }
  await assertComplete(path, acknowledged);
}

/** Kills processes while they write, and checks that each acknowledged write is stored. Returns the number of these. */
export async function killProcesses(times: number): Promise<number> {
  const folder = temporaryFolder();
  const script = fileURLToPath(new URL("./writingProcess.ts", import.meta.url));
  // Two chains of processes run side by side, each on a file of its own that every process opens again.
  const killChain = async (chain: number): Promise<number> => {
    const path = join(folder, `store-${chain}.db`);
    const opened = await openStore({ url: `sqlite:${path}` });
    const { repository } = await fixtures(opened).repository();
    await opened.close();
    const acknowledged: string[] = [];
    for (let round = chain; round < times; round += 2) {
      const child = spawn(process.execPath, [script, `sqlite:${path}`, repository.id], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      let output = "";
      // The number of acknowledgements before the kill varies, so that each kill hits another moment of a group.
      const linesMin = 1 + ((round * 37) % 160);
      child.stdout.on("data", (text: Buffer) => {
        output += text.toString();
        if (output.split("\n").length > linesMin) child.kill("SIGKILL");
      });
      await once(child, "close");
      acknowledged.push(...output.split("\n").slice(0, -1));
    }
    await assertComplete(path, acknowledged);
    return acknowledged.length;
  };
  const [first, second] = await Promise.all([killChain(0), killChain(1)]);
  return first + second;
}
