// Measures the runner with real programs, beside bare `spawn` with the output in a file: commands per second of `true`,
// and megabytes per second of output from many commands at once.
import { execFileSync, spawn } from "node:child_process";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openStore, type Store } from "../src/index.ts";
import { registerRepository, startRunner } from "../src/runner/index.ts";
import { describe, type Environment, environment, format, median, spread, table } from "./report.ts";
import { temporaryFolder } from "./setup.ts";

export interface RunnerOptions {
  readonly rounds: number;
}

interface Measure {
  readonly name: string;
  readonly unit: string;
  /** The yield of one command in this unit. */
  readonly amount: number;
  readonly sessions: number;
  readonly commandsPerSession: number;
  readonly argv: readonly string[];
}

interface Figures {
  readonly name: string;
  readonly unit: string;
  /** One figure for each round. */
  readonly peer: number[];
  readonly runner: number[];
}

export interface RunnerResult {
  readonly bench: "runner";
  readonly environment: Environment;
  readonly options: RunnerOptions;
  readonly figures: readonly Figures[];
}

const outputBytes = 32 * 1024 * 1024;

const measures: readonly Measure[] = [
  {
    name: "commands of `true`, 16 sessions at once",
    unit: "commands/s",
    amount: 1,
    sessions: 16,
    commandsPerSession: 20,
    argv: ["true"],
  },
  {
    name: "output of 16 commands of 32 MiB each",
    unit: "MB/s",
    amount: outputBytes / 1e6,
    sessions: 16,
    commandsPerSession: 1,
    argv: [
      "sh",
      "-c",
      `yes 'a line of output as a test prints it, of seventy characters or so' | head -c ${outputBytes}`,
    ],
  },
];

export async function runRunner(options: RunnerOptions): Promise<RunnerResult> {
  const folder = temporaryFolder();
  const git = (...args: string[]) =>
    execFileSync("git", ["-c", "user.name=bench", "-c", "user.email=bench@example.com", ...args], {
      cwd: folder,
      encoding: "utf8",
    }).trim();
  git("init", "--quiet");
  writeFileSync(join(folder, "a.txt"), "a\n");
  git("add", "a.txt");
  git("commit", "--quiet", "--message", "One");
  const store = await openStore({ url: `sqlite:${join(folder, "store.db")}`, limits: { logBytes: 64 * 1024 * 1024 } });
  const runnerFolder = join(folder, "runner");
  const { id: repositoryId } = await registerRepository(store, {
    path: folder,
    worktreesFolder: join(runnerFolder, "worktrees"),
    worktreesMin: 16,
  });
  const commitSha = git("rev-parse", "HEAD");
  const figures = measures.map(({ name, unit }): Figures => ({ name, unit, peer: [], runner: [] }));
  const runner = await startRunner(store, { folder: runnerFolder, concurrency: 16, signals: false });
  for (let round = 0; round <= options.rounds; round++) {
    for (const [index, measure] of measures.entries()) {
      const peer = await measurePeer(measure, folder);
      const own = await measureRunner(store, measure, { repositoryId, commitSha });
      // The first round makes the worktrees, and is not counted.
      if (round > 0) figures[index]?.peer.push(peer);
      if (round > 0) figures[index]?.runner.push(own);
    }
  }
  await runner.close();
  await store.close();
  return { bench: "runner", environment: environment(), options, figures };
}

/** Returns the amount per second of a loop of bare spawns, each with its output in a file. */
async function measurePeer({ sessions, commandsPerSession, argv, amount }: Measure, folder: string): Promise<number> {
  const startedAtMs = performance.now();
  await Promise.all(
    Array.from({ length: sessions }, async (_, session) => {
      for (let command = 0; command < commandsPerSession; command++) {
        const file = openSync(join(folder, `out-${session}`), "w");
        const [program = "", ...args] = argv;
        const child = spawn(program, args, { stdio: ["ignore", file, file] });
        await new Promise((resolve, reject) => child.once("close", resolve).once("error", reject));
        closeSync(file);
      }
    }),
  );
  return (sessions * commandsPerSession * amount) / ((performance.now() - startedAtMs) / 1_000);
}

async function measureRunner(
  store: Store,
  { sessions, commandsPerSession, argv, amount }: Measure,
  of: { readonly repositoryId: string; readonly commitSha: string },
): Promise<number> {
  const startedAtMs = performance.now();
  const created = await Promise.all(
    Array.from({ length: sessions }, () =>
      store.sessions.create({
        ...of,
        autoComplete: true,
        commands: Array.from({ length: commandsPerSession }, () => ({ argv: [...argv] })),
      }),
    ),
  );
  const ended = await Promise.all(
    created.map(({ session }) => store.sessions.wait({ sessionId: session.id, timeoutMs: 300_000 })),
  );
  const failed = ended.find(({ state }) => state !== "completed");
  if (failed !== undefined) throw new Error(`a session of the benchmark is ${failed.state}`);
  return (sessions * commandsPerSession * amount) / ((performance.now() - startedAtMs) / 1_000);
}

export function renderRunner({ environment: machine, options, figures }: RunnerResult): string {
  const rows = figures.map(({ name, unit, peer, runner }) => [
    name,
    `${format(median(peer))} ${unit}`,
    `${format(median(runner))} ${unit}`,
    spread(runner.map((value, round) => value / (peer[round] as number))),
  ]);
  return `${describe(machine)}\n${options.rounds} rounds, medians\n\n${table(["", "spawn to a file", "runner", "ratio"], rows)}`;
}
