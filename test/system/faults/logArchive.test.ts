// Logs that move to an archive: kills of the server that moves them, and who reads from the default folder.
import assert from "node:assert/strict";
import { join } from "node:path";
import { it } from "node:test";
import { openStore } from "../../../src/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { readLog, testKill, writeLog } from "./logArchiveKills.ts";

for (const moment of ["after put", "after commit", "before delete"]) testKill(moment);

it("a visitor reads what a server has moved to the default folder, and a store that is told not to says why", async () => {
  const path = join(temporaryFolder(), "store.db");
  const server = await openStore({ url: `sqlite:${path}`, logArchive: true });
  const commandId = await writeLog(server);
  const written = await readLog(server, commandId);
  assert.deepEqual(await server.logs.archive({ commandId }), { archived: true });
  await server.close();
  const visitor = await openStore({ url: `sqlite:${path}`, role: "visitor" });
  assert.deepEqual(await readLog(visitor, commandId), written);
  await visitor.close();
  const without = await openStore({ url: `sqlite:${path}`, logArchive: false });
  try {
    await assert.rejects(without.logs.read({ commandId }), {
      code: "incompatible",
      details: { reason: "log_archive" },
    });
  } finally {
    await without.close();
  }
});
