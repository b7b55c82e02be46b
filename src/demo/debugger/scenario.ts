// demo --debug: debugs one program from its first line to its end, as a command of a session in a worktree of its own, and
// prints what the store knows of it.
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Repository, Store } from "../../index.ts";
import { type DrivenProgram, debuggers, type Move, type Stop, startRunner } from "../../runner/index.ts";
import { readDebugViews, renderDebugViews } from "../../terminal/debugView.ts";
import type { Screen } from "../../terminal/output.ts";
import type { Commit } from "../plan.ts";
import { cancelSessions, createDebugSession } from "../sessions.ts";
import { fileName, lines, source } from "./example.ts";

export interface Scenario {
  readonly store: Store;
  readonly repository: Repository;
  readonly commit: Commit;
  /** The folder of the runner. */
  readonly runnerFolder: string;
  readonly screen: Screen;
  readonly interrupted: AbortSignal;
  notify(text: string): void;
}

/**
 * Returns the debug session as text. Fails when the command fails; in any case everything has ended and is released.
 */
export async function runScenario(scenario: Scenario): Promise<string> {
  const { store, repository, commit, screen, interrupted, runnerFolder, notify } = scenario;
  const { id: sessionId } = await createDebugSession(store, repository, commit, ["node", fileName]);
  const runner = await startRunner(store, {
    name: "debugger",
    folder: runnerFolder,
    concurrency: 1,
    signals: false,
    env: { DEMO_API_TOKEN: "nobody-sees-this" },
    hooks: {
      async beforeCommand({ path }) {
        const program = join(path, fileName);
        await writeFile(program, source);
        const drive = (driven: DrivenProgram) => driveThrough(driven, program, notify);
        return { argv: ["node", program], debugger: debuggers.node({ name: "demo", stopOnEntry: true, drive }) };
      },
      afterCommand: ({ path }) => rm(join(path, fileName), { force: true }),
    },
  });
  const interrupt = () =>
    void cancelSessions(store, [sessionId], "interrupted").then(() => runner.close({ drainMs: 0 }));
  interrupted.addEventListener("abort", interrupt, { once: true });
  try {
    const { state } = await store.sessions.wait({ sessionId, timeoutMs: 600_000 });
    if (state !== "completed") {
      const [command] = (await store.commands.list({ sessionId })).items;
      throw new Error(`the program to debug has ${command?.state}: ${command?.endReason}`);
    }
  } finally {
    interrupted.removeEventListener("abort", interrupt);
    await runner.close({ drainMs: 0 });
  }
  const text = renderDebugViews(await readDebugViews(store, sessionId, { events: 10 }), screen);
  return `${text}\nTo show an earlier stop: npx debug-server-db debug show ${sessionId} --epoch 3\n`;
}

/** Moves through the program: breakpoints, steps, a breakpoint that is moved, and on to the end. */
async function driveThrough(driven: DrivenProgram, program: string, notify: (text: string) => void): Promise<void> {
  const conditional = { line: lines.part, condition: "n === 3" };
  const logpoint = { line: lines.result, logMessage: "squaring {n}" };
  await driven.setBreakpoints(program, [conditional, { line: lines.comment, condition: "n === 4" }, logpoint]);
  /** Returns false when the program has ended instead of stopping. */
  const describe = (what: string, stop: Stop | undefined): boolean => {
    if (stop === undefined) return false;
    notify(`${what}: stopped (${stop.reason}) in ${stop.functionName}, line ${stop.line}, epoch ${stop.stopEpoch}`);
    return true;
  };
  const move = async (name: Move) => describe(name, await driven.move(name));
  if (!describe("start", await driven.start())) return;
  for (const name of ["continue", "stepIn", "next", "stepOut"] as const) if (!(await move(name))) return;
  const [, moved] = await driven.setBreakpoints(program, [conditional, { line: lines.returnOfSum }, logpoint]);
  notify(`a breakpoint is moved while the program is stopped: line ${lines.comment} to ${moved?.bound?.line}`);
  while (await move("continue"));
}
