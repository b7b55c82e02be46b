// Programs that cannot be started, that do not want to end, that leave processes behind, and that write too much.
import assert from "node:assert/strict";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Readable } from "node:stream";
import { type TestContext, test } from "node:test";
import { logWriter, type RunCommandOptions, runCommand } from "../../../src/runner/index.ts";
import { killGroup } from "../../../src/runner/process/groups.ts";
import { fixtures, openTestStore } from "../../../src/testing/index.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";
import { until } from "../faults/until.ts";
import { hasEnded } from "./hasEnded.ts";

const cwd = temporaryFolder();
const missing = join(cwd, "missing");
const isLinux = process.platform === "linux";

/** Runs a program, and returns its end with its output. */
async function run(argv: readonly string[], options: Partial<RunCommandOptions> = {}) {
  const pieces: Record<"stdout" | "stderr", Uint8Array[]> = { stdout: [], stderr: [] };
  const output = (stream: "stdout" | "stderr", data: Uint8Array) => pieces[stream].push(data);
  const end = await runCommand(argv, { cwd, env: process.env, output, ...options });
  return { ...end, stdout: Buffer.concat(pieces.stdout).toString(), stderr: Buffer.concat(pieces.stderr).toString() };
}

const sh = (script: string, options?: Partial<RunCommandOptions>) => run(["sh", "-c", script], options);

/** Calls back with the first line of the output, when the program is known to have come so far. */
function onFirstLine(run: (line: string) => void): RunCommandOptions["output"] {
  let text = "";
  return (_stream, data) => {
    const before = text.includes("\n");
    text += Buffer.from(data).toString();
    if (!before && text.includes("\n")) run(text.slice(0, text.indexOf("\n")));
  };
}

for (const [what, argv, folder, reason] of [
  // Linux bounds one argument at 128 KiB, and other systems all of them together.
  [
    "arguments that the system refuses",
    ["true", ...Array(8).fill("x".repeat(400_000))],
    cwd,
    "the arguments are too long",
  ],
  ["a missing program", [missing], cwd, "no such program"],
  ["a folder in place of a program", [cwd], cwd, "not an executable file"],
  ["a missing folder", ["true"], missing, `there is no folder ${missing}`],
] as const)
  test(`the reason is the answer: ${what}`, async () => {
    const end = await run(argv, { cwd: folder });
    assert.ok(end.reason?.endsWith(reason) === true, JSON.stringify(end).slice(0, 200));
    assert.deepEqual([end.exitCode, end.signal], [null, null]);
  });

test("an end has an exit code or a signal, and both streams are read to their end", async () => {
  const { exitCode, signal, timedOut, stdout, stderr } = await sh("echo out; echo err >&2; exit 7");
  assert.deepEqual([exitCode, signal, timedOut, stdout, stderr], [7, null, false, "out\n", "err\n"]);
  const killed = await sh("kill -9 $$");
  assert.deepEqual([killed.exitCode, killed.signal], [null, "SIGKILL"]);
  // A program that closes its pipes has not ended.
  assert.equal((await sh("exec >&- 2>&-; sleep 0.1; exit 5")).exitCode, 5);
});

test("a program and its children that ignore SIGTERM are killed after the time of grace", async () => {
  let child = 0;
  const output = onFirstLine((line) => {
    child = Number(line);
  });
  const script = `trap "" TERM; sh -c 'echo $$; while :; do sleep 1; done'; exit 1`;
  const { signal, timedOut } = await sh(script, { timeoutMs: 300, graceMs: 50, output });
  assert.deepEqual([signal, timedOut], ["SIGKILL", true]);
  await until(() => hasEnded(child));
});

test("a child has the time of grace although its parent has ended at once, and what it writes then is read", async () => {
  const stop = new AbortController();
  let text = "";
  const output: RunCommandOptions["output"] = (_stream, data) => {
    text += Buffer.from(data).toString();
    if (text === "ready\n") stop.abort();
  };
  const child = `trap "sleep 0.2; echo bye; exit" TERM; echo ready; while :; do sleep 0.05; done`;
  const { signal, timedOut } = await sh(`exec 2>/dev/null; sh -c '${child}' & wait`, {
    signal: stop.signal,
    graceMs: 60_000,
    output,
  });
  assert.deepEqual([signal, timedOut, text], ["SIGTERM", false, "ready\nbye\n"]);
});

test("a lost lease kills at once, also after the program was asked to end, and waits for no output", async () => {
  const [stop, lost] = [new AbortController(), new AbortController()];
  const lease = {
    signal: stop.signal,
    lost: lost.signal,
    isLost: false,
    remainingMs: () => 1,
    onRenewed: () => () => undefined,
  };
  const output = () => {
    stop.abort("cancelled");
    setImmediate(() => lost.abort("lost"));
    return new Promise(() => undefined);
  };
  const { signal } = await sh(`trap "" TERM; echo; while :; do sleep 1; done`, {
    holdings: [lease],
    output,
    graceMs: 60_000,
  });
  assert.equal(signal, "SIGKILL");
  const late = new AbortController();
  const deaf = { signal: late.signal, graceMs: 60_000, output: () => late.abort("lost") };
  assert.equal((await sh(`trap "" TERM; echo; while :; do sleep 1; done`, deaf)).signal, "SIGKILL");
  const { reason } = await run([missing], { holdings: [lease] });
  assert.match(reason ?? "", /^not started/);
});

/** A program that ends when it has started another one, outside its group, that runs this script and holds its pipes. */
const leaving = (script: string) => [
  process.execPath,
  "-e",
  `require("node:child_process").spawn("sh", ["-c", ${JSON.stringify(script)}], { detached: true, stdio: "inherit" })
    .on("spawn", function () { console.log(this.pid); this.unref(); });`,
];

test("a process that has left the group is found by its variable, and killed", { skip: !isLinux }, async () => {
  const env = { ...process.env, COMMAND_OF_TEST: `${process.pid}.1` };
  const { stdout, exitCode } = await run(leaving("sleep 60"), { env, marker: "COMMAND_OF_TEST" });
  assert.deepEqual([exitCode, hasEnded(Number(stdout))], [0, true]);
});

test("a process that has left the group and holds its pipes holds up nothing, silent or not", async (t) => {
  const leave = async (script: string) => {
    const { stdout, exitCode } = await run(leaving(script));
    const pid = Number(stdout.split("\n").find((line) => /^\d+$/.test(line)));
    t.after(() => killGroup(pid, "SIGKILL"));
    assert.equal(exitCode, 0);
    return stdout.length;
  };
  await leave("sleep 60");
  assert.ok((await leave("while kill -0 $PPID; do sleep 0.01; done; exec yes")) < 3_000_000);
});

test("the input of a program is a piece or a stream, and it need not be read", async () => {
  const piece = Buffer.alloc(1_000_000, "x");
  assert.equal((await run(["cat"], { stdin: piece })).stdout.length, piece.byteLength);
  assert.equal((await run(["cat"], { stdin: Readable.from(["a", "b"]) })).stdout, "ab");
  assert.equal((await run(["true"], { stdin: piece })).exitCode, 0);
  assert.equal((await run(["cat"])).stdout, "");
  const failing = new Readable({
    read() {
      this.destroy(new Error("broken source"));
    },
  });
  await assert.rejects(run(["sleep", "60"], { stdin: failing }), /broken source/);
});

test("a program is killed whose output cannot be taken, and waits while it is not taken", async () => {
  const fails = () => {
    throw new Error("cannot take it");
  };
  await assert.rejects(run(["yes"], { output: fails }), /cannot take it/);
  const { promise: taken, resolve: take } = Promise.withResolvers<void>();
  let [pieces, bytes] = [0, 0];
  const ended = run(["yes"], {
    timeoutMs: 200,
    output: (_stream, data) => {
      bytes += data.byteLength;
      if (++pieces === 1) setTimeout(take, 300);
      return taken;
    },
  });
  assert.equal((await ended).signal, "SIGTERM");
  // Two pieces in this process, and what the pipe holds.
  assert.ok(bytes <= 512 * 1_024, `${bytes} bytes`);
});

test("use is measured for a program with its children", { skip: !isLinux }, async () => {
  // Between two samples is at most as much time as before the first of them.
  const child = "const x = Buffer.alloc(80e6, 1); while (process.cpuUsage().user < 1e5); setTimeout(() => x, 1_300);";
  const { usage } = await run(["sh", "-c", '"$0" -e "$1"; true', process.execPath, child]);
  assert.ok((usage.memoryBytesMax ?? 0) > 80e6, JSON.stringify(usage));
  assert.ok((usage.cpuMs ?? 0) >= 90 && (usage.cpuMs ?? 0) < 10_000, JSON.stringify(usage));
});

test("output at full speed is stored whole, while timers are served", async (t: TestContext) => {
  const store = await openTestStore({ limits: { logBytes: 4 * 1_024 * 1_024 } });
  t.after(() => store.close());
  const { claim } = await fixtures(store).claim();
  const log = logWriter(store, { commandId: claim.command.id, fence: claim.fence, secrets: ["hunter22", "swordfish"] });
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  const size = 16 * 1_024 * 1_024;
  const { exitCode } = await run(["head", "-c", String(size), "/dev/zero"], {
    output: (stream, data) => log.write(stream, data),
  });
  const { offset, truncated } = await log.end();
  delay.disable();
  assert.deepEqual([exitCode, offset, truncated], [0, size, true]);
  assert.ok(delay.percentile(99) < 500e6, `timers were ${delay.percentile(99) / 1e6} ms late`);
});
