// Worktrees on disk: made, reused, scrubbed, made anew and removed, whatever commands have left in them.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { removeLeftovers } from "../../../../src/runner/git/removeTree.ts";
import { checkOut, GitError, inspectWorktree, removeWorktree } from "../../../../src/runner/index.ts";
import { git } from "../../cli/commandLine.ts";
import { until } from "../../faults/until.ts";
import { never, testRepository } from "./gitRepository.ts";

const { repository, home, worktreesRoot, commits } = await testRepository();
const [first, second] = commits;
const { gitDir } = repository;
const signal = never;

let number = 0;
const newPath = (): string => join(worktreesRoot, `tree-${number++}`);
const bring = (path: string, commitSha: string = first, needsScrub = true) =>
  checkOut({ repository, worktreesRoot, path, commitSha, needsScrub, signal });
const remove = (path: string) => removeWorktree({ gitDir, worktreesRoot, path });
const known = () => git(home, "worktree", "list", "--porcelain");

/** Checks that a worktree has the files of a commit and nothing else. */
function assertPristine(path: string, commitSha: string): void {
  // On no branch, so that none was moved.
  assert.equal(git(path, "rev-parse", "HEAD", "--abbrev-ref", "HEAD"), `${commitSha}\nHEAD\n`);
  assert.equal(git(path, "status", "--porcelain", "--ignored"), "");
  assert.deepEqual(readdirSync(path, { recursive: true }).sort(), [
    ".git",
    ".gitignore",
    "src",
    "src/main.txt",
    "tool.sh",
  ]);
  assert.equal(readFileSync(join(path, "src/main.txt"), "utf8"), commitSha === first ? "one\n" : "two\n");
}

test("a worktree is made, moved to other commits without losing ignored files, and removed", async () => {
  const path = newPath();
  assert.deepEqual(await bring(path), { how: "created", notes: [] });
  assertPristine(path, first);
  mkdirSync(join(path, "cache"));
  assert.deepEqual(await inspectWorktree(path, { signal }), { commitSha: first, isClean: true });
  writeFileSync(join(git(path, "rev-parse", "--git-dir").trim(), "index.lock"), "");
  assert.deepEqual(await bring(path, second, false), { how: "reused", notes: [] });
  assert.ok(existsSync(join(path, "cache")));
  assert.deepEqual(await bring(path, second), { how: "reused", notes: [] });
  assertPristine(path, second);
  await remove(path);
  assert.ok(!existsSync(path) && !known().includes(path));
});

/** Shell scripts that leave something behind in a worktree. */
const leftBehind: Readonly<Record<string, string>> = {
  "changes, new, ignored and staged files":
    "echo x > src/main.txt; rm tool.sh; mkdir cache; touch new cache/x; git add new",
  "names with line breaks and bytes that are no text": "touch \"$(printf 'a\\nb')\" \"$(printf 'c\\377d')\" ' e '",
  "a nested repository": "mkdir nested; git -C nested init -q; touch nested/x",
  "a repository in a folder with tracked files": "git -C src init -q",
  "changes that git was told to overlook": "git update-index --assume-unchanged src/main.txt; echo x > src/main.txt",
  "a file that is skipped": "git update-index --skip-worktree tool.sh; rm tool.sh",
  "its own excludes":
    "git config extensions.worktreeConfig true; touch .list; git config --worktree core.excludesFile $PWD/.list; echo new > .list; touch new",
  "a branch and a commit": "git checkout -q -B left; echo x > src/main.txt; git $AS commit -qam x",
  "a merge with a conflict":
    "echo a > src/main.txt; git $AS commit -qam a; H=$(git rev-parse HEAD); git checkout -q HEAD~; echo b > src/main.txt; git $AS commit -qam b; ! git $AS merge -q $H",
  "a rebase that has stopped":
    "echo a > src/main.txt; git $AS commit -qam a; H=$(git rev-parse HEAD); git checkout -q HEAD~; echo b > src/main.txt; git $AS commit -qam b; ! git $AS rebase -q $H 2>/dev/null",
  "the lock of a git that was killed": "touch $(git rev-parse --git-dir)/index.lock",
  "symbolic links out of the tree": "mv src/main.txt $OUT/kept; rmdir src; ln -s $OUT src; ln -s $OUT cache",
};

test("a scrub leaves the files of the commit alone, and `inspectWorktree` calls nothing clean that needs one", async () => {
  const path = newPath();
  const outside = join(home, "../outside");
  mkdirSync(outside);
  await bring(path);
  for (const [name, script] of Object.entries(leftBehind)) {
    const env = { ...process.env, OUT: outside, AS: "-c user.name=test -c user.email=test@example.com" };
    execFileSync("sh", ["-ec", script], { cwd: path, env, stdio: "ignore" });
    const { isClean, commitSha } = await inspectWorktree(path, { signal });
    if (!name.startsWith("the lock")) assert.ok(!isClean || commitSha !== first, `inspect: ${name}`);
    assert.deepEqual(await bring(path), { how: "reused", notes: [] }, name);
    assertPristine(path, first);
    assert.deepEqual(
      readdirSync(git(path, "rev-parse", "--git-dir").trim()).filter((file) => /rebase|MERGE|config/.test(file)),
      [],
      name,
    );
  }
  assert.deepEqual(readdirSync(outside), ["kept"]);
  git(home, "config", "--unset", "extensions.worktreeConfig");
});

test("a worktree that is damaged, gone or half made is made anew", async () => {
  const path = newPath();
  await bring(path);
  const ownDir = git(path, "rev-parse", "--git-dir").trim();
  const damages: Readonly<Record<string, () => void>> = {
    "its link is gone": () => rmSync(join(path, ".git")),
    "its link leads elsewhere": () => writeFileSync(join(path, ".git"), `gitdir: ${gitDir}\n`),
    "a repository of its own": () => {
      rmSync(join(path, ".git"));
      git(path, "init", "--quiet");
    },
    "a worktree of another repository": () => {
      rmSync(path, { recursive: true });
      git(home, "clone", "--quiet", home, `${home}-2`);
      git(`${home}-2`, "worktree", "add", "--quiet", "--detach", path, first);
    },
    "another file": () => {
      rmSync(path, { recursive: true });
      writeFileSync(path, "");
    },
    "its index is no index": () => writeFileSync(join(ownDir, "index"), "x"),
    "`git worktree add` was killed": () => writeFileSync(join(ownDir, "locked"), "initializing"),
    "the repository has forgotten it": () => rmSync(ownDir, { recursive: true }),
    "paths that are too long for the system": () => {
      const half = (name: string) => join(path, name, ...Array.from({ length: 15 }, () => name.repeat(200)));
      mkdirSync(half("a"), { recursive: true });
      mkdirSync(half("b"), { recursive: true });
      renameSync(join(path, "b"), join(half("a"), "b"));
    },
  };
  for (const [name, damage] of Object.entries(damages)) {
    damage();
    const { how, notes } = await bring(path);
    assert.deepEqual([how, notes.length], ["created again", 1], `${name}: ${notes}`);
    assertPristine(path, first);
  }
  rmSync(path, { recursive: true });
  git(home, "worktree", "lock", path);
  assert.deepEqual(await bring(path), { how: "created again", notes: ["its folder was gone"] });
  assertPristine(path, first);
});

test("a file in the way of the commit costs a scrub, and not the worktree", async () => {
  const path = newPath();
  await bring(path);
  writeFileSync(join(path, "src/main.txt"), "changed\n");
  const { how, notes } = await bring(path, second, false);
  assert.equal(how, "reused");
  assert.match(notes.join(), /would be overwritten/);
  assertPristine(path, second);
});

test("nothing is removed outside of the root, nor the repository itself", async () => {
  const outside = join(home, "../elsewhere");
  mkdirSync(outside);
  mkdirSync(worktreesRoot, { recursive: true });
  symlinkSync(outside, join(worktreesRoot, "link"));
  const parent = join(home, "..");
  const cases = [
    [worktreesRoot, outside],
    [worktreesRoot, worktreesRoot],
    [worktreesRoot, `${worktreesRoot}/../elsewhere`],
    [worktreesRoot, join(worktreesRoot, "link/tree")],
    [parent, home],
    [join(parent, ".."), parent],
  ] as const;
  for (const [root, path] of cases) {
    await assert.rejects(removeWorktree({ gitDir, worktreesRoot: root, path }), GitError, path);
    const options = { repository, worktreesRoot: root, path, commitSha: first, signal };
    await assert.rejects(checkOut(options), GitError, path);
  }
  // The link itself lies below the root.
  assert.equal((await bring(join(worktreesRoot, "link"))).how, "created again");
  assert.ok(existsSync(join(home, "src")) && readdirSync(outside).length === 0);
});

test("calls at the same time make their worktrees, and one that is stopped leaves one that can be made", async () => {
  const paths = Array.from({ length: 6 }, newPath);
  await Promise.all(paths.map((path) => bring(path)));
  for (const path of paths) assertPristine(path, first);
  const path = newPath();
  await assert.rejects(
    checkOut({ repository, worktreesRoot, path, commitSha: first, signal: AbortSignal.abort("lost") }),
    GitError,
  );
  await bring(path);
  assertPristine(path, first);
  const missing = "0".repeat(40);
  await assert.rejects(bring(path, missing), { name: "GitError", message: /0000 is not in .*: fetch it there first/ });
});

test("a worktree that another process has half made does not fail the others", async () => {
  const halfMade = join(gitDir, "worktrees/half-made");
  mkdirSync(halfMade, { recursive: true });
  for (const [name, content] of Object.entries({ gitdir: `${home}/none/.git\n`, HEAD: `${first}\n`, commondir: "" }))
    writeFileSync(join(halfMade, name), content);
  assert.throws(() => git(home, "worktree", "list"), /failed to read/);
  const path = newPath();
  const made = bring(path);
  setTimeout(() => writeFileSync(join(halfMade, "commondir"), "../..\n"), 200);
  await made;
  assertPristine(path, first);
  rmSync(halfMade, { recursive: true });
});

test("settings of the repository and variables start no program and lead nowhere else", async (t) => {
  const path = newPath();
  await bring(path);
  const trap = join(home, "../sprung");
  const script = join(home, "../trap.sh");
  writeFileSync(script, `#!/bin/sh\ntouch ${trap}\n`, { mode: 0o755 });
  const hook = join(gitDir, "hooks/post-checkout");
  mkdirSync(join(gitDir, "hooks"), { recursive: true });
  writeFileSync(hook, `#!/bin/sh\ntouch ${trap}\n`, { mode: 0o755 });
  t.after(() => rmSync(hook));
  git(home, "config", "core.fsmonitor", script);
  t.after(() => git(home, "config", "--unset", "core.fsmonitor"));
  const variables = {
    GIT_DIR: "/nowhere",
    GIT_INDEX_FILE: "/nowhere/index",
    GIT_TRACE: trap,
    GIT_WORK_TREE: "/nowhere",
  };
  Object.assign(process.env, variables);
  try {
    writeFileSync(join(path, "new"), "");
    assert.deepEqual(await inspectWorktree(path, { signal }), { commitSha: first, isClean: false });
    assert.equal((await bring(path, second)).how, "reused");
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name];
  }
  assert.ok(!existsSync(trap));
  rmSync(trap, { force: true });
});

test("submodules are noted, or initialised on request; so are files in Git LFS without git-lfs", async () => {
  const work = newPath();
  await bring(work, second);
  const module = join(home, "../module");
  mkdirSync(module);
  git(module, "init", "--quiet");
  writeFileSync(join(module, "x"), "x");
  git(module, "add", ".");
  git(module, "commit", "--quiet", "--message", "x");
  git(work, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", module, "module");
  writeFileSync(join(work, ".gitattributes"), "# *.c filter=lfs\n*.bin filter=lfs diff=lfs -text\n");
  git(work, "add", ".");
  git(work, "commit", "--quiet", "--message", "modules");
  const commitSha = git(work, "rev-parse", "HEAD").trim();
  const path = newPath();
  const { notes } = await bring(path, commitSha);
  assert.match(notes.join("\n"), /^has submodules, .*\nhas files in Git LFS, /);
  assert.deepEqual(readdirSync(join(path, "module")), []);
  git(path, "-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init");
  assert.deepEqual(readdirSync(join(path, "module")), [".git", "x"]);
  await bring(path, commitSha);
  assert.deepEqual(readdirSync(join(path, "module")), []);
  assert.equal(git(path, "status", "--porcelain"), "");
  const options = { repository, worktreesRoot, path, commitSha, submodules: true, signal };
  // By default git allows no submodule to read from this machine.
  await assert.rejects(checkOut(options), { name: "GitError", message: /submodule/ });
  const allowed = { GIT_CONFIG_COUNT: "1", GIT_CONFIG_KEY_0: "protocol.file.allow", GIT_CONFIG_VALUE_0: "always" };
  Object.assign(process.env, allowed);
  const { notes: others } = await checkOut(options).finally(() => {
    for (const name of Object.keys(allowed)) delete process.env[name];
  });
  assert.equal(others.length, 1);
  assert.deepEqual(readdirSync(join(path, "module")), [".git", "x"]);
});

test("git ends with the process that was killed while it checked out", async (t) => {
  const { repository: slow, home: slowHome, worktreesRoot: root, commits: slowCommits } = await testRepository();
  const path = join(root, "tree");
  const started = join(root, "started");
  git(slowHome, "config", "filter.slow.smudge", `touch ${started}; exec sleep 60`);
  writeFileSync(join(slow.gitDir, "info", "attributes"), "*.txt filter=slow\n");
  const script = fileURLToPath(new URL("./guardedCheckout.ts", import.meta.url));
  const runner = spawn(process.execPath, [script, slow.gitDir, root, path, slowCommits[0]], { stdio: "inherit" });
  t.after(() => runner.kill("SIGKILL"));
  await until(() => existsSync(started));
  const running = () => processesIn(path).length;
  assert.ok(process.platform !== "linux" || running() > 0);
  runner.kill("SIGKILL");
  await until(() => running() === 0);
});

test("without its lease, nothing in a worktree is changed", async () => {
  const path = newPath();
  await bring(path);
  writeFileSync(join(path, "new.txt"), "of the next holder\n");
  const lost = {
    signal,
    lost: signal,
    isLost: false,
    // Its process stood still: no timer has told it yet.
    remainingMs: () => 0,
    onRenewed: () => () => undefined,
  };
  const refused = { name: "GitError", message: /the lease of the worktree is lost/ };
  const at = { repository, worktreesRoot, path, commitSha: second, signal, holdings: [lost] };
  await assert.rejects(checkOut(at), refused);
  await assert.rejects(removeWorktree({ gitDir, worktreesRoot, path, signal, holdings: [lost] }), refused);
  assert.equal(git(path, "status", "--porcelain"), "?? new.txt\n");
  // A new one is not begun either.
  const fresh = newPath();
  await assert.rejects(checkOut({ ...at, path: fresh }), refused);
  assert.equal(existsSync(fresh), false);
});

test("what a killed process had taken away from its place is removed later, and nothing else", async () => {
  const path = newPath();
  await bring(path);
  const left = `${path}.removing-${randomUUID()}`;
  mkdirSync(join(left, "deep"), { recursive: true });
  mkdirSync(`${path}.removing`);
  await removeLeftovers(worktreesRoot);
  assert.deepEqual([existsSync(left), existsSync(path), existsSync(`${path}.removing`)], [false, true, true]);
});

/** Returns the processes that work in a folder. */
function processesIn(folder: string): readonly string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readlinkSync(`/proc/${pid}/cwd`).startsWith(folder);
    } catch {
      return false;
    }
  });
}
