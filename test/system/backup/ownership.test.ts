// Files that root creates for a database belong to the user of that database, and an error about missing rights names
// the owner.
import assert from "node:assert/strict";
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { suite, type TestContext, test } from "node:test";
import { openStore } from "../../../src/index.ts";
import { isOpenToAll } from "../../support/openToAll.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { runProcess } from "../cli/commandLine.ts";

const other = 65_534;

const skip =
  process.getuid?.() !== 0
    ? "only root can act for another user"
    : !isOpenToAll(import.meta.dirname) && "the tests are in a folder that no other user may enter";

/** Returns the owner, the group and the mode of each file. */
function rights(...paths: readonly string[]): readonly (readonly [number, number, string])[] {
  return paths.map((path) => {
    const { uid, gid, mode } = statSync(path);
    return [uid, gid, (mode & 0o777).toString(8)];
  });
}

interface Folder {
  readonly folder: string;
  readonly path: string;
  readonly url: string;
  /** Runs a command as root, or as the owner of the folder. */
  asRoot(...args: readonly string[]): ReturnType<typeof runProcess>;
  asOwner(...args: readonly string[]): ReturnType<typeof runProcess>;
}

/** Creates a folder of another user, below one that everybody may enter. */
function folderOfOther(): Folder {
  const above = temporaryFolder();
  chmodSync(above, 0o755);
  const folder = join(above, "data");
  mkdirSync(folder, { mode: 0o700 });
  chownSync(folder, other, other);
  const path = join(folder, "metadata.db");
  const url = `sqlite:${path}`;
  return {
    folder,
    path,
    url,
    asRoot: (...args) => runProcess(above, [...args, "--url", url]),
    asOwner: (...args) => runProcess(folder, [...args, "--url", url], { uid: other }),
  };
}

/** Creates a database of the other user. */
async function filled(): Promise<Folder> {
  const made = folderOfOther();
  const { code, stderr } = await made.asOwner("admin", "seed");
  assert.equal(code, 0, stderr);
  return made;
}

suite("ownership", { skip, concurrency: 2 }, () => {
  test("a restore by root keeps owner, group and mode of the database, and its user can use and verify what was kept", async () => {
    const { folder, path, asRoot, asOwner } = await filled();
    const made = await asOwner("backup", "create", "--out", join(folder, "copy.db"));
    assert.equal(made.code, 0, made.stderr);
    chownSync(path, other, 12_345);
    chmodSync(path, 0o640);
    const restored = await asRoot("backup", "restore", join(folder, "copy.db"));
    assert.equal(restored.code, 0, restored.stderr);
    const kept = /kept +(\S+)/.exec(restored.stdout)?.[1] as string;
    assert.deepEqual(rights(path, kept, `${kept}.json`, dirname(kept)), [
      [other, 12_345, "640"],
      [other, 12_345, "640"],
      [other, 12_345, "640"],
      [other, 12_345, "700"],
    ]);
    assert.equal((await asOwner("admin", "list-tokens")).code, 0);
    const verified = await asOwner("backup", "verify");
    assert.deepEqual([verified.code, verified.stdout.includes(basename(kept))], [0, true], verified.stderr);
    assert.deepEqual(readdirSync(folder).sort(), ["backups", "copy.db", "copy.db.json", "metadata.db"]);
  });

  test("a restore by root to a path without a database gives the new one to the owner of the folder", async () => {
    const { folder, path, asRoot } = await filled();
    const copy = join(folder, "copy.db");
    assert.equal((await asRoot("backup", "create", "--out", copy)).code, 0);
    const elsewhere = join(folder, "new", "deep", "metadata.db");
    const { code, stderr } = await runProcess(folder, ["backup", "restore", copy, "--url", `sqlite:${elsewhere}`]);
    assert.equal(code, 0, stderr);
    assert.deepEqual(rights(elsewhere, dirname(elsewhere), join(folder, "new"), path), [
      [other, other, "600"],
      [other, other, "700"],
      [other, other, "700"],
      [other, other, "600"],
    ]);
  });

  test("a backup by root, on the command line or of a server, belongs to the owner of the database", async () => {
    const { folder, path, url, asRoot, asOwner } = await filled();
    const made = await asRoot("backup", "create", "--json");
    assert.equal(made.code, 0, made.stderr);
    const files = [JSON.parse(made.stdout) as { path: string; manifestPath: string }];
    const store = await openStore({ url });
    files.push(await store.backup(), await store.backup({ path: join(folder, "sub", "own.db") }));
    await store.close();
    for (const file of files)
      assert.deepEqual(rights(file.path, file.manifestPath, dirname(file.path)), [
        [other, other, "600"],
        [other, other, "600"],
        [other, other, "700"],
      ]);
    const verified = await asOwner("backup", "verify");
    assert.deepEqual([verified.code, verified.stdout.split("\n").length], [0, 4], verified.stderr);
    assert.deepEqual(rights(path), [[other, other, "600"]]);
  });

  test("a database that root creates, with its folders, belongs to the owner of the folder above", async () => {
    for (const command of [
      ["admin", "seed"],
      ["migrate", "upgrade"],
    ]) {
      const { folder } = folderOfOther();
      const path = join(folder, "a", "b", "metadata.db");
      const url = `sqlite:${path}`;
      const made = await runProcess(folder, [...command, "--url", url]);
      assert.equal(made.code, 0, made.stderr);
      assert.deepEqual(rights(path, dirname(path), join(folder, "a")), [
        [other, other, "600"],
        [other, other, "700"],
        [other, other, "700"],
      ]);
      const listed = await runProcess(folder, ["repositories", "list", "--url", url], { uid: other });
      assert.equal(listed.code, 0, listed.stderr);
    }
  });

  /** Matches the sentence about a file of root. */
  const ofRoot = (path: string, mode: string) =>
    new RegExp(
      `${path} belongs to user 0 \\(mode ${mode}\\), and this process runs as user ${other}: run this as user 0`,
    );

  async function refused(t: TestContext, command: readonly string[], made: Folder, said: RegExp): Promise<void> {
    const { code, stdout, stderr } = await made.asOwner(...command);
    t.diagnostic(stderr);
    assert.deepEqual([code, stdout], [1, ""], command.join(" "));
    assert.match(stderr, said);
  }

  test("a database, or a folder, of another user is named with owner, mode and the user who asks", async (t) => {
    const made = await filled();
    const { folder, path } = made;
    chownSync(path, 0, 0);
    for (const command of [
      ["repositories", "list"],
      ["migrate", "upgrade"],
      ["backup", "create"],
    ])
      await refused(t, command, made, ofRoot(path, "600"));
    chownSync(path, other, other);
    chownSync(folder, 0, 0);
    chmodSync(folder, 0o755);
    assert.equal((await made.asOwner("repositories", "list")).code, 0);
    await refused(t, ["admin", "create-account", "ada"], made, ofRoot(folder, "755"));
    chmodSync(folder, 0o700);
    for (const command of [
      ["migrate", "upgrade"],
      ["backup", "list"],
      ["backup", "verify"],
    ])
      await refused(t, command, made, ofRoot(folder, "700"));
  });

  test("verify names the backups that cannot be read, and fails; list shows them", async (t) => {
    const made = await filled();
    const { asOwner, asRoot } = made;
    const { stdout } = await asOwner("backup", "create", "--json");
    const { path: good } = JSON.parse(stdout) as { path: string };
    const bad = JSON.parse((await asOwner("backup", "create", "--json")).stdout) as {
      path: string;
      manifestPath: string;
    };
    for (const file of [bad.path, bad.manifestPath]) {
      chownSync(bad.path, other, other);
      chownSync(bad.manifestPath, other, other);
      chownSync(file, 0, 0);
      const verified = await asOwner("backup", "verify");
      assert.equal(verified.code, 1, verified.stdout);
      assert.match(verified.stdout, new RegExp(`${basename(good)} +ok`));
      assert.match(verified.stdout, new RegExp(`${basename(bad.path)} +unreadable .*${ofRoot(file, "600").source}`));
      const listed = await asOwner("backup", "list");
      assert.match(listed.stdout, new RegExp(`${basename(bad.path)} +unreadable`));
      assert.match(listed.stderr, ofRoot(file, "600"));
      const restored = await asOwner("backup", "restore", bad.path);
      assert.deepEqual([restored.code, restored.stdout], [1, ""]);
      assert.match(restored.stderr, ofRoot(file, "600"));
    }
    chownSync(bad.manifestPath, other, other);
    assert.equal((await asRoot("backup", "verify")).code, 0);
    const backups = dirname(good);
    chownSync(backups, 0, 0);
    await refused(t, ["backup", "list"], made, ofRoot(backups, "700"));
    await refused(t, ["backup", "verify"], made, ofRoot(backups, "700"));
    await refused(t, ["backup", "restore", basename(good)], made, ofRoot(backups, "700"));
  });

  test("a file of this user that has lost its mode is told so", async (t) => {
    const made = await filled();
    chmodSync(made.path, 0o000);
    const own = new RegExp(
      `belongs to user ${other} \\(mode 0\\), and this process runs as user ${other}: change its mode`,
    );
    await refused(t, ["repositories", "list"], made, own);
    writeFileSync(join(made.folder, "note"), "");
    assert.ok(existsSync(made.path));
  });
});
