// Files that the store no longer needs: each is handed out to one collector at a time, until it is acknowledged.
import assert from "node:assert/strict";
import { newId, type Store } from "../../../src/index.ts";
import { defaultLimits } from "../../../src/limits.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { fails, subject } from "../suite.ts";

const sha256 = (digit: string) => digit.repeat(64);
const { fileGraceMs } = defaultLimits;

/** Records a file of a new session under a uri of its own. */
async function record(store: Store, options: { uri?: string; name?: string; sessionId?: string; digit?: string } = {}) {
  const sessionId = options.sessionId ?? (await fixtures(store).session()).session.id;
  const { artifact } = await store.artifacts.record({
    sessionId,
    name: options.name ?? "report.xml",
    sizeBytes: 7,
    sha256: sha256(options.digit ?? "0"),
    uri: options.uri ?? `file:///artifacts/${newId()}`,
  });
  return artifact;
}

const claim = (store: Store, ttlMs = 60_000) => store.files.claim({ owner: "collector", ttlMs, limit: 100 });
const urisOf = (files: readonly { readonly uri: string }[]) => files.map(({ uri }) => uri);
const named = (files: readonly { readonly id: string; readonly fence: number }[]) =>
  files.map(({ id, fence }) => ({ id, fence }));

export function filesConformance(backend: TestedBackend): void {
  subject(backend, "files", ({ alone }) => {
    alone("the file of every artifact that ends is handed out once, whatever ended it", async ({ store, clock }) => {
      const { session } = await fixtures(store).session();
      const sessionId = session.id;
      const deleted = await record(store, { sessionId, name: "deleted" });
      await store.artifacts.delete({ artifactId: deleted.id });
      const replaced = await record(store, { sessionId, name: "replaced" });
      const { artifact: successor } = await store.artifacts.record({
        sessionId,
        name: "replaced",
        sizeBytes: 1,
        sha256: sha256("1"),
        uri: `file:///artifacts/${newId()}`,
        replace: true,
      });
      const { artifact: expiring } = await store.artifacts.record({
        sessionId,
        name: "expired",
        sizeBytes: 1,
        sha256: sha256("2"),
        uri: `file:///artifacts/${newId()}`,
        ttlMs: 1_000,
      });
      await store.artifacts.begin({ sessionId, name: "never committed", ttlMs: 1_000 });
      clock.advance(1_001);
      await store.maintenance.reap();
      assert.deepEqual(await claim(store), { files: [], left: false });
      clock.advance(fileGraceMs);
      const { files } = await claim(store);
      assert.deepEqual(urisOf(files).toSorted(), [deleted.uri, replaced.uri, expiring.uri].toSorted());
      assert.deepEqual(await store.files.acknowledge({ files: named(files) }), { lost: [] });
      // The session takes the artifact that is left with it. Those that ended before are not handed out again.
      await store.sessions.cancel({ sessionId });
      await store.sessions.delete({ sessionId });
      clock.advance(fileGraceMs);
      const { files: last } = await claim(store);
      assert.deepEqual(
        last.map(({ id, kind, uri, sizeBytes, sessionId }) => ({ id, kind, uri, sizeBytes, sessionId })),
        [{ id: successor.id, kind: "artifact", uri: successor.uri, sizeBytes: 1, sessionId }],
      );
    });

    alone("the files of 600 artifacts are handed out when their session is deleted", async ({ store, clock }) => {
      const { id: sessionId } = (await fixtures(store).session()).session;
      const uris: string[] = [];
      for (let number = 0; number < 600; number++) uris.push(`file:///artifacts/${number}`);
      await Promise.all(uris.map((uri, number) => record(store, { sessionId, name: `file ${number}`, uri })));
      await store.sessions.cancel({ sessionId });
      await store.sessions.delete({ sessionId });
      clock.advance(fileGraceMs);
      const seen: string[] = [];
      for (let files = (await claim(store)).files; files.length > 0; files = (await claim(store)).files) {
        seen.push(...urisOf(files));
        await store.files.acknowledge({ files: named(files) });
      }
      assert.deepEqual(seen.toSorted(), uris.toSorted());
      assert.deepEqual((await store.files.list()).items, []);
    });

    alone(
      "two collectors never have the same file, and the lease of a dead one passes on",
      async ({ store, clock }) => {
        const { id: sessionId } = (await fixtures(store).session()).session;
        for (let number = 0; number < 6; number++) {
          const artifact = await record(store, { sessionId, name: `file ${number}` });
          await store.artifacts.delete({ artifactId: artifact.id });
        }
        clock.advance(fileGraceMs);
        const take = (owner: string) => store.files.claim({ owner, limit: 3, ttlMs: 10_000 });
        const [first, second] = await Promise.all([take("first"), take("second")]);
        assert.equal(new Set(urisOf([...first.files, ...second.files])).size, 6);
        assert.deepEqual((await take("third")).files, []);
        clock.advance(10_000);
        const { files: again } = await store.files.claim({ owner: "third", limit: 100 });
        assert.deepEqual(
          again.map(({ owner, fence }) => [owner, fence]),
          Array(6).fill(["third", 2]),
        );
        // The first collector is late: the third has its files, and only it may say that they are gone.
        const { lost } = await store.files.acknowledge({ files: named(first.files) });
        assert.deepEqual(lost.toSorted(), first.files.map(({ id }) => id).toSorted());
        assert.deepEqual(await store.files.acknowledge({ files: named(again) }), { lost: [] });
        assert.deepEqual(await store.files.acknowledge({ files: named(again) }), { lost: [] });
        assert.deepEqual((await store.files.list()).items, []);
      },
    );

    alone("a file that cannot be removed comes again after a growing pause, and holds up no other", async (opened) => {
      const { store, clock } = opened;
      const bad = await record(store);
      await store.artifacts.delete({ artifactId: bad.id });
      clock.advance(fileGraceMs);
      for (const pauseMs of [10_000, 20_000, 40_000]) {
        const { files } = await claim(store);
        assert.deepEqual(urisOf(files), [bad.uri]);
        assert.deepEqual(
          await store.files.fail({ files: files.map(({ id, fence }) => ({ id, fence, error: "access denied" })) }),
          { lost: [] },
        );
        clock.advance(pauseMs - 5_000);
        assert.deepEqual((await claim(store)).files, []);
        clock.advance(5_000);
      }
      const [row] = (await store.files.list({ kind: "artifact" })).items;
      assert.deepEqual([row?.failures, row?.lastError, row?.owner], [3, "access denied", null]);
      const good = await record(store);
      await store.artifacts.delete({ artifactId: good.id });
      clock.advance(fileGraceMs);
      assert.deepEqual(urisOf((await claim(store)).files), [bad.uri, good.uri]);
      const { files } = await claim(store);
      assert.deepEqual(files, []);
    });

    alone("a file that another artifact has is handed out when that one ends", async ({ store, clock }) => {
      const uri = "s3://bucket/shared";
      const [one, other] = [await record(store, { uri }), await record(store, { uri })];
      await store.artifacts.delete({ artifactId: one.id });
      clock.advance(fileGraceMs);
      assert.deepEqual((await claim(store)).files, []);
      await store.artifacts.delete({ artifactId: other.id });
      clock.advance(fileGraceMs);
      assert.deepEqual(urisOf((await claim(store)).files), [uri]);
    });

    alone("files that other artifacts have do not end a claim before those that nobody has", async (opened) => {
      const { store, clock } = opened;
      const [one, other] = [(await fixtures(store).session()).session.id, (await fixtures(store).session()).session.id];
      const uris = [1, 2, 3, 4, 5].map((number) => `s3://bucket/${number}`);
      for (const uri of uris) await record(store, { uri, name: uri.slice(-1), sessionId: one });
      for (const uri of uris.slice(0, 4)) await record(store, { uri, name: uri.slice(-1), sessionId: other });
      for (const { id } of (await store.artifacts.list({ sessionId: one, order: "asc" })).items) {
        await store.artifacts.delete({ artifactId: id });
        clock.advance(1);
      }
      clock.advance(fileGraceMs);
      const { files, left } = await store.files.claim({ owner: "collector", limit: 2 });
      assert.deepEqual([urisOf(files), left], [["s3://bucket/5"], false]);
      assert.equal((await store.files.list()).items.length, 1);
    });

    alone("a discarded file is named again until a collector has it, and after its removal", async (opened) => {
      const { store, clock } = opened;
      const uri = "s3://bucket/again";
      const first = await record(store, { uri });
      await store.artifacts.delete({ artifactId: first.id });
      const second = await record(store, { uri });
      clock.advance(fileGraceMs);
      assert.deepEqual((await store.files.list()).items, []);
      await store.artifacts.delete({ artifactId: second.id });
      clock.advance(fileGraceMs);
      const { files } = await claim(store);
      await fails(record(store, { uri }), "conflict", { reason: "discarded" });
      const { id: sessionId } = (await fixtures(store).session()).session;
      const { artifact } = await store.artifacts.begin({ sessionId, name: "later" });
      const commit = () => store.artifacts.commit({ artifactId: artifact.id, sizeBytes: 1, sha256: sha256("3"), uri });
      await fails(commit(), "conflict", { reason: "discarded" });
      // A collector that gave it back may have removed it all the same.
      await store.files.fail({ files: named(files) });
      await fails(commit(), "conflict", { reason: "discarded" });
      await store.files.acknowledge({ files: named(files) });
      assert.equal((await commit()).uri, uri);
    });

    alone("a claim that waits gets a file as soon as it is due", async ({ store, clock }) => {
      const waiting = store.files.claim({ owner: "collector", waitMs: 600_000 });
      const artifact = await record(store);
      await store.artifacts.delete({ artifactId: artifact.id });
      clock.advance(fileGraceMs);
      assert.deepEqual(urisOf((await waiting).files), [artifact.uri]);
    });

    alone("claims by kind get files of that kind only", async ({ store, clock }) => {
      const artifact = await record(store);
      await store.artifacts.delete({ artifactId: artifact.id });
      clock.advance(fileGraceMs);
      assert.deepEqual((await store.files.claim({ owner: "logs", kinds: "log" })).files, []);
      assert.deepEqual(urisOf((await store.files.claim({ owner: "all", kinds: ["log", "artifact"] })).files), [
        artifact.uri,
      ]);
    });
  });
}
