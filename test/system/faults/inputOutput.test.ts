// The system's calls under the database fail, or the process is killed within one: nobody was told that something is stored that is not, and
// nobody that it was undone when it was not.
import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { openStore } from "../../../src/index.ts";

const folder = mkdtempSync(join(tmpdir(), "input-output-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));
const script = fileURLToPath(new URL("./faultyProcess.ts", import.meta.url));

/** Calls cannot be made to fail everywhere: it takes strace, and the right to use it. */
const strace = spawnSync("strace", [
  "-f",
  "-o",
  join(folder, "probe"),
  "-e",
  "inject=fsync:error=EIO:when=1",
  process.execPath,
  "--version",
]);
const skip = strace.status === 0 ? false : "strace is not there, or may not be used";
let files = 0;

interface Report {
  /** The result of each session by its id: "stored", or code and outcome. */
  readonly told: ReadonlyMap<string, string>;
  /** The process came to its end, and its reads worked. */
  readonly ended: boolean;
}

/** Runs the writing process on a new store; the named calls on the database and its WAL, and no others, are tampered with. */
async function writeUnder(path: string, inject: string): Promise<Report> {
  const url = `sqlite:${path}`;
  const store = await openStore({ url });
  const { id } = await store.repositories.upsert({ name: "faulty" });
  await store.close();
  const traced = ["-P", path, "-P", `${path}-wal`, "-e", "trace=pwrite64,fsync,fdatasync", "-e", `inject=${inject}`];
  const { stdout } = await new Promise<{ stdout: string }>((resolve) => {
    execFile(
      "strace",
      ["-f", "-qq", "-o", `${path}.trace`, ...traced, process.execPath, script, url, id],
      { timeout: 60_000 },
      (_error, stdout) => resolve({ stdout }),
    );
  });
  const lines = stdout.split("\n").slice(0, -1);
  const last = lines.at(-1);
  const told = lines
    .filter((line) => !line.startsWith("end "))
    .map((line) => [line.slice(0, 36), line.slice(37)] as const);
  return { told: new Map(told), ended: last === "end 1" };
}

/** Compares what was told of each call with the file. */
function assertTruth(path: string, told: ReadonlyMap<string, string>): void {
  const db = new Database(path);
  assert.equal(db.pragma("integrity_check", { simple: true }), "ok");
  const stored = new Set(db.prepare("SELECT id FROM sessions").pluck().all() as string[]);
  for (const [id, said] of told) {
    if (said === "stored") assert.ok(stored.has(id), `told stored, and it is not: ${id}`);
    else if (!said.endsWith(" unknown")) assert.ok(!stored.has(id), `told ${said}, and it is stored: ${id}`);
  }
  assert.equal(db.prepare("SELECT count(*) FROM sessions WHERE queued_commands <> 2").pluck().get(), 0);
  assert.equal(db.prepare("SELECT count(*) FROM commands").pluck().get(), stored.size * 2);
  db.close();
}

const count = ({ told }: Report, said: string): number => [...told.values()].filter((value) => value === said).length;

test("no space left, from some write on: storage_full and rolled back, all of it", { skip }, async () => {
  const path = join(folder, `file-${++files}.db`);
  const report = await writeUnder(path, "pwrite64:error=ENOSPC:when=200+");
  assert.ok(report.ended && report.told.size === 240);
  assert.ok(count(report, "stored") > 0);
  assert.equal(count(report, "storage_full rolled_back"), 240 - count(report, "stored"));
  assertTruth(path, report.told);
});

test("no space left for a moment: the calls of that group alone failed, or were run again", { skip }, async () => {
  const path = join(folder, `file-${++files}.db`);
  const report = await writeUnder(path, "pwrite64:error=ENOSPC:when=200..203");
  assert.ok(report.ended && report.told.size === 240);
  assert.ok(count(report, "stored") >= 200);
  assert.equal(count(report, "storage_full rolled_back"), 240 - count(report, "stored"));
  assertTruth(path, report.told);
});

for (const [name, inject] of [
  ["a write", "pwrite64:error=EIO:when=200..202"],
  ["a sync", "fsync,fdatasync:error=EIO:when=10..12"],
] as const) {
  test(`${name} fails with an I/O error at commit: unknown and never acknowledged, later groups pass`, {
    skip,
  }, async () => {
    const path = join(folder, `file-${++files}.db`);
    const report = await writeUnder(path, inject);
    assert.ok(report.ended && report.told.size === 240);
    const unknown = [...report.told.values()].filter((said) => said.endsWith(" unknown")).length;
    assert.ok(unknown > 0, "the fault was met");
    assert.equal(count(report, "stored"), 240 - unknown);
    assertTruth(path, report.told);
  });
}

test("killed within a write, at several writes of several commits: everything acknowledged is there", {
  skip,
}, async () => {
  await Promise.all(
    [160, 201, 242, 283].map(async (at) => {
      const path = join(folder, `file-${++files}.db`);
      const report = await writeUnder(path, `pwrite64:signal=KILL:when=${at}`);
      assert.ok(!report.ended, "it was killed");
      assert.equal(count(report, "stored"), report.told.size);
      assertTruth(path, report.told);
    }),
  );
});
