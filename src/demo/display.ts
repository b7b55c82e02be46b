// Displays the progress of a run: on a terminal a few lines that are redrawn, elsewhere one line per command that has
// ended.

import { formatArguments } from "../terminal/argumentText.ts";
import { oneLine } from "../terminal/controls.ts";
import type { Output } from "../terminal/output.ts";
import { paint } from "../terminal/table.ts";
import type { Progress, Step } from "./progress.ts";

/** A runner as the display shows it. */
export interface NamedRunner {
  readonly runnerId: string;
  readonly name: string;
}

export interface Display {
  update(ended: Step | undefined): void;
  /** Stops drawing, and clears what was drawn. */
  end(): void;
}

export function createDisplay(output: Output, progress: Progress, runners: readonly NamedRunner[]): Display {
  return output.isTerminal ? new TerminalDisplay(output, progress, runners) : new LineDisplay(output, progress);
}

export function describeStep({ commitSha, argv }: Pick<Step, "commitSha" | "argv">, lengthMax: number): string {
  return `${commitSha.slice(0, 8)}  ${describeArgv(argv, lengthMax - 10)}`;
}

/** Formats a command with the name of its program instead of its path. */
export function describeArgv([file = "", ...rest]: readonly string[], lengthMax: number): string {
  return oneLine(formatArguments([file.slice(file.lastIndexOf("/") + 1), ...rest]), lengthMax);
}

class LineDisplay implements Display {
  readonly #output: Output;
  readonly #progress: Progress;

  constructor(output: Output, progress: Progress) {
    this.#output = output;
    this.#progress = progress;
  }

  update(ended: Step | undefined): void {
    const { endedSteps, steps } = this.#progress;
    if (ended === undefined) return;
    const counter = `${String(endedSteps).padStart(String(steps.size).length)}/${steps.size}`;
    this.#output.write(`${counter}  ${ended.state}  ${describeStep(ended, 100)}\n`);
  }

  end(): void {}
}

/** The number of runners shown. More would push the bar off a small terminal. */
const runnerLinesMax = 8;

class TerminalDisplay implements Display {
  readonly #output: Output;
  readonly #progress: Progress;
  readonly #runners: readonly NamedRunner[];
  readonly #startedAtMs = performance.now();
  readonly #timer: NodeJS.Timeout;
  #lines = 0;

  constructor(output: Output, progress: Progress, runners: readonly NamedRunner[]) {
    this.#output = output;
    this.#progress = progress;
    this.#runners = runners;
    this.#timer = setInterval(() => this.#draw(), 100);
    this.#draw();
  }

  update(): void {
    this.#draw();
  }

  end(): void {
    clearInterval(this.#timer);
    this.#clear();
  }

  #clear(): void {
    if (this.#lines > 0) this.#output.write(`\x1b[${this.#lines}A\r\x1b[J`);
    this.#lines = 0;
  }

  /** Draws in one write, so that nothing flickers. */
  #draw(): void {
    const lines = [this.#bar(), ...this.#runnerLines()];
    const clear = this.#lines > 0 ? `\x1b[${this.#lines}A\r\x1b[J` : "";
    this.#lines = lines.length;
    this.#output.write(clear + lines.map((line) => `${line}\n`).join(""));
  }

  #bar(): string {
    const { endedSteps, steps, endedSessions, sessions } = this.#progress;
    const cells = Math.max(10, Math.min(40, (this.#output.columns ?? 80) - 50));
    const full = Math.round((endedSteps / Math.max(1, steps.size)) * cells);
    const seconds = ((performance.now() - this.#startedAtMs) / 1_000).toFixed(1);
    const bar = paint("green", "━".repeat(full), this.#output) + paint("dim", "─".repeat(cells - full), this.#output);
    return ` ${bar}  ${endedSteps}/${steps.size} commands  ${endedSessions}/${sessions} sessions  ${paint("dim", `${seconds} s`, this.#output)}`;
  }

  #runnerLines(): string[] {
    const running = new Map(
      [...this.#progress.steps.values()]
        .filter(({ state }) => state === "running" || state === "cancelling")
        .map((step) => [step.runnerId, step]),
    );
    const width = (this.#output.columns ?? 80) - 16;
    const shown =
      this.#runners.length <= runnerLinesMax
        ? this.#runners
        : this.#runners.filter(({ runnerId }) => running.has(runnerId));
    const lines = shown.slice(0, runnerLinesMax).map(({ runnerId, name }) => {
      const step = running.get(runnerId);
      const text = step === undefined ? paint("dim", "waiting", this.#output) : describeStep(step, width);
      return `   ${paint("dim", name.padEnd(10), this.#output)} ${text}`;
    });
    return shown.length > runnerLinesMax ? [...lines, `   and ${shown.length - runnerLinesMax} more`] : lines;
  }
}
