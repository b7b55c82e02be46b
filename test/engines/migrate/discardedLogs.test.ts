// The migration 0015_discarded_logs, on rows of the version before it: objects that wait to be removed still are, and a log
// whose object was being removed moves anew.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { openStore } from "../../../src/index.ts";
import { downgrade, upgrade } from "../../../src/migrate/upgrade.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { MemoryArchive } from "../../support/memoryArchive.ts";
import { migrate, places } from "./places.ts";
import { assertSoundAtHead } from "./soundAtHead.ts";

describe("0015_discarded_logs", () => {
  for (const dialect of ["sqlite", "postgres"] as const) {
    it(`${dialect}: objects that wait to be removed are handed out, and no log is forgotten`, async (t) => {
      const place = await places[dialect]();
      t.after(() => place.remove());
      const archive = new MemoryArchive();
      const server = await openStore({ url: place.url, logArchive: archive });
      const archived = async () => {
        const { command, fence, session } = await fixtures(server).log();
        await server.commands.finish({ commandId: command.id, fence, outcome: "succeeded" });
        assert.deepEqual(await server.logs.archive({ commandId: command.id }), { archived: true });
        return { commandId: command.id, sessionId: session.id };
      };
      const gone = await archived();
      const again = await archived();
      await server.close();
      const without = await openStore({ url: place.url, logArchive: false });
      await without.sessions.cancel({ sessionId: gone.sessionId });
      await without.sessions.delete({ sessionId: gone.sessionId });
      const [file] = (await without.files.list({ kind: "log" })).items;
      await without.close();

      await migrate(place, (migrator) => downgrade(migrator, "0014", { backup: false, allowDataLoss: true }));
      const epoch = dialect === "sqlite" ? "0" : "'epoch'";
      // As a server of that version leaves a move that it has taken over: the object is to be removed before the log moves.
      const chunks = "attempt_id, start_offset, byte_length, start_line, line_count, stream, at, data";
      await place.run(`
        INSERT INTO log_moves (attempt_id, phase, fence, uri, due_at)
        SELECT id, 'discarding', 2, log_uri, ${epoch} FROM attempts WHERE log_uri IS NOT NULL;
        INSERT INTO log_chunks (${chunks})
        SELECT id, 0, 6, 0, 1, 'stdout', ${epoch}, ${dialect === "sqlite" ? "x'68656c6c6f0a'" : "'\\x68656c6c6f0a'"}
        FROM attempts WHERE log_uri IS NOT NULL;
        DELETE FROM log_blocks;
        UPDATE attempts SET log_uri = NULL;`);
      const moves = await place.query("SELECT attempt_id, phase, uri FROM log_moves ORDER BY attempt_id IS NULL");
      assert.deepEqual(
        moves.map(({ phase }) => phase),
        ["discarding", "discarding"],
      );
      assert.deepEqual([moves[1]?.attempt_id, moves[1]?.uri], [null, file?.uri]);

      await migrate(place, (migrator) => upgrade(migrator, "head", { backup: false }));
      const waiting = await openStore({ url: place.url, logArchive: false });
      const files = (await waiting.files.list({ kind: "log" })).items;
      assert.deepEqual(
        files.map(({ id, uri, fence }) => [id, uri, fence]).sort(),
        moves.map(({ uri }) => [String(uri).split(".")[2], uri, 0]).sort(),
      );
      assert.deepEqual((await waiting.maintenance.stats()).rows.discarded_files, { log: 2 });
      await waiting.close();
      const next = await openStore({ url: place.url, logArchive: archive });
      while (
        (await next.files.list({})).items.length > 0 ||
        (await next.commands.attempts({ commandId: again.commandId }))[0]?.logUri === null
      );
      const [object, ...others] = [...archive.objects.keys()];
      assert.deepEqual([others.length, object?.includes(again.commandId)], [0, true]);
      assert.ok(!moves.some(({ uri }) => uri === `archive:${object}`));
      await next.close();
      await assertSoundAtHead(place);
    });
  }
});
