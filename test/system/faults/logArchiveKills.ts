// Kills a server at a moment of the move or the deletion of an archived log: the next one reads every byte at once, ends
// the move, and leaves no object that nobody needs.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { type Chunk, openStore, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "./until.ts";

const script = fileURLToPath(new URL("./archivingProcess.ts", import.meta.url));

/** Writes a log that fills many chunks, seals it, and ends its session. */
export async function writeLog(store: Store): Promise<string> {
  const { command, fence, session } = await fixtures(store).claim();
  const log = { commandId: command.id, fence };
  let offset = 0;
  for (let part = 0; part < 20; part++) {
    const data = new TextEncoder().encode(`part ${part}: ${String(part).repeat(32_000)}\n`.slice(-60_000));
    ({ ackOffset: offset } = await store.logs.append({ ...log, offset, data }));
  }
  await store.commands.finish({ ...log, outcome: "succeeded" });
  await store.sessions.cancel({ sessionId: session.id });
  return command.id;
}

export async function readLog(store: Store, commandId: string) {
  const chunks: Chunk[] = [];
  for await (const chunk of store.logs.follow({ commandId })) chunks.push(chunk);
  return { chunks, tail: await store.logs.read({ commandId, lastLines: 3 }) };
}

/** Returns the paths of the objects in an archive. */
function objectsIn(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.endsWith("partial"))
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Defines the test of a server that is killed at a moment. */
export function testKill(moment: string): void {
  it(`a server that is killed ${moment} leaves a log that the next one reads, moves and deletes`, async () => {
    const folder = temporaryFolder();
    const path = join(folder, "store.db");
    const archive = join(folder, "archive");
    const options = { url: `sqlite:${path}`, limits: { logMoveMs: 400, logArchiveEveryMs: 20 } };
    const rows = (table: string): number => {
      const db = new Database(path, { readonly: true });
      try {
        return db.prepare(`SELECT count(*) FROM ${table}`).pluck().get() as number;
      } finally {
        db.close();
      }
    };
    const before = await openStore(options);
    const commandId = await writeLog(before);
    const written = await readLog(before, commandId);
    await before.close();

    const child = spawn(process.execPath, [script, options.url, archive, moment, commandId], { stdio: "inherit" });
    assert.deepEqual(await once(child, "exit"), [null, "SIGKILL"]);

    const store = await openStore({ ...options, logArchive: { folder: archive } });
    try {
      if (!moment.endsWith("delete")) {
        assert.deepEqual(await readLog(store, commandId), written);
        assert.deepEqual(await store.logs.archive({ commandId, waitMs: 60_000 }), { archived: true });
        await until(() => rows("log_moves") === 0 && rows("discarded_files") === 0);
        assert.equal(rows("log_chunks"), 0);
        assert.deepEqual(await readLog(store, commandId), written);
        const [object, ...others] = objectsIn(archive);
        assert.equal(others.length, 0);
        assert.equal(statSync(object as string).mode & 0o777, 0o600);
        const { sessionId } = await store.commands.get({ commandId });
        await store.sessions.delete({ sessionId });
      }
      await until(() => rows("log_moves") === 0 && rows("discarded_files") === 0);
      assert.deepEqual(objectsIn(archive), []);
      assert.equal(rows("log_blocks"), 0);
    } finally {
      await store.close();
    }
  });
}
