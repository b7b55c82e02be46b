// The log archive in a local folder: private, durable files, ranges of them, and what is not an object.
import assert from "node:assert/strict";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { it } from "node:test";
import { localArchive } from "../../../src/archive/logArchive.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const mode = (path: string) => statSync(path).mode & 0o777;

it("an object is a private file in private folders, and ranges of it are read", async () => {
  const root = join(temporaryFolder(), "logs", "archive");
  const archive = localArchive(root);
  await archive.put("ab/0.1.zst", bytes("0123456789"));
  assert.equal(readFileSync(join(root, "ab", "0.1.zst"), "utf8"), "0123456789");
  assert.deepEqual([mode(root), mode(join(root, "ab")), mode(join(root, "ab", "0.1.zst"))], [0o700, 0o700, 0o600]);
  assert.deepEqual(readdirSync(join(root, "partial")), []);
  const read = async (start: number, end: number) => {
    const part = await archive.get("ab/0.1.zst", { start, end });
    return part && new TextDecoder().decode(part);
  };
  assert.deepEqual(
    [await read(0, 10), await read(3, 5), await read(8, 20), await read(30, 40)],
    ["0123456789", "34", "89", ""],
  );
});

it("a missing object is undefined, and its deletion succeeds", async () => {
  const archive = localArchive(temporaryFolder());
  assert.equal(await archive.get("ab/none", { start: 0, end: 1 }), undefined);
  await archive.delete("ab/none");
  await archive.put("ab/one", bytes("1"));
  await archive.delete("ab/one");
  assert.equal(await archive.get("ab/one", { start: 0, end: 1 }), undefined);
});

it("an archive whose folder is gone has no missing objects: it fails", async () => {
  const root = join(temporaryFolder(), "mounted");
  const archive = localArchive(root);
  await archive.put("ab/one", bytes("1"));
  renameSync(root, `${root}.away`);
  const gone = { code: "ENOENT" };
  await assert.rejects(archive.get("ab/one", { start: 0, end: 1 }), gone);
  await assert.rejects(archive.delete("ab/one"), gone);
  await assert.rejects(archive.put("ab/two", bytes("2")), gone);
  renameSync(`${root}.away`, root);
  assert.deepEqual(await archive.get("ab/one", { start: 0, end: 1 }), bytes("1"));
});

it("an archive that is only read from creates no folder", () => {
  const root = join(temporaryFolder(), "none");
  localArchive(root, { create: false });
  assert.throws(() => statSync(root), { code: "ENOENT" });
});

it("a key that leads out of the folder is refused", async () => {
  const folder = temporaryFolder();
  writeFileSync(join(folder, "secret"), "secret");
  const archive = localArchive(join(folder, "archive"));
  for (const key of ["../secret", "ab/../../secret", "/etc/passwd", "", "ab//c", "ab/..", "AB/c", "ab/\0"]) {
    await assert.rejects(archive.get(key, { start: 0, end: 6 }), { code: "corrupt" }, key);
    await assert.rejects(archive.put(key, bytes("x")), { code: "corrupt" }, key);
    await assert.rejects(archive.delete(key), { code: "corrupt" }, key);
  }
});

it("what a killed writer has left is deleted by the first put, and nothing else in its folder", async () => {
  const root = temporaryFolder();
  const partials = join(root, "partial");
  mkdirSync(partials);
  const abandoned = join(partials, `0badc0de-${2 ** 22 - 1}-01234567`);
  writeFileSync(abandoned, "half");
  utimesSync(abandoned, 0, 0);
  writeFileSync(join(partials, "notes.txt"), "of somebody");
  symlinkSync("/nowhere", join(partials, "link"));
  await localArchive(root).put("ab/one", bytes("1"));
  assert.deepEqual(readdirSync(partials).sort(), ["link", "notes.txt"]);
});

it("a folder that cannot be created is refused with the reason", () => {
  const file = join(temporaryFolder(), "file");
  writeFileSync(file, "");
  assert.throws(() => localArchive(join(file, "archive")), {
    code: "incompatible",
    message: /a part of the path is not a folder/,
  });
});
