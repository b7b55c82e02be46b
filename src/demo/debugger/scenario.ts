// demo --debug: one program in a worktree of its own, debugged from its first line to its end, and what the store knows of it afterwards.
import { rm, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import type { Repository } from "../../model/repositories.ts";
import type { Store } from "../../storeTypes.ts";
import { readDebugViews, renderDebugViews } from "../../terminal/debugView.ts";
import type { Screen } from "../../terminal/output.ts";
import { isClean } from "../checkout.ts";
import { treeEnvironment } from "../git.ts";
import { Heartbeat, leaseTtlMs } from "../heartbeat.ts";
import { LogWriter } from "../logWriter.ts";
import type { Commit } from "../plan.ts";
import { createDebugged } from "../sessions.ts";
import { giveBack, takeTree } from "../tree.ts";
import { type Move, NodeBridge, type Stop } from "./bridge.ts";
import { fileName, lines, source } from "./example.ts";

export interface Scenario {
  readonly store: Store;
  readonly repository: Repository;
  readonly commit: Commit;
  readonly screen: Screen;
  readonly interrupted: AbortSignal;
  say(text: string): void;
}

/** Fails as takeTree and the bridge do; the tree is given back and the session has ended in any case. */
export async function runScenario({ store, repository, commit, screen, interrupted, say }: Scenario): Promise<string> {
  const runner = await store.runners.register({
    name: "debugger",
    host: hostname(),
    pid: process.pid,
    ttlMs: leaseTtlMs,
  });
  const heartbeat = new Heartbeat(store, runner.id);
  const session = await createDebugged(store, repository, commit);
  try {
    const tree = await takeTree({ store, runnerId: runner.id, heartbeat }, session, interrupted);
    try {
      await debugIn({
        store,
        path: tree.path,
        sessionId: session.id,
        runnerId: runner.id,
        heartbeat,
        interrupted,
        say,
      });
    } finally {
      const clean = !interrupted.aborted && (await isClean(tree.path, interrupted));
      await giveBack({ store, runnerId: runner.id, heartbeat }, tree.holding, clean ? "clean" : "dirty");
    }
    if (!interrupted.aborted) await store.sessions.complete({ sessionId: session.id });
  } finally {
    await store.sessions
      .cancel({ sessionId: session.id, reason: interrupted.aborted ? "interrupted" : "the demo failed" })
      .catch(() => undefined);
    heartbeat.stop();
    await store.runners.drain({ runnerId: runner.id });
  }
  const text = renderDebugViews(await readDebugViews(store, session.id, { events: 10 }), screen);
  return `${text}\nWhat was seen at its stops: debug-server-db debug show ${session.id} --epoch 3\n`;
}

interface Debugging extends Omit<Scenario, "repository" | "commit" | "screen"> {
  readonly path: string;
  readonly sessionId: string;
  readonly runnerId: string;
  readonly heartbeat: Heartbeat;
}

async function debugIn({ store, path, sessionId, runnerId, heartbeat, interrupted, say }: Debugging): Promise<void> {
  const program = join(path, fileName);
  await store.commands.enqueue({ sessionId, commands: [{ argv: ["node", fileName] }] });
  // Nobody else can claim it: this runner leases the session's tree.
  const claim = await store.commands.claim({ runnerId, sessionId, ttlMs: leaseTtlMs });
  if (claim === undefined) throw new Error("the command that was enqueued cannot be claimed");
  const { command, fence } = claim;
  const holding = heartbeat.hold("command", command.id, fence);
  const stop = AbortSignal.any([interrupted, holding.stop]);
  const log = new LogWriter(store, claim, stop);
  let [exitCode, written]: [number, Promise<unknown>] = [1, Promise.resolve()];
  try {
    await writeFile(program, source);
    const bridge = await NodeBridge.launch(store, {
      sessionId,
      commandId: command.id,
      name: "demo",
      argv: [program],
      cwd: path,
      env: { ...treeEnvironment(dirname(path)), DEMO_API_TOKEN: "nobody-sees-this" },
      output: (stream, text) => {
        written = log.write(stream, new TextEncoder().encode(text));
        written.catch(() => undefined);
      },
    });
    const kill = () => bridge.kill();
    stop.addEventListener("abort", kill, { once: true });
    if (stop.aborted) kill();
    await drive(bridge, program, say);
    ({ exitCode } = await bridge.ended);
    stop.removeEventListener("abort", kill);
    await written;
  } finally {
    await rm(program, { force: true });
    heartbeat.drop(holding);
    const result =
      exitCode === 0 ? ({ outcome: "succeeded", exitCode } as const) : ({ outcome: "failed", exitCode } as const);
    // That the lease was lost has been said already.
    if (!holding.lost) await store.commands.finish({ commandId: command.id, fence, ...result, logOffset: log.offset });
  }
}

async function drive(bridge: NodeBridge, program: string, say: (text: string) => void): Promise<void> {
  const conditional = { line: lines.part, condition: "n === 3" };
  const logpoint = { line: lines.result, logMessage: "squaring {n}" };
  await bridge.setBreakpoints(program, [conditional, { line: lines.comment, condition: "n === 4" }, logpoint]);
  const tell = (what: string, stop: Stop | undefined): boolean => {
    if (stop !== undefined)
      say(`${what}: stopped (${stop.reason}) in ${stop.functionName}, line ${stop.line}, epoch ${stop.stopEpoch}`);
    return stop !== undefined;
  };
  const move = async (name: Move, what: string = name) => tell(what, await bridge.move(name));
  if (!tell("start", await bridge.start())) return;
  for (const name of ["continue", "stepIn", "next", "stepOut"] as const) if (!(await move(name))) return;
  const [, moved] = await bridge.setBreakpoints(program, [conditional, { line: lines.returnOfSum }, logpoint]);
  say(`a breakpoint is changed while the program is stopped: line ${lines.comment} to ${moved?.bound?.line}`);
  while (await move("continue"));
}
