// Prints the figures of cells as tables, one for each comparison.
import { describe, format, median, spread, table } from "../report.ts";
import { type CellRound, scenarios } from "./cell.ts";
import type { CellsResult, ComparisonResult } from "./run.ts";

export function renderCells({ environment, options, comparisons }: CellsResult): string {
  const { rounds, seconds, warmUpSeconds } = options;
  return [
    `Medians (lowest..highest) of ${rounds} rounds of ${seconds} s, each in a process of its own that warms up for ` +
      `${warmUpSeconds} s. All contenders sync each commit (synchronous=FULL), and their units were counted afterwards.`,
    ...comparisons.map(renderComparison),
    `${describe(environment)}.`,
  ].join("\n\n");
}

/** Returns a sentence about the days of a runner: the case that says most about ordinary use. */
export function renderHeadline({ comparisons }: CellsResult): string {
  const [first, ...others] = comparisons.find(({ scenario }) => scenario === "runner-day")?.cells ?? [];
  const timesOf = (inFlight: number): string => {
    const cell = others.find((one) => one.contender === "debug-server-db" && one.inFlight === inFlight);
    const ratios = cell?.rounds.map(
      ({ unitsPerSecond }, round) => unitsPerSecond / (first?.rounds[round]?.unitsPerSecond ?? Number.NaN),
    );
    return format(median(ratios ?? []));
  };
  return (
    "A runner's day (a claim, a worktree, 50 appends, a heartbeat, an artifact, the end, the release) on 16 threads: " +
    `${timesOf(10)} times as many days as with a better-sqlite3 connection for each thread when a runner keeps ten ` +
    `appends in flight, and ${timesOf(1)} times as many when it waits for each (\`npm run bench -- runner-day\`).`
  );
}

function renderComparison({ name, scenario, title, cells, missing }: ComparisonResult): string {
  const unit = scenarios[scenario];
  const columns = [
    "contender",
    `${unit}/s`,
    "to the first row",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "worst ms",
    "CPU µs",
    "of it callers",
    "MB",
    "loop p99 ms",
    "starved",
  ];
  const [first] = cells;
  const rows = cells.map(({ contender, threads, inFlight, rounds }) => {
    const of = (figure: keyof CellRound): number[] => rounds.map((round) => round[figure]);
    const mid = (figure: keyof CellRound): string => format(median(of(figure)));
    const ratios = rounds.map(
      ({ unitsPerSecond }, index) => unitsPerSecond / (first?.rounds[index]?.unitsPerSecond ?? Number.NaN),
    );
    return [
      `${contender}, ${threads} x ${inFlight}`,
      spread(of("unitsPerSecond")),
      spread(ratios),
      mid("p50Ms"),
      mid("p99Ms"),
      mid("p999Ms"),
      mid("worstMs"),
      mid("cpuUs"),
      mid("callersCpuUs"),
      mid("memoryMb"),
      mid("loopDelayMs"),
      format(Math.max(...of("starvedThreads"))),
    ];
  });
  const left = missing.length === 0 ? "" : `\n\nNot installed (\`npm ci --prefix bench\`): ${missing.join(", ")}.`;
  return `**${title}** (\`npm run bench -- ${name}\`)\n\n${table(columns, rows)}${left}`;
}
