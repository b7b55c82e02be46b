// Artifacts: recording in one step or two, once for each content; hostile names; expiry and pins.
import assert from "node:assert/strict";
import { newId } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import type { TestedBackend } from "../../support/backends.ts";
import { endOfFeed, fails, subject, text } from "../suite.ts";

const sha = (digit: string): string => digit.repeat(64);
const content = { sizeBytes: 3, sha256: sha("a"), uri: "file:///srv/out.txt" };

export function artifactsConformance(backend: TestedBackend): void {
  subject(backend, "artifacts", ({ test, alone }) => {
    test("record stores the metadata of a file, which belongs to a command or to a session as a whole", async ({
      store,
    }) => {
      const { session, command } = await fixtures(store).claim();
      const metadata = { tests: 7, at: new Date(0) };
      const { artifact, created } = await store.artifacts.record({
        sessionId: session.id,
        commandId: command.id,
        name: "coverage/lcov.info",
        kind: "coverage",
        contentType: "text/plain; charset=utf-8",
        description: "of all tests",
        metadata,
        ...content,
      });
      assert.equal(created, true);
      assert.deepEqual(
        [
          artifact.sessionId,
          artifact.commandId,
          artifact.attempt,
          artifact.name,
          artifact.kind,
          artifact.state,
          artifact.metadata,
          artifact.pinned,
        ],
        [session.id, command.id, 1, "coverage/lcov.info", "coverage", "ready", metadata, false],
      );
      assert.deepEqual(
        [artifact.sizeBytes, artifact.sha256, artifact.uri, artifact.expiresAt],
        [3, sha("a"), content.uri, null],
      );
      assert.deepEqual(await store.artifacts.get({ artifactId: artifact.id }), artifact);
      const whole = await store.artifacts.record({ sessionId: session.id, name: "coverage/lcov.info", ...content });
      assert.deepEqual(
        [whole.created, whole.artifact.commandId, whole.artifact.attempt, whole.artifact.kind],
        [true, null, null, "custom"],
      );
    });

    test("the same content under a name, even eight times at once, is one row; other content needs replace", async ({
      store,
    }) => {
      const { session, command } = await fixtures(store).claim();
      const input = { sessionId: session.id, commandId: command.id, name: "out.txt", ...content };
      const answers = await Promise.all(Array.from({ length: 8 }, () => store.artifacts.record(input)));
      assert.deepEqual(answers.map(({ created }) => created).sort(), [
        false,
        false,
        false,
        false,
        false,
        false,
        false,
        true,
      ]);
      const [{ artifact } = assert.fail()] = answers;
      assert.equal(new Set(answers.map(({ artifact: { id } }) => id)).size, 1);
      await fails(store.artifacts.record({ ...input, sha256: sha("b") }), "conflict", {
        reason: "content",
        artifactId: artifact.id,
        sha256: sha("a"),
      });
      const replaced = await store.artifacts.record({ ...input, sha256: sha("b"), replace: true });
      assert.equal(replaced.created, true);
      assert.notEqual(replaced.artifact.id, artifact.id);
      assert.equal((await store.artifacts.get({ artifactId: artifact.id })).state, "deleted");
      assert.deepEqual(
        (await store.artifacts.record({ ...input, sha256: sha("b"), replace: true })).artifact,
        replaced.artifact,
      );
    });

    test("each attempt has its own names, and an attempt that does not exist is refused", async ({ store, clock }) => {
      const { session, command, runner } = await fixtures(store).claim({ maxAttempts: 2 });
      const input = { sessionId: session.id, commandId: command.id, name: "core", ...content };
      const first = await store.artifacts.record(input);
      clock.advance(60_001);
      await store.maintenance.reap();
      await store.runners.heartbeat({ runnerId: runner.id });
      await store.commands.claim({ runnerId: runner.id, sessionId: session.id });
      const second = await store.artifacts.record({ ...input, sha256: sha("b") });
      assert.deepEqual([first.artifact.attempt, second.artifact.attempt], [1, 2]);
      assert.equal((await store.artifacts.record({ ...input, attempt: 1 })).created, false);
      await fails(store.artifacts.record({ ...input, attempt: 3 }), "not_found", { entity: "attempt" });
    });

    test("the session and the command of an artifact must exist and belong together", async ({ store }) => {
      const { session } = await fixtures(store).claim();
      const queued = await fixtures(store).command();
      const named = { name: "x", ...content };
      await fails(store.artifacts.record({ ...named, sessionId: newId() }), "not_found", { entity: "session" });
      await fails(store.artifacts.record({ ...named, sessionId: session.id, commandId: newId() }), "not_found", {
        entity: "command",
      });
      await fails(
        store.artifacts.record({ ...named, sessionId: session.id, commandId: queued.command.id }),
        "not_found",
        { entity: "command" },
      );
      await fails(
        store.artifacts.record({ ...named, sessionId: queued.session.id, commandId: queued.command.id }),
        "not_found",
        { entity: "attempt" },
      );
      await fails(store.artifacts.record({ ...named, sessionId: session.id, attempt: 1 }), "not_found", {
        entity: "attempt",
      });
      await fails(store.artifacts.get({ artifactId: newId() }), "not_found", { entity: "artifact" });
      const { artifact } = await fixtures(store).artifact();
      await fails(store.artifacts.record({ ...named, id: artifact.id, sessionId: session.id }), "conflict", {
        reason: "exists",
        artifactId: artifact.id,
      });
    });

    for (const name of [
      "",
      "/etc/passwd",
      "..",
      ".",
      "a/../b",
      "../a",
      "a/..",
      "a//b",
      "a/",
      "./a",
      "a\\..\\b",
      "\\\\server\\share",
      "C:evil",
      "c:/evil",
      "a\u0000b",
      "a\nb",
      "a\u001b[2Jb",
      "a\u007fb",
      "a\u0085b",
      "a\u2028b",
      "a\u202egpj.exe",
      "a\ud800",
      " a",
      "a/ .. /b",
      "...",
      ".. .",
      "a./b",
      "a/C:x",
      "a:stream",
      "con",
      "a/NUL.txt",
      "com1 .log",
      "a\u061cb",
      "x".repeat(501),
    ]) {
      test(`a hostile name is refused: ${JSON.stringify(name.slice(0, 20))}`, async ({ store }) => {
        const { session } = await fixtures(store).session();
        await fails(
          store.artifacts.record({ sessionId: session.id, name, ...content }),
          "invalid_input",
          {},
          "not_run",
        );
        await fails(store.artifacts.begin({ sessionId: session.id, name }), "invalid_input", {}, "not_run");
      });
    }

    test("names that only look hostile are accepted", async ({ store }) => {
      const { session } = await fixtures(store).session();
      for (const name of [
        "..a",
        "a..b/c",
        "console",
        "com10",
        "nullable.txt",
        ".hidden",
        "日本語/größe.txt",
        "a b",
        "C/x",
        "-rf",
      ]) {
        assert.equal((await store.artifacts.record({ sessionId: session.id, name, ...content })).artifact.name, name);
      }
    });

    test("an invalid media type, hash, size and uri are refused", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const input = { sessionId: session.id, name: "x", ...content };
      for (const contentType of ["text", "text/plain\r\nx: y", "text/plain; a", "/", ""])
        await fails(store.artifacts.record({ ...input, contentType }), "invalid_input");
      for (const sha256 of ["a", sha("A"), sha("g"), `${sha("a")}\n`])
        await fails(store.artifacts.record({ ...input, sha256 }), "invalid_input");
      for (const sizeBytes of [-1, 1.5, Number.NaN, 2 ** 60])
        await fails(store.artifacts.record({ ...input, sizeBytes }), "invalid_input");
      for (const uri of ["", "file:///a\nb", "x".repeat(4_097)])
        await fails(store.artifacts.record({ ...input, uri }), "invalid_input");
      await fails(store.artifacts.record({ ...input, kind: "virus" as "log" }), "invalid_input");
    });

    test("an artifact is recorded in two steps: begin, then commit with its content", async ({ store }) => {
      const { session, command } = await fixtures(store).claim();
      const input = { sessionId: session.id, commandId: command.id, name: "big.tar", kind: "custom" as const };
      const { artifact, created } = await store.artifacts.begin(input);
      assert.deepEqual([created, artifact.state, artifact.sha256, artifact.uri], [true, "pending", null, null]);
      assert.equal((artifact.expiresAt?.getTime() ?? 0) - artifact.createdAt.getTime(), 3_600_000);
      assert.deepEqual(await store.artifacts.begin(input), { artifact, created: false });
      await fails(store.artifacts.record({ ...input, ...content }), "conflict", {
        reason: "pending",
        artifactId: artifact.id,
      });
      const ready = await store.artifacts.commit({ artifactId: artifact.id, ...content, expectedVersion: 1 });
      assert.deepEqual(
        [ready.state, ready.sizeBytes, ready.sha256, ready.uri, ready.expiresAt, ready.version],
        ["ready", 3, sha("a"), content.uri, null, 2],
      );
      assert.deepEqual(await store.artifacts.commit({ artifactId: artifact.id, ...content }), ready);
      await fails(store.artifacts.commit({ artifactId: artifact.id, ...content, sha256: sha("b") }), "conflict", {
        reason: "content",
      });
      // A file that the store knows needs no second upload.
      assert.deepEqual(await store.artifacts.begin({ ...input, sha256: sha("a") }), {
        artifact: ready,
        created: false,
      });
      await fails(store.artifacts.begin(input), "conflict", { reason: "content" });
      const anew = await store.artifacts.begin({ ...input, replace: true });
      assert.deepEqual([anew.created, (await store.artifacts.get({ artifactId: ready.id })).state], [true, "deleted"]);
    });

    test("an artifact that was announced with a hash can only be committed with that hash", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const { artifact } = await store.artifacts.begin({ sessionId: session.id, name: "x", sha256: sha("a") });
      await fails(store.artifacts.commit({ artifactId: artifact.id, ...content, sha256: sha("b") }), "conflict", {
        reason: "content",
      });
      await fails(store.artifacts.commit({ artifactId: artifact.id, ...content, expectedVersion: 7 }), "conflict", {
        reason: "version",
      });
      assert.equal((await store.artifacts.commit({ artifactId: artifact.id, ...content })).state, "ready");
    });

    test("delete ends a ready artifact as deleted and a pending one as failed, for good, and frees their names", async ({
      store,
    }) => {
      const { session } = await fixtures(store).session();
      const input = { sessionId: session.id, name: "x" };
      const { artifact: ready } = await store.artifacts.record({ ...input, ...content });
      await fails(store.artifacts.delete({ artifactId: ready.id, expectedVersion: 5 }), "conflict", {
        reason: "version",
      });
      const deleted = await store.artifacts.delete({ artifactId: ready.id });
      assert.deepEqual([deleted.state, deleted.uri], ["deleted", content.uri]);
      assert.deepEqual(await store.artifacts.delete({ artifactId: ready.id }), deleted);
      const { artifact: pending } = await store.artifacts.begin(input);
      assert.equal((await store.artifacts.delete({ artifactId: pending.id })).state, "failed");
      for (const { id, state } of [
        { id: ready.id, state: "deleted" },
        { id: pending.id, state: "failed" },
      ]) {
        await fails(store.artifacts.commit({ artifactId: id, ...content }), "invalid_transition", { state });
        await fails(store.artifacts.pin({ artifactId: id }), "invalid_transition", { state });
      }
      assert.equal((await store.artifacts.record({ ...input, ...content })).created, true);
      await fails(store.artifacts.delete({ artifactId: newId() }), "not_found");
    });

    alone("the reaper ends expired artifacts that are not pinned", async ({ store, clock }) => {
      const { session } = await fixtures(store).session();
      const base = { sessionId: session.id, ...content };
      const { artifact: short } = await store.artifacts.record({ ...base, name: "short", ttlMs: 60_000 });
      const { artifact: kept } = await store.artifacts.record({ ...base, name: "kept", ttlMs: 60_000 });
      const { artifact: forever } = await store.artifacts.record({ ...base, name: "forever" });
      const { artifact: begun } = await store.artifacts.begin({ sessionId: session.id, name: "begun", ttlMs: 60_000 });
      assert.equal((await store.artifacts.pin({ artifactId: kept.id })).pinned, true);
      clock.advance(30_000);
      assert.deepEqual((await store.maintenance.reap()).artifacts, []);
      clock.advance(30_000);
      assert.deepEqual((await store.maintenance.reap()).artifacts.sort(), [short.id, begun.id].sort());
      const states = (await store.artifacts.list({ sessionId: session.id })).items.map(({ name, state }) => [
        name,
        state,
      ]);
      assert.deepEqual(Object.fromEntries(states), {
        short: "deleted",
        kept: "ready",
        forever: "ready",
        begun: "failed",
      });
      await fails(store.artifacts.delete({ artifactId: kept.id }), "conflict", { reason: "pinned" });
      await fails(store.artifacts.record({ ...base, name: "kept", sha256: sha("c"), replace: true }), "conflict", {
        reason: "pinned",
      });
      await store.artifacts.pin({ artifactId: kept.id, pinned: false });
      assert.deepEqual((await store.maintenance.reap()).artifacts, [kept.id]);
      assert.equal((await store.artifacts.get({ artifactId: forever.id })).state, "ready");
    });

    test("list returns pages, and filters by session, command, kind and state", async ({ store, clock }) => {
      const { session, command } = await fixtures(store).claim();
      const record = (name: string, extra: object = {}) =>
        store.artifacts.record({ sessionId: session.id, name, ...content, ...extra });
      for (const name of ["a", "b", "c"]) {
        await record(name, { kind: "log" });
        // The order is that of the clock, which may be set back a little when the server's is read again.
        clock.advance(1_000);
      }
      const { artifact } = await record("d", { commandId: command.id, kind: "junit" });
      await store.artifacts.delete({ artifactId: artifact.id });
      const names = async (filter: object) =>
        (await store.artifacts.list({ sessionId: session.id, ...filter })).items.map(({ name }) => name);
      assert.deepEqual(await names({}), ["a", "b", "c", "d"]);
      assert.deepEqual(await names({ kind: "log" }), ["a", "b", "c"]);
      assert.deepEqual(await names({ state: "deleted" }), ["d"]);
      assert.deepEqual(await names({ commandId: command.id }), ["d"]);
      const first = await store.artifacts.list({ sessionId: session.id, limit: 3 });
      assert.deepEqual(await names({ cursor: first.nextCursor }), ["d"]);
    });

    test("changes name the artifact and its session, and a repeated call adds none", async ({ store }) => {
      const { session, command } = await fixtures(store).claim();
      const after = await endOfFeed(store);
      const input = { sessionId: session.id, commandId: command.id, name: "x", ...content };
      const { artifact } = await store.artifacts.record(input);
      await store.artifacts.record(input);
      await store.artifacts.pin({ artifactId: artifact.id });
      await store.artifacts.pin({ artifactId: artifact.id });
      const { changes } = await store.changes.since({ after, entity: "artifact" });
      const own = changes.filter(({ entityId }) => entityId === artifact.id);
      assert.deepEqual(
        own.map(({ op, entityVersion, sessionId }) => [op, entityVersion, sessionId]),
        [
          ["record", 1, session.id],
          ["pin", 2, session.id],
        ],
      );
      assert.deepEqual(own[0]?.detail, { name: "x", kind: "custom", sha256: sha("a"), commandId: command.id });
    });

    test("deleting a session deletes all of its artifacts, however many", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const names = Array.from({ length: 600 }, (_, index) => `file-${index}`);
      const recorded = await Promise.all(
        names.map((name) => store.artifacts.record({ sessionId: session.id, name, ...content })),
      );
      await store.sessions.cancel({ sessionId: session.id });
      await store.sessions.delete({ sessionId: session.id });
      await fails(store.artifacts.get({ artifactId: recorded[0]?.artifact.id as string }), "not_found");
      assert.deepEqual((await store.artifacts.list({ sessionId: session.id })).items, []);
    });

    test("a session with a pinned artifact cannot be deleted, and keeps everything", async ({ store }) => {
      const { session, command, fence } = await fixtures(store).log("some text\n");
      const { artifact } = await store.artifacts.record({ sessionId: session.id, name: "kept", ...content });
      await store.artifacts.pin({ artifactId: artifact.id });
      await store.commands.finish({ commandId: command.id, fence, outcome: "succeeded" });
      await store.sessions.complete({ sessionId: session.id });
      await fails(store.sessions.delete({ sessionId: session.id }), "conflict", {
        reason: "pinned",
        artifactId: artifact.id,
      });
      assert.equal((await store.artifacts.get({ artifactId: artifact.id })).state, "ready");
      const { chunks } = await store.logs.read({ commandId: command.id });
      assert.deepEqual(
        chunks.map(({ data }) => text(data)),
        ["some text\n"],
      );
      await store.artifacts.pin({ artifactId: artifact.id, pinned: false });
      assert.deepEqual(await store.sessions.delete({ sessionId: session.id }), { deleted: true });
    });
  });
}
