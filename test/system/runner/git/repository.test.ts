// Mirrors of repositories elsewhere: made once by any number of processes, fetched by commit, without credentials in
// sight.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { checkOut, openRepository } from "../../../../src/runner/index.ts";
import { git } from "../../cli/commandLine.ts";
import { never, testRepository } from "./gitRepository.ts";

const { home, worktreesRoot, commits } = await testRepository();
const [first, second] = commits;
const signal = never;
const mirrors = (name: string): string => join(home, "..", name);
const url = pathToFileURL(home).href;

/** Commits that are in no branch of the repository, but in a ref that is not fetched by default. */
function hiddenCommit(message: string): string {
  const sha = git(home, "commit-tree", "-m", message, `${second}^{tree}`).trim();
  git(home, "update-ref", `refs/pull/${message}/head`, sha);
  return sha;
}

test("a mirror fetches missing commits by their id, and keeps them", async () => {
  const mirrorsFolder = mirrors("kept");
  const hidden = hiddenCommit("1");
  const repository = await openRepository(url, { mirrorsFolder, signal });
  assert.deepEqual(readdirSync(mirrorsFolder).length, 1);
  for (const commitSha of [first, hidden, hidden]) {
    const path = join(worktreesRoot, commitSha);
    await checkOut({ repository, worktreesRoot, path, commitSha, signal });
    assert.equal(git(path, "rev-parse", "HEAD").trim(), commitSha);
    await checkOut({ repository, worktreesRoot, path, commitSha: first, signal });
  }
  git(repository.gitDir, "gc", "--quiet", "--prune=now");
  git(repository.gitDir, "cat-file", "-e", hidden);
  assert.throws(() => git(repository.gitDir, "cat-file", "-e", second));
  await assert.rejects(repository.requireCommit("0".repeat(40), signal), {
    name: "GitError",
    message: /^commit 0+ is in no branch or tag of file:.*, push it there first/,
  });
});

test("a worktree that another process has half made does not fail a fetch", async () => {
  const repository = await openRepository(url, { mirrorsFolder: mirrors("half"), signal });
  await repository.requireCommit(first, signal);
  const halfMade = join(repository.gitDir, "worktrees/half-made");
  mkdirSync(halfMade, { recursive: true });
  const files = { gitdir: `${home}/none/.git\n`, HEAD: `${"1".repeat(40)}\n`, commondir: "../..\n" };
  for (const [name, content] of Object.entries(files)) writeFileSync(join(halfMade, name), content);
  const fetched = repository.requireCommit(second, signal);
  setTimeout(() => writeFileSync(join(halfMade, "HEAD"), `${first}\n`), 200);
  await fetched;
  git(repository.gitDir, "cat-file", "-e", second);
});

const program = `
  const { openRepository, checkOut } = await import(process.argv[1]);
  const [url, mirrorsFolder, worktreesRoot, ...commits] = process.argv.slice(2);
  const { signal } = new AbortController();
  process.stdout.write("ready");
  await new Promise((resolve) => process.stdin.once("data", resolve));
  process.stdin.destroy();
  const repository = await openRepository(url, { mirrorsFolder, signal });
  await Promise.all(commits.map((commitSha) =>
    checkOut({ repository, worktreesRoot, path: worktreesRoot + "/" + process.pid + commitSha, commitSha, signal })));
  console.log(repository.gitDir);
`;

test("processes that need the same commits at once share one mirror", async () => {
  const mirrorsFolder = mirrors("shared");
  const entry = new URL("../../../../src/runner/index.ts", import.meta.url).href;
  const hidden = ["2", "3"].map(hiddenCommit);
  const args = [
    "--input-type=module",
    "-e",
    program,
    entry,
    url,
    mirrorsFolder,
    worktreesRoot,
    first,
    second,
    ...hidden,
  ];
  const children = [1, 2].map(() => spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] }));
  await Promise.all(children.map(({ stdout }) => once(stdout, "data")));
  const said = children.map(async (child) => {
    child.stdin.end("go");
    const [answer, [code]] = await Promise.all([text(child.stdout), once(child, "close")]);
    assert.equal(code, 0);
    return answer.trim();
  });
  const [one, other] = await Promise.all(said);
  assert.equal(one, other);
  assert.deepEqual(
    readdirSync(mirrorsFolder).map((name) => join(mirrorsFolder, name)),
    [one],
  );
  assert.equal(git(one as string, "worktree", "list").split("\n").length, 1 + 2 * 4 + 1);
});

/** Serves a repository as files, over which git gets what branches have and nothing by its id. */
async function fileServer(t: TestContext, password: string) {
  git(home, "update-server-info");
  const server = createServer(({ url: path = "", headers }, response) => {
    const given = Buffer.from(headers.authorization?.slice("Basic ".length) ?? "", "base64").toString();
    const file = join(home, ".git", (path.split("?")[0] as string).replace(/^\/repository/, ""));
    if (given !== `user:${password}`) response.writeHead(401, { "www-authenticate": "Basic realm=x" }).end();
    else if (!existsSync(file)) response.writeHead(404).end();
    else response.end(readFileSync(file));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}/repository`;
}

test("credentials of a URL reach the server, and nobody else", async (t) => {
  const place = await fileServer(t, "s3cret/@");
  const mirrorsFolder = mirrors("http");
  const source = `http://user:s3cret%2F%40@${place}`;
  const repository = await openRepository(source, { mirrorsFolder, signal });
  assert.equal(repository.source, `http://***@${place}`);
  await repository.requireCommit(first, signal);
  const config = readFileSync(join(repository.gitDir, "config"), "utf8");
  assert.ok(!(config + repository.gitDir).includes("s3cret"));
  const wrong = await openRepository(`http://user:wr0ng@${place}/`, { mirrorsFolder, signal });
  await assert.rejects(wrong.requireCommit(second, signal), ({ message }: Error) => {
    assert.match(message, /^git fetch: Authentication failed for 'http:\/\/127/);
    return !message.includes("wr0ng");
  });
  const none = await openRepository(`http://${place}?token=wr0ng`, { mirrorsFolder, signal });
  await assert.rejects(none.requireCommit(second, signal), ({ message }: Error) => {
    return /could not read Username|terminal prompts disabled/.test(message) && !message.includes("wr0ng");
  });
});

test("other kinds of URLs are refused before git sees them", async () => {
  for (const source of ["ext::sh -c true", "ftp://host/x", "git://host/x", "--upload-pack=x:y", "-x:y"])
    await assert.rejects(openRepository(source, { mirrorsFolder: mirrors("none"), signal }), {
      name: "GitError",
      message: /give an https, ssh or file URL/,
    });
  assert.ok(!existsSync(mirrors("none")));
  const empty = mirrors("empty");
  mkdirSync(empty);
  await assert.rejects(openRepository(empty, { mirrorsFolder: empty, signal }), /not a git repository/);
});

test("a git that is too old or missing is named", async () => {
  const { requireVersion } = await import("../../../../src/runner/git/git.ts");
  assert.deepEqual(
    ["git version 2.31.0", "git version 2.39.5 (Apple Git-154)", "git version 3.0"].map(requireVersion),
    ["2.31.0", "2.39.5", "3.0"],
  );
  assert.throws(() => requireVersion("git version 2.9.5\n"), /git 2\.9\.5 is too old: install git 2\.31 or newer/);
  const entry = new URL("../../../../src/runner/index.ts", import.meta.url).href;
  const script = `const { gitVersion } = await import("${entry}"); await gitVersion().catch((error) => console.log(error.message))`;
  const run = promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], {
    env: { PATH: "/nowhere" },
  });
  assert.match((await run).stdout, /^git is not installed/);
});
