// Patches: known by their hash, referred to by sessions, and gone with their file when nobody needs them.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { newId } from "../../../src/index.ts";
import { defaultLimits } from "../../../src/limits.ts";
import { defaultRetention } from "../../../src/model/retention.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, subject } from "../suite.ts";

const { commitSha } = fixtures({} as never);
const { patchesMs, sessionsMs } = defaultRetention;

/** Returns the record of a patch that no other test has. */
function newPatch() {
  const sha256 = createHash("sha256").update(newId()).digest("hex");
  return { sha256, uri: `s3://patches/${sha256}`, sizeBytes: 7 };
}

export function patchesConformance(backend: TestedBackend): void {
  subject(backend, "patches", ({ test, alone }) => {
    test("a patch is found by its hash once it is recorded, and recorded once", async ({ store }) => {
      const input = newPatch();
      assert.equal(await store.patches.find({ sha256: input.sha256 }), undefined);
      const { patch, created } = await store.patches.record(input);
      assert.deepEqual(
        [created, patch.sha256, patch.uri, patch.sizeBytes, patch.version],
        [true, ...Object.values(input), 1],
      );
      assert.deepEqual(await store.patches.find({ sha256: input.sha256 }), patch);
      assert.deepEqual(await store.patches.get({ patchId: patch.id }), patch);
      const again = await store.patches.record({ ...input, uri: `${input.uri}.copy` });
      assert.deepEqual([again.created, again.patch.id, again.patch.uri], [false, patch.id, input.uri]);
    });

    test("eight that record one patch at once get one row", async ({ store }) => {
      const input = newPatch();
      const answers = await Promise.all(Array.from({ length: 8 }, () => store.patches.record(input)));
      assert.equal(answers.filter(({ created }) => created).length, 1);
      assert.equal(new Set(answers.map(({ patch }) => patch.id)).size, 1);
    });

    test("a patch of the same hash and another size is refused, as is the id of another patch", async ({ store }) => {
      const input = newPatch();
      const { patch } = await store.patches.record(input);
      await fails(store.patches.record({ ...input, sizeBytes: 8 }), "conflict", {
        reason: "content",
        patchId: patch.id,
      });
      await fails(store.patches.record({ ...newPatch(), id: patch.id }), "conflict", {
        reason: "exists",
        patchId: patch.id,
      });
    });

    test("a session that names only the hash has the recorded patch, and one of a hash that is not known fails", async ({
      store,
    }) => {
      const input = newPatch();
      const { patch } = await store.patches.record(input);
      const { session, repository } = await fixtures(store).session({ patchHash: input.sha256 });
      assert.deepEqual([session.patchId, session.patchHash, session.patchUri], [patch.id, input.sha256, input.uri]);
      const { sha256 } = newPatch();
      const unknown = { repositoryId: repository.id, commitSha, patchHash: sha256 };
      await fails(store.sessions.create(unknown), "not_found", { entity: "patch", sha256 });
      assert.deepEqual(
        (await store.sessions.list({ patchId: patch.id })).items.map(({ id }) => id),
        [session.id],
      );
    });

    test("a session with a hash and a uri records the patch, of which the size is learned later", async ({ store }) => {
      const { sha256, uri, sizeBytes } = newPatch();
      const { session } = await fixtures(store).session({ patchHash: `sha256:${sha256.toUpperCase()}`, patchUri: uri });
      const patch = await store.patches.find({ sha256 });
      assert.deepEqual(
        [session.patchId, session.patchHash, patch?.uri, patch?.sizeBytes],
        [patch?.id, sha256, uri, null],
      );
      const { patch: known, created } = await store.patches.record({ sha256, uri, sizeBytes });
      assert.deepEqual([created, known.id, known.sizeBytes, known.version], [false, patch?.id, sizeBytes, 2]);
    });

    test("sessions that are created at once with a new patch share one row", async ({ store }) => {
      const { sha256: patchHash, uri: patchUri } = newPatch();
      const { repository } = await fixtures(store).repository();
      const input = { repositoryId: repository.id, commitSha, patchHash, patchUri };
      const created = await Promise.all(Array.from({ length: 6 }, () => store.sessions.create(input)));
      assert.equal(new Set(created.map(({ session }) => session.patchId)).size, 1);
      assert.notEqual(created[0]?.session.patchId, null);
    });

    test("a session that names another uri than the recorded one keeps its own, and does not hold the patch", async ({
      store,
    }) => {
      const input = newPatch();
      const { patch } = await store.patches.record(input);
      const patchUri = `${input.uri}.own`;
      const { session } = await fixtures(store).session({ patchHash: input.sha256, patchUri });
      assert.deepEqual([session.patchId, session.patchHash, session.patchUri], [null, input.sha256, patchUri]);
      assert.deepEqual(await store.patches.delete({ patchId: patch.id }), { deleted: true });
      const after = await endOfFeed(store);
      await store.sessions.cancel({ sessionId: session.id });
      await store.sessions.delete({ sessionId: session.id });
      const { changes } = await store.changes.since({ after, sessionId: session.id });
      assert.deepEqual(changes.at(-1)?.detail, { patchUri });
    });

    test("a hash that is no SHA-256 is refused", async ({ store }) => {
      const { repository } = await fixtures(store).repository();
      const input = { repositoryId: repository.id, commitSha, patchHash: "abc", patchUri: "s3://a" };
      await fails(() => store.sessions.create(input), "invalid_input");
    });

    alone("a patch goes when no session refers to it, and then a collector gets its file", async ({ store, clock }) => {
      const input = newPatch();
      const { patch } = await store.patches.record(input);
      const { session } = await fixtures(store).session({ patchHash: input.sha256 });
      const after = await endOfFeed(store);
      const held = { reason: "used", sessionId: session.id };
      await fails(store.patches.delete({ patchId: patch.id }), "conflict", held);
      await store.sessions.cancel({ sessionId: session.id });
      await fails(store.patches.delete({ patchId: patch.id }), "conflict", held);
      await store.sessions.delete({ sessionId: session.id });
      await fails(store.patches.delete({ patchId: patch.id, expectedVersion: 7 }), "conflict", { reason: "version" });
      assert.deepEqual(await store.patches.delete({ patchId: patch.id }), { deleted: true });
      assert.deepEqual(await store.patches.delete({ patchId: patch.id }), { deleted: true });
      const { changes } = await store.changes.since({ after });
      assert.deepEqual(
        changes.slice(-2).map(({ entity, op, detail }) => [entity, op, detail]),
        [
          ["session", "delete", null],
          ["patch", "delete", { sha256: input.sha256, uri: input.uri }],
        ],
      );
      clock.advance(defaultLimits.fileGraceMs);
      const { files } = await store.files.claim({ owner: "collector" });
      assert.deepEqual(
        files.map(({ id, kind, uri, sizeBytes }) => ({ id, kind, uri, sizeBytes })),
        [{ id: patch.id, kind: "patch", uri: input.uri, sizeBytes: 7 }],
      );
      await fails(store.patches.record(input), "conflict", { reason: "discarded" });
      await fails(
        store.sessions.create({
          repositoryId: session.repositoryId,
          commitSha,
          patchHash: input.sha256,
          patchUri: input.uri,
        }),
        "conflict",
        { reason: "discarded" },
      );
      assert.equal((await store.patches.record({ ...input, uri: `${input.uri}.new` })).created, true);
    });

    alone("a file that a patch and an artifact have is removed when both are gone", async ({ store, clock }) => {
      const input = newPatch();
      const { patch } = await store.patches.record(input);
      const { artifact } = await fixtures(store).artifact({ uri: input.uri });
      await store.artifacts.delete({ artifactId: artifact.id });
      clock.advance(defaultLimits.fileGraceMs);
      assert.deepEqual((await store.files.claim({ owner: "collector" })).files, []);
      await store.patches.delete({ patchId: patch.id });
      clock.advance(defaultLimits.fileGraceMs);
      const { files } = await store.files.claim({ owner: "collector" });
      assert.deepEqual(
        files.map(({ kind, uri }) => [kind, uri]),
        [["patch", input.uri]],
      );
    });

    alone("a patch in a data URI leaves no file behind", async ({ store }) => {
      const { patch } = await store.patches.record({ ...newPatch(), uri: "data:,a" });
      await store.patches.delete({ patchId: patch.id });
      assert.deepEqual((await store.files.list()).items, []);
      assert.deepEqual((await store.maintenance.stats()).rows.patches, {});
    });

    alone(
      "retention removes a patch some time after its last use, and never one of a session",
      async ({ store, clock }) => {
        const [unused, used, kept] = [newPatch(), newPatch(), newPatch()];
        for (const input of [unused, used, kept]) await store.patches.record(input);
        assert.deepEqual((await store.maintenance.stats()).rows.patches, { recorded: 3 });
        await fixtures(store).session({ patchHash: kept.sha256 });
        clock.advance(patchesMs - 1_000);
        await store.patches.record(used);
        const prune = async () => (await store.maintenance.prune({ kinds: ["patches"] })).rows;
        assert.deepEqual(await prune(), { patches: 0 });
        clock.advance(1_000);
        assert.deepEqual((await store.maintenance.prune({ kinds: ["patches"], dryRun: true })).rows, { patches: 1 });
        assert.deepEqual(await prune(), { patches: 1 });
        const left = (await store.patches.list({ order: "asc" })).items.map(({ sha256 }) => sha256);
        assert.deepEqual(left, [used.sha256, kept.sha256]);
        assert.deepEqual(
          (await store.files.list()).items.map(({ kind, uri }) => [kind, uri]),
          [["patch", unused.uri]],
        );
      },
    );

    alone("a patch goes in the pass in which its last session goes, whose file it then gives away", async (opened) => {
      const { store, clock } = opened;
      const input = newPatch();
      await store.patches.record(input);
      const { session } = await fixtures(store).session({ patchHash: input.sha256 });
      await store.sessions.cancel({ sessionId: session.id });
      clock.advance(sessionsMs + 60_000);
      const after = await endOfFeed(store);
      await store.maintenance.prune({ kinds: ["sessions", "patches"] });
      const { changes } = await store.changes.since({ after });
      assert.deepEqual(
        changes.map(({ entity, detail }) => [entity, detail]),
        [
          ["pruned", { rows: 1, ids: [session.id] }],
          ["patch", { sha256: input.sha256, uri: input.uri }],
          ["pruned", { rows: 1, ids: [] }],
        ],
      );
      assert.deepEqual((await store.patches.list()).items, []);
      assert.deepEqual(
        (await store.files.list()).items.map(({ uri }) => uri),
        [input.uri],
      );
    });
  });
}
