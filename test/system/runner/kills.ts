// Kills runners at random while they run commands, and checks that nothing is lost, doubled, or in two hands.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openStore, type Store } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { assertSound } from "../../support/sound.ts";
import { git, workingFolder } from "../cli/commandLine.ts";
import { until } from "../faults/until.ts";

const script = fileURLToPath(new URL("./runningProcess.ts", import.meta.url));
const linesMax = 15;
/** Far more attempts than there are kills: no command may be lost. */
const maxAttempts = 100;

/**
 * A program that takes the worktree for itself and prints numbered lines. It exits with 99 when it is not alone there, and
 * with 98 when somebody changes a file meanwhile. Its lock lies beside the worktree, where no checkout removes it, and is
 * gone with the program.
 */
const program = `exec 9>"$PWD.lock"; flock --nonblock 9 || exit 99
echo $$ > own
i=1; while [ $i -le ${linesMax} ]; do echo "line $i"; i=$((i+1)); sleep 0.01; done
[ "$(cat own)" = $$ ] || exit 98`;

/** The lease of a runner process, in milliseconds, and a time after which it has certainly ended. */
const [ttlMs, frozenMs] = [3_000, 5_000];

export interface KillsOptions {
  readonly name: string;
  readonly rounds: number;
  readonly threads: number;
  url(t: TestContext): Promise<string | undefined>;
}

/** Defines the test of runner processes that are killed in some rounds, at moments that differ. */
export function testKills({ name, rounds, threads, url }: KillsOptions): void {
  test(`runners that are killed ${rounds} times on ${name}: no worktree in two hands, no command or line lost or doubled, no process left`, async (t) => {
    const here = workingFolder(t, { commits: 2 });
    // A checkout that takes a while, so that some runners are killed during one.
    git(here.folder, "config", "filter.slow.smudge", "sleep 0.1; cat");
    writeFileSync(join(here.folder, ".gitattributes"), "*.txt filter=slow\n");
    git(here.folder, "add", ".");
    git(here.folder, "commit", "--quiet", "--message", "Slow");
    const shared = (await url(t)) ?? here.url;
    const store = await openStore({ url: shared });
    t.after(() => store.close());
    const folder = join(here.folder, ".artifacts/runner");
    const { repository } = await fixtures(store).repository({
      remoteUrl: join(here.folder, ".git"),
      worktreeRoot: join(folder, "worktrees"),
      maxWorktrees: 3,
    });
    const commits = git(here.folder, "rev-list", "HEAD").trim().split("\n");
    const marker = repository.id;
    const commandIds: string[] = [];
    const queue = async (): Promise<void> => {
      const commands = Array.from({ length: 2 }, () => ({ argv: ["sh", "-c", program, marker], maxAttempts }));
      const commitSha = commits[commandIds.length % commits.length] as string;
      const created = await store.sessions.create({
        repositoryId: repository.id,
        commitSha,
        autoComplete: true,
        commands,
      });
      commandIds.push(...created.commands.map(({ id }) => id));
    };
    const runners = Array.from({ length: 2 }, () => new RunnerProcess(shared, folder, threads));
    t.after(() => Promise.all(runners.map((runner) => runner.kill("SIGKILL"))));
    for (let round = 0; round < rounds; round++) {
      await queue();
      const victim = runners[round % runners.length] as RunnerProcess;
      // Some die while they start, some while they check out, most while a program runs.
      const programs = round % 5 === 4 ? 0 : 1 + (round % 2);
      await until(async () => {
        // The other runner may take all that there is.
        if ((await store.commands.list({ state: "queued", limit: 1 })).items.length === 0) await queue();
        return victim.hasStarted(programs);
      });
      // It stands still until others have what it had, and goes on as if nothing had happened.
      if (round % 6 === 2) await victim.freeze();
      else {
        await victim.kill(round % 4 === 3 ? "SIGTERM" : "SIGKILL");
        victim.start();
      }
    }
    const ends = await Promise.all(
      commandIds.map((commandId) => store.commands.wait({ commandId, timeoutMs: 120_000 })),
    );
    for (const runner of runners) await runner.kill("SIGTERM");
    assert.deepEqual(
      ends
        .filter(({ state }) => state !== "succeeded")
        .map(({ id, state, exitCode, endReason }) => ({ id, state, exitCode, endReason })),
      [],
    );
    for (const { id, attempt } of ends) await assertLines(store, id, attempt);
    await until(() => processesWith(marker).length === 0);
    // git has the folder among its arguments; so have the runners, which have ended.
    await until(() => processesWith(here.folder).length === 0);
    assert.equal((await store.worktrees.list({ state: "leased" })).items.length, 0);
    await assertSound(store);
    await store.close();
  });
}

/** Checks that each attempt has the lines from the first one on, without a hole, and the last attempt all of them. */
async function assertLines(store: Store, commandId: string, attempts: number): Promise<void> {
  for (let attempt = 1; attempt <= attempts; attempt++) {
    let text = "";
    for await (const { stream, data } of store.logs.follow({ commandId, attempt }))
      if (stream === "stdout") text += Buffer.from(data).toString();
    const whole = Array.from({ length: linesMax }, (_, index) => `line ${index + 1}\n`).join("");
    assert.ok(whole.startsWith(text), `attempt ${attempt} of ${commandId}: ${JSON.stringify(text)}`);
    if (attempt === attempts) assert.equal(text, whole);
  }
}

/** Returns the processes that have a text among their arguments. */
function processesWith(text: string): readonly string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(text);
    } catch {
      return false;
    }
  });
}

class RunnerProcess {
  readonly #args: readonly string[];
  #child: ChildProcess | undefined;
  #started = 0;
  #output = "";

  constructor(url: string, folder: string, threads: number) {
    this.#args = [script, url, folder, "2", String(threads), String(ttlMs)];
    this.start();
  }

  start(): void {
    this.#started = 0;
    this.#child = spawn(process.execPath, this.#args, { stdio: ["ignore", "pipe", "inherit"] });
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#output = (this.#output + text).slice(-4_000);
      this.#started += text.split(": started\n").length - 1;
    });
  }

  /** Checks whether it has started this number of programs since it was started itself. Fails if it has ended. */
  hasStarted(programs: number): boolean {
    assert.equal(this.#child?.exitCode, null, `the runner has ended by itself:\n${this.#output}`);
    return this.#started >= programs;
  }

  async freeze(): Promise<void> {
    this.#child?.kill("SIGSTOP");
    await sleep(frozenMs);
    this.#started = 0;
    this.#child?.kill("SIGCONT");
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child as ChildProcess;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    const tooLong = setTimeout(() => {
      console.error(`a runner does not end:\n${this.#output}`);
      child.kill("SIGKILL");
    }, 30_000);
    await once(child, "exit");
    clearTimeout(tooLong);
  }
}
