// The log archive: logs that have left the database are read as if they had not, and a failing archive fails reads only.
import assert from "node:assert/strict";
import { after, it } from "node:test";
import fc from "fast-check";
import type { Chunk, LogPage, Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { Opened, OpenOptions, TestedBackend } from "../../support/backends.ts";
import { MemoryArchive } from "../../support/memoryArchive.ts";
import { findingsOf } from "../../support/sound.ts";
import { bytes, collect, fails, subject, text } from "../suite.ts";

type Stream = "stdout" | "stderr";
type Parts = readonly (readonly [stream: Stream, data: Uint8Array])[];

export function logArchiveConformance(backend: TestedBackend): void {
  subject(backend, "log archive", ({ test }) => {
    type Archived = Opened & { readonly archive: MemoryArchive };
    const open = async (limits: OpenOptions["limits"]): Promise<Archived> => {
      const archive = new MemoryArchive();
      const opened = await backend.open({ limits: { logBytes: 262_144, ...limits }, logArchive: archive });
      return { ...opened, store: opened.store, archive };
    };
    let shared: Promise<Archived> | undefined;
    after(async () => (await shared)?.close());
    /** Defines a test on a store with an archive, which is shared unless the test needs other limits. */
    const archived = (name: string, run: (opened: Archived) => Promise<void>, limits?: OpenOptions["limits"]) => {
      it(name, async () => {
        if (limits === undefined) shared ??= open({});
        const opened = await (limits === undefined ? (shared as Promise<Archived>) : open(limits));
        try {
          await run(opened);
        } finally {
          if (limits !== undefined) await opened.close();
        }
      });
    };
    /** Writes a log, and seals it. Returns the id of its command. */
    const sealed = async (store: Store, parts: Parts) => {
      const { command, fence } = await fixtures(store).claim();
      const log = { commandId: command.id, fence };
      let offset = 0;
      for (const [stream, data] of parts)
        ({ ackOffset: offset } = await store.logs.append({ ...log, offset, stream, data }));
      await store.commands.finish({ ...log, outcome: "succeeded" });
      return command.id;
    };
    const move = async (store: Store, commandId: string) =>
      assert.deepEqual(await store.logs.archive({ commandId, waitMs: 60_000 }), { archived: true });
    const textParts = (...parts: string[]): Parts => parts.map((part) => ["stdout", bytes(part)]);
    const textOf = (chunks: readonly Chunk[]) => chunks.map(({ data }) => text(data)).join("");

    /** Reads a log from these positions, to its end, in pages of this size. */
    const readAll = async (store: Store, commandId: string, positions: readonly object[], maxBytes: number) => {
      const pagesFrom = async (position: object) => {
        const pages = [await store.logs.read({ commandId, maxBytes, ...position })];
        for (let last = pages[0]; last !== undefined && !last.ended; pages.push(last))
          last = await store.logs.read({ commandId, maxBytes, offset: last.nextOffset });
        return pages;
      };
      return Promise.all(positions.map(pagesFrom));
    };

    const keyOf = (archive: MemoryArchive, commandId: string) => {
      const keys = [...archive.objects.keys()].filter((key) => key.includes(commandId));
      assert.equal(keys.length, 1);
      return keys[0] as string;
    };
    const objectOf = (archive: MemoryArchive, commandId: string) =>
      archive.objects.get(keyOf(archive, commandId)) as Uint8Array;

    archived("every read of an archived log answers as before the move", async ({ store, archive }) => {
      const line = fc.oneof(fc.string({ unit: "binary" }), fc.constantFrom("", "\n", "ä\n", "\n\n", "€", "line\n"));
      const part = fc.tuple(
        fc.constantFrom<Stream>("stdout", "stderr"),
        line.map(bytes).filter(({ byteLength }) => byteLength > 0),
      );
      const run = async (parts: Parts, maxBytes: number) => {
        const commandId = await sealed(store, parts);
        const size = parts.reduce((sum, [, { byteLength }]) => sum + byteLength, 0);
        const positions = [
          {},
          ...Array.from({ length: size + 2 }, (_, offset) => ({ offset })),
          ...Array.from({ length: 12 }, (_, at) => ({ line: at })),
          ...Array.from({ length: 12 }, (_, at) => ({ lastLines: at })),
        ].filter((_, index) => index % Math.ceil(size / 12 + 1) < 2);
        const before = await readAll(store, commandId, positions, maxBytes);
        const followed = await collect(store.logs.follow({ commandId, maxBytes }));
        const { sessionId } = await store.commands.get({ commandId });
        await store.sessions.complete({ sessionId });
        const ofSession = await collect(store.logs.followSession({ sessionId, maxBytes }));
        await move(store, commandId);
        assert.deepEqual(await readAll(store, commandId, positions, maxBytes), before);
        assert.deepEqual(await collect(store.logs.follow({ commandId, maxBytes })), followed);
        assert.deepEqual(await collect(store.logs.followSession({ sessionId, maxBytes })), ofSession);
        assert.equal(ofSession.length, parts.length + 2);
      };
      await fc.assert(
        fc.asyncProperty(fc.array(part, { minLength: 1, maxLength: 8 }), fc.integer({ min: 1, max: 40 }), run),
        { numRuns: 6 },
      );
      assert.ok(archive.count("get") >= 6);
    });

    archived("a log of many blocks, with a hole, is read from every position", async ({ store, archive }) => {
      // 700 KB, of which the middle is dropped, in chunks whose sizes have no common measure.
      const parts: Parts = Array.from({ length: 60 }, (_, n): [Stream, Uint8Array] => [
        n % 3 === 0 ? "stderr" : "stdout",
        bytes(`${String(n).repeat(3_000 + 211 * n)}\nand ${n}\n`.slice(-12_000)),
      ]);
      const commandId = await sealed(store, parts);
      const { endOffset, droppedBytes } = await store.logs.read({ commandId });
      assert.ok(droppedBytes > 100_000);
      const positions = [
        ...Array.from({ length: 40 }, (_, n) => ({ offset: n * 17_321 })),
        ...[endOffset - 1, endOffset, endOffset + 5].map((offset) => ({ offset })),
        ...[0, 1, 20, 41, 60, 61, 119, 120, 121].flatMap((count) => [{ line: count }, { lastLines: count }]),
      ];
      const read = (maxBytes: number) =>
        Promise.all(positions.map((position) => store.logs.read({ commandId, maxBytes, ...position })));
      const before = [await read(1), await read(70_000), await read(1_048_576)];
      await move(store, commandId);
      for (const [index, maxBytes] of [1, 70_000, 1_048_576].entries())
        assert.deepEqual(await read(maxBytes), before[index]);
      const object = objectOf(archive, commandId);
      assert.ok(object.byteLength < 20_000, `${object.byteLength} bytes`);
    });

    archived("the bytes leave the database, and attempts name the object", async ({ store, archive }) => {
      const commandId = await sealed(store, textParts("one\n", "two\n"));
      await move(store, commandId);
      const [attempt] = await store.commands.attempts({ commandId });
      assert.deepEqual([attempt?.logState, attempt?.logBytes], ["sealed", 8]);
      assert.equal(`archive:${keyOf(archive, commandId)}`, attempt?.logUri);
      const puts = archive.count("put");
      assert.deepEqual(await store.logs.archive({ commandId }), { archived: true });
      assert.equal(archive.count("put"), puts);
    });

    archived("an empty log stays as it is, and an open one is refused", async ({ store, archive }) => {
      const empty = await sealed(store, []);
      assert.deepEqual(await store.logs.archive({ commandId: empty }), { archived: false });
      assert.equal((await store.logs.read({ commandId: empty })).ended, true);
      const { command } = await fixtures(store).log();
      await fails(store.logs.archive({ commandId: command.id }), "invalid_transition", { state: "open" });
      await fails(store.logs.archive({ commandId: command.id, attempt: 7 }), "not_found", { entity: "attempt" });
      assert.equal(
        [...archive.objects.keys()].some((key) => key.includes(empty) || key.includes(command.id)),
        false,
      );
    });

    archived(
      "logs move by themselves when their attempt ended long enough ago, and open ones do not",
      async ({ store, clock, archive }) => {
        const old = await sealed(store, textParts("old\n"));
        const { command: open } = await fixtures(store).log();
        clock.advance(3_600_001);
        const young = await sealed(store, textParts("young\n"));
        // The next pass begins at once, and moves this one and all that is due.
        const wanted = await sealed(store, textParts("wanted\n"));
        await move(store, wanted);
        while (![...archive.objects.keys()].some((key) => key.includes(old))) await store.maintenance.stats();
        assert.equal(textOf((await store.logs.read({ commandId: old })).chunks), "old\n");
        const keys = [...archive.objects.keys()].join(" ");
        assert.ok(
          keys.includes(old) && keys.includes(wanted) && !keys.includes(young) && !keys.includes(open.id),
          keys,
        );
      },
    );

    archived("follow goes on when its log moves between two pages", async ({ store }) => {
      const parts = Array.from({ length: 30 }, (_, n) => `line ${n}\n`);
      const commandId = await sealed(store, textParts(...parts));
      const chunks: Chunk[] = [];
      for await (const chunk of store.logs.follow({ commandId, maxBytes: 1, until: "ended" })) {
        chunks.push(chunk);
        if (chunks.length === 10) await move(store, commandId);
      }
      assert.equal(textOf(chunks), parts.join(""));
    });

    archived("follow passes from an archived attempt to the one that runs", async ({ store, clock }) => {
      const { command, session } = await fixtures(store).command({ maxAttempts: 2 });
      const commandId = command.id;
      const claim = async () => {
        const { runner } = await fixtures(store).runner();
        const claimed = await store.commands.claim({ runnerId: runner.id, sessionId: session.id, ttlMs: 10_000 });
        return { commandId, fence: claimed?.fence as number };
      };
      await store.logs.append({ ...(await claim()), offset: 0, data: bytes("first\n") });
      clock.advance(600_000);
      await store.maintenance.reap();
      await move(store, commandId);
      const followed = collect(store.logs.follow({ commandId, attempt: 1, until: "ended", waitMs: 3_600_000 }));
      const second = await claim();
      await store.logs.append({ ...second, offset: 0, data: bytes("second\n") });
      await store.commands.finish({ ...second, outcome: "succeeded" });
      assert.deepEqual(
        (await followed).map(({ attempt, data }) => [attempt, text(data)]),
        [
          [1, "first\n"],
          [2, "second\n"],
        ],
      );
    });

    archived("reads of several archived logs in one transaction", async ({ store }) => {
      const ids = [await sealed(store, textParts("a\n")), await sealed(store, textParts("b\n"))];
      for (const commandId of ids) await move(store, commandId);
      const pages = await store.atomically((tx) => [
        ...ids.map((commandId) => tx.logs.read({ commandId })),
        tx.repositories.upsert({ name: "beside", remoteUrl: "https://git.example/beside.git" }),
      ]);
      assert.deepEqual(
        (pages.slice(0, 2) as LogPage[]).map(({ chunks }) => textOf(chunks)),
        ["a\n", "b\n"],
      );
      assert.equal((await store.repositories.list({})).items.filter(({ name }) => name === "beside").length, 1);
    });

    archived(
      "an archive that fails or does not answer fails the reads of archived logs, and nothing else",
      async ({ store, archive }) => {
        const commandId = await sealed(store, textParts("text\n"));
        await move(store, commandId);
        archive.instead.get = () => {
          throw new Error("no route to the archive");
        };
        const failed = await fails(store.logs.read({ commandId }), "io_error", { reason: "log_archive" }, "not_run");
        assert.ok(failed.retryable && /no route to the archive/.test(failed.message), failed.message);
        archive.instead.get = () => new Promise(() => undefined);
        const hanging = Array.from({ length: 20 }, () => fails(store.logs.read({ commandId }), "io_error"));
        const { command } = await fixtures(store).log();
        assert.equal(textOf((await store.logs.read({ commandId: command.id })).chunks), "hello\n");
        await Promise.all(hanging);
        archive.instead.get = () => "no bytes";
        await fails(store.logs.read({ commandId }), "io_error");
        delete archive.instead.get;
        assert.equal(textOf((await store.logs.read({ commandId })).chunks), "text\n");
      },
      // Long enough for reads that are answered, also on a busy machine.
      { logArchiveReadMs: 1_000 },
    );

    archived(
      "a log whose object cannot be stored, or whose storing never ends, stays where it is until it can move",
      async ({ store, archive, clock }) => {
        const commandId = await sealed(store, textParts("kept\n"));
        const readings: Promise<LogPage>[] = [];
        archive.instead.put = (_key, act) => {
          readings.push(store.logs.read({ commandId }));
          if (readings.length === 3) return act();
          // The lease of the move ends, so that another one may begin.
          clock.advance(1_000);
          return readings.length === 1 ? Promise.reject(new Error("access denied")) : new Promise(() => undefined);
        };
        await move(store, commandId);
        for (const reading of readings) assert.equal(textOf((await reading).chunks), "kept\n");
        assert.equal(textOf((await store.logs.read({ commandId })).chunks), "kept\n");
        assert.deepEqual([readings.length, archive.objects.size], [3, 1]);
        // Of a move that failed nobody knows whether its object is there, or is still to come.
        const stored = [...archive.objects.keys()];
        clock.advance(1_000);
        while ((await store.files.list({})).items.length > 0);
        assert.deepEqual([archive.count("delete"), [...archive.objects.keys()]], [2, stored]);
      },
      { logMoveMs: 1_000, logArchiveEveryMs: 20 },
    );

    archived(
      "a log that is to move at once moves after a failure too, although nobody waits for it",
      async ({ store, archive, clock }) => {
        const commandId = await sealed(store, textParts("kept\n"));
        const keys: string[] = [];
        archive.instead.put = (key, act) => {
          keys.push(key);
          // The lease of the move ends, so that another one may begin.
          clock.advance(1_000);
          return keys.length === 1 ? Promise.reject(new Error("access denied")) : act();
        };
        assert.deepEqual(await store.logs.archive({ commandId, waitMs: 0 }), { archived: false });
        while (archive.objects.size === 0) await store.maintenance.stats();
        assert.deepEqual([...archive.objects.keys()], keys.slice(1));
        assert.equal(textOf((await store.logs.read({ commandId })).chunks), "kept\n");
      },
      { logMoveMs: 1_000, logArchiveEveryMs: 20 },
    );

    archived("a damaged block or a missing object is never read as something else", async ({ store, archive }) => {
      const commandId = await sealed(store, textParts("some text\n"));
      await move(store, commandId);
      const [key, object] = [keyOf(archive, commandId), objectOf(archive, commandId)];
      for (let at = 0; at < object.byteLength; at += 7) {
        archive.objects.set(
          key,
          object.map((byte, index) => (index === at ? byte ^ 1 : byte)),
        );
        await fails(store.logs.read({ commandId }), "corrupt", { reason: "log_archive", uri: `archive:${key}` });
      }
      archive.objects.set(key, object.subarray(0, object.byteLength - 1));
      await fails(store.logs.read({ commandId }), "corrupt");
      archive.objects.delete(key);
      await fails(store.logs.read({ commandId }), "corrupt", { reason: "log_archive" });
      archive.objects.set(key, object);
      assert.equal(textOf((await store.logs.read({ commandId })).chunks), "some text\n");
    });

    archived("the check of the store finds objects that are gone, cut or damaged, and no other", async (opened) => {
      const { store, archive } = opened;
      const before = new Set(archive.objects.keys());
      const commandId = await sealed(store, textParts("some text\n"));
      await move(store, commandId);
      const key = [...archive.objects.keys()].find((one) => !before.has(one)) as string;
      const object = archive.objects.get(key) as Uint8Array;
      const faults = async (check?: string) =>
        (await findingsOf(store, check)).map(({ check: name, id, found }) => `${name} ${id}: ${found}`);
      assert.deepEqual([await faults(), await faults("log-object-content")], [[], []]);
      archive.objects.delete(key);
      for (const check of ["log-object", "log-object-content"])
        assert.deepEqual(await faults(check), [`${check} ${commandId}/1: archive:${key} is not in the log archive`]);
      archive.objects.set(key, object.subarray(0, -1));
      assert.deepEqual(await faults(), [
        `log-object ${commandId}/1: archive:${key} ends before ${object.length} bytes`,
      ]);
      archive.objects.set(
        key,
        object.map((byte, index) => (index === 20 ? byte ^ 1 : byte)),
      );
      assert.deepEqual(await faults(), []);
      assert.match(String(await faults("log-object-content")), /^log-object-content .* its checksum is wrong$/);
      archive.objects.set(key, object);
      archive.instead.get = () => Promise.reject(new Error("not now"));
      await fails(store.maintenance.fsck({ check: "log-object" }), "io_error");
      delete archive.instead.get;
      assert.deepEqual(await faults("log-object-content"), []);
    });

    archived(
      "a deleted session takes its archived logs along",
      async ({ store, archive, clock }) => {
        const commandId = await sealed(store, textParts("text\n"));
        await move(store, commandId);
        const [key, { byteLength }] = [keyOf(archive, commandId), objectOf(archive, commandId)];
        const { sessionId } = await store.commands.get({ commandId });
        await store.sessions.cancel({ sessionId });
        const sizes: number[] = [];
        archive.instead.delete = (_key, act) => {
          sizes.push(archive.objects.size);
          if (sizes.length === 1) throw new Error("not now");
          return act();
        };
        await store.sessions.delete({ sessionId });
        await fails(store.logs.read({ commandId }), "not_found");
        const files = async () => (await store.files.list({ kind: "log" })).items;
        // After a failure it is tried again, until the archive has acknowledged it.
        while ((await files())[0]?.failures !== 1);
        const [file] = await files();
        assert.deepEqual(
          { ...file, fence: undefined, dueAt: undefined, createdAt: undefined },
          {
            id: key.split(".")[2],
            kind: "log",
            place: "",
            uri: `archive:${key}`,
            sizeBytes: byteLength,
            sessionId,
            owner: null,
            failures: 1,
            lastError: "not now",
            fence: undefined,
            dueAt: undefined,
            createdAt: undefined,
          },
        );
        assert.deepEqual((await store.maintenance.stats()).rows.discarded_files, { log: 1 });
        clock.advance(10_000);
        while ((await files()).length > 0);
        assert.deepEqual([sizes, archive.objects.size], [[1, 1], 0]);
      },
      { logMoveMs: 200, logArchiveEveryMs: 10 },
    );

    archived(
      "a read that waits for the archive can be cancelled, and its client can leave",
      async ({ store, archive, connect }) => {
        const commandId = await sealed(store, textParts("text\n"));
        await move(store, commandId);
        const asked = Promise.withResolvers<void>();
        archive.instead.get = () => {
          asked.resolve();
          return new Promise(() => undefined);
        };
        const aborter = new AbortController();
        const cancelled = fails(store.logs.read({ commandId }, { signal: aborter.signal }), "aborted");
        await asked.promise;
        aborter.abort();
        await cancelled;
        const client = await connect();
        const left = fails(client.logs.read({ commandId }), "closed");
        await client.close();
        await left;
        delete archive.instead.get;
        assert.equal(textOf((await store.logs.read({ commandId })).chunks), "text\n");
      },
    );

    test("without an archive, a log that should move stays, and is moved by the next server that has one", async ({
      store,
    }) => {
      const commandId = await sealed(store, textParts("text\n"));
      assert.deepEqual(await store.logs.archive({ commandId, waitMs: 0 }), { archived: false });
      assert.equal(textOf((await store.logs.read({ commandId })).chunks), "text\n");
    });
  });
}
