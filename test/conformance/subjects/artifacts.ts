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
      "what?",
      "a|b",
      "a/<b>",
      '"a"',
      "*.log",
      "x".repeat(501),
      "x".repeat(256),
      `a/${"ö".repeat(128)}/b`,
      // Each of these characters is two in normalization form C.
      "\u0958".repeat(300),
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
        "x".repeat(255),
        `${"x/".repeat(249)}x`,
      ]) {
        assert.equal((await store.artifacts.record({ sessionId: session.id, name, ...content })).artifact.name, name);
      }
    });

    test("names that look the same are one name, in normalization form C", async ({ store }) => {
      const { session } = await fixtures(store).session();
      const named = (name: string) => ({ sessionId: session.id, name });
      const { artifact } = await store.artifacts.record({
        ...named("cafe\u0301/r\u0065\u0301sume\u0301.txt"),
        ...content,
      });
      assert.equal(artifact.name, "caf\u00e9/r\u00e9sum\u00e9.txt");
      const again = await store.artifacts.record({ ...named(artifact.name), ...content });
      assert.deepEqual([again.created, again.artifact.id], [false, artifact.id]);
      await fails(store.artifacts.begin(named("caf\u00e9/r\u00e9sume\u0301.txt")), "conflict", {
        reason: "content",
        artifactId: artifact.id,
      });
      await fails(store.artifacts.begin(named("cafe\u0301")), "conflict", { reason: "folder" });
    });

    test("a file has no name that another needs as a folder, in the same session or attempt", async ({ store }) => {
      const { session, command } = await fixtures(store).claim();
      const record = (name: string, more: object = {}) =>
        store.artifacts.record({ sessionId: session.id, name, ...content, ...more });
      const { artifact: below } = await record("report/unit/junit.xml");
      for (const name of ["report", "report/unit"])
        for (const more of [{}, { replace: true }])
          await fails(record(name, more), "conflict", { reason: "folder", artifactId: below.id, name: below.name });
      await fails(store.artifacts.begin({ sessionId: session.id, name: "report" }), "conflict", { reason: "folder" });
      const { artifact: above } = await store.artifacts.begin({ sessionId: session.id, name: "logs" });
      for (const name of ["logs/a", "logs/a/b/c", "logs/a/b/c/d/e/f/g"])
        await fails(record(name), "conflict", { reason: "folder", artifactId: above.id });
      // These only share their first characters, or belong to an attempt of a command.
      for (const name of [
        "report-unit",
        "report.xml",
        "report0",
        "report/unit2",
        "report/unit/other.xml",
        "log",
        "logs2/a",
      ])
        assert.equal((await record(name)).created, true, name);
      const ofCommand = { commandId: command.id };
      assert.equal((await record("report", ofCommand)).created, true);
      await fails(record("report/unit/junit.xml", ofCommand), "conflict", { reason: "folder" });
      assert.equal((await record("logs/a", ofCommand)).created, true);
      await fails(record("logs", ofCommand), "conflict", { reason: "folder" });
      // A name that is free again is no folder.
      await store.artifacts.delete({ artifactId: above.id });
      assert.equal((await record("logs/a")).created, true);
      await fails(record("logs"), "conflict", { reason: "folder" });
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
      const again = await store.artifacts.begin({ ...input, ttlMs: 60_000 });
      assert.deepEqual(again, { artifact, created: false });
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

    test("an artifact whose time is over is over for every call, before the reaper has ended it", async ({
      store,
      clock,
    }) => {
      const { session } = await fixtures(store).session();
      const named = (name: string) => ({ sessionId: session.id, name });
      const ttlMs = 60_000;
      const { artifact: ready } = await store.artifacts.record({ ...named("ready"), ...content, ttlMs });
      const { artifact: other } = await store.artifacts.record({ ...named("other"), ...content, ttlMs });
      const { artifact: pending } = await store.artifacts.begin({ ...named("pending"), ttlMs });
      const { artifact: pinned } = await store.artifacts.record({ ...named("pinned"), ...content, ttlMs });
      const { artifact: folder } = await store.artifacts.record({ ...named("folder"), ...content, ttlMs });
      await store.artifacts.pin({ artifactId: pinned.id });
      clock.advance(ttlMs);
      const after = await endOfFeed(store);
      const expired = (artifact: typeof ready) => ({ state: artifact.state, expiredAt: artifact.expiresAt });
      for (const artifact of [ready, pending]) {
        const { id: artifactId } = artifact;
        await fails(store.artifacts.commit({ artifactId, ...content }), "invalid_transition", expired(artifact));
        await fails(store.artifacts.pin({ artifactId }), "invalid_transition", expired(artifact));
      }
      const states = async (...rows: { id: string }[]) =>
        Promise.all(rows.map(async ({ id }) => (await store.artifacts.get({ artifactId: id })).state));
      assert.deepEqual(await states(ready, pending), ["ready", "pending"]);
      const again = await store.artifacts.record({ ...named("ready"), ...content });
      const differs = await store.artifacts.record({ ...named("other"), ...content, sha256: sha("b") });
      const announced = await store.artifacts.begin(named("pending"));
      const below = await store.artifacts.record({ ...named("folder/file"), ...content });
      assert.deepEqual(
        [again, differs, announced, below].map(({ created }) => created),
        [true, true, true, true],
      );
      assert.deepEqual(await states(ready, other, pending), ["deleted", "deleted", "failed"]);
      const { changes } = await store.changes.since({ after, sessionId: session.id });
      const ended = changes.filter(({ op }) => op === "expire").map(({ entityId }) => entityId);
      assert.deepEqual(ended, [ready.id, other.id, pending.id]);
      assert.equal((await store.artifacts.record({ ...named("pinned"), ...content })).created, false);
      await store.maintenance.reap();
      assert.deepEqual(await states(again.artifact, differs.artifact, announced.artifact, pinned, folder), [
        "ready",
        "ready",
        "pending",
        "ready",
        "deleted",
      ]);
    });

    test("a pin can be removed again when the artifact has then been over, or has ended", async ({ store, clock }) => {
      const { session } = await fixtures(store).session();
      const { artifact } = await store.artifacts.record({
        sessionId: session.id,
        name: "x",
        ...content,
        ttlMs: 60_000,
      });
      const { id: artifactId, version } = await store.artifacts.pin({ artifactId: artifact.id });
      clock.advance(60_000);
      const unpin = () => store.artifacts.pin({ artifactId, pinned: false, expectedVersion: version });
      const unpinned = await unpin();
      assert.deepEqual([unpinned.pinned, unpinned.state], [false, "ready"]);
      assert.deepEqual(await unpin(), unpinned);
      const ended = await store.artifacts.delete({ artifactId });
      assert.deepEqual(await unpin(), ended);
      await fails(store.artifacts.pin({ artifactId }), "invalid_transition", { state: "deleted" });
    });

    test("the same content again keeps an artifact until the later of the two times", async ({ store, clock }) => {
      const { session } = await fixtures(store).session();
      const input = { sessionId: session.id, name: "x", ...content };
      const msOf = ({ expiresAt, updatedAt }: { expiresAt: Date | null; updatedAt: Date }) =>
        expiresAt === null ? null : expiresAt.getTime() - updatedAt.getTime();
      const { artifact } = await store.artifacts.record({ ...input, ttlMs: 60_000 });
      const shorter = await store.artifacts.record({ ...input, ttlMs: 30_000 });
      assert.deepEqual(shorter, { artifact, created: false });
      const after = await endOfFeed(store);
      const longer = await store.artifacts.record({ ...input, ttlMs: 90_000 });
      assert.deepEqual([longer.created, msOf(longer.artifact), longer.artifact.version], [false, 90_000, 2]);
      const committed = await store.artifacts.commit({ artifactId: artifact.id, ...content, ttlMs: 120_000 });
      assert.deepEqual([msOf(committed), committed.version], [120_000, 3]);
      const endless = await store.artifacts.record(input);
      assert.deepEqual([endless.created, endless.artifact.expiresAt], [false, null]);
      assert.deepEqual(await store.artifacts.record({ ...input, ttlMs: 90_000 }), endless);
      const { changes } = await store.changes.since({ after, sessionId: session.id });
      assert.deepEqual(
        changes.map(({ op, detail }) => [op, detail]),
        [
          ["extend", { expiresAt: longer.artifact.expiresAt?.toISOString() }],
          ["extend", { expiresAt: committed.expiresAt?.toISOString() }],
          ["extend", { expiresAt: null }],
        ],
      );
      // A file that is announced again has the longer time to arrive.
      const { artifact: begun } = await store.artifacts.begin({ sessionId: session.id, name: "y", ttlMs: 60_000 });
      clock.advance(30_000);
      const { artifact: begunAgain } = await store.artifacts.begin({ sessionId: session.id, name: "y", ttlMs: 60_000 });
      assert.deepEqual([begunAgain.id, msOf(begunAgain)], [begun.id, 60_000]);
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

    test("each row of the feed that ends an artifact has its uri", async ({ store, clock }) => {
      const { session } = await fixtures(store).session();
      const record = async (name: string, more: object = {}) =>
        (await store.artifacts.record({ sessionId: session.id, name, ...content, uri: `s3://b/${name}`, ...more }))
          .artifact;
      const after = await endOfFeed(store);
      const ended = await record("deleted");
      await store.artifacts.delete({ artifactId: ended.id });
      const old = await record("replaced");
      const replacing = await record("replaced", { sha256: sha("b"), replace: true });
      const short = await record("expired", { ttlMs: 60_000 });
      const { artifact: begun } = await store.artifacts.begin({ sessionId: session.id, name: "begun", ttlMs: 60_000 });
      clock.advance(60_000);
      await store.maintenance.reap();
      const endsOf = async () =>
        (await store.changes.since({ after, sessionId: session.id, entity: "artifact" })).changes
          .filter(({ op }) => op !== "record" && op !== "begin")
          .map(({ entityId, op, detail }) => [entityId, op, detail]);
      const ofReady = ({ name, uri, sha256 }: typeof ended) => ({ state: "deleted", name, uri, sha256, sizeBytes: 3 });
      const before = await endsOf();
      assert.deepEqual(before.slice(0, 2), [
        [ended.id, "delete", ofReady(ended)],
        [old.id, "replace", ofReady(old)],
      ]);
      const expired = before.slice(2).sort(([, , a], [, , b]) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
      assert.deepEqual(expired, [
        [short.id, "expire", ofReady(short)],
        // Nobody has said yet where this file is.
        [begun.id, "expire", { state: "failed", name: "begun" }],
      ]);
      await store.sessions.cancel({ sessionId: session.id });
      const { artifact: late } = await store.artifacts.begin({ sessionId: session.id, name: "late", sha256: sha("c") });
      await store.sessions.delete({ sessionId: session.id });
      const deleted = (await endsOf()).slice(before.length);
      const byId = (rows: unknown[][]) => Object.fromEntries(rows.map(([id, op, detail]) => [id, [op, detail]]));
      assert.deepEqual(
        byId(deleted),
        byId([
          [ended.id, "delete", ofReady(ended)],
          [old.id, "delete", ofReady(old)],
          [replacing.id, "delete", ofReady(replacing)],
          [short.id, "delete", ofReady(short)],
          [begun.id, "delete", { state: "failed", name: "begun" }],
          [late.id, "delete", { state: "failed", name: "late", sha256: sha("c") }],
        ]),
      );
    });

    test("deleting a session deletes all of its artifacts, however many", async ({ store }) => {
      const { session } = await fixtures(store).session({ patchUri: "s3://patches/1" });
      const after = await endOfFeed(store);
      const names = Array.from({ length: 600 }, (_, index) => `file-${index}`);
      const recorded = await Promise.all(
        names.map((name) => store.artifacts.record({ sessionId: session.id, name, ...content })),
      );
      await store.sessions.cancel({ sessionId: session.id });
      await store.sessions.delete({ sessionId: session.id });
      await fails(store.artifacts.get({ artifactId: recorded[0]?.artifact.id as string }), "not_found");
      assert.deepEqual((await store.artifacts.list({ sessionId: session.id })).items, []);
      const deleted = [];
      for (let [cursor, more] = [after, true]; more; ) {
        const { changes, nextSeq } = await store.changes.since({ after: cursor, sessionId: session.id });
        deleted.push(...changes.filter(({ op }) => op === "delete"));
        [cursor, more] = [nextSeq, changes.length > 0];
      }
      assert.deepEqual(deleted.at(-1)?.detail, { patchUri: "s3://patches/1" });
      assert.deepEqual(
        new Set(deleted.slice(0, -1).map(({ entityId }) => entityId)),
        new Set(recorded.map(({ artifact }) => artifact.id)),
      );
      assert.ok(deleted.slice(0, -1).every(({ detail }) => (detail as { uri?: string }).uri === content.uri));
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
