// Spans of time as people write them: 30d, 12h, 90m, 45s.
import { InvalidArgumentError } from "commander";

const unitsMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** Returns a parser of options that accepts spans within the bounds, and returns milliseconds. */
export function duration(minMs: number, maxMs: number): (text: string) => number {
  return (text) => {
    const [, count, unit] = /^(\d{1,9})([smhdw])$/.exec(text) ?? [];
    const ms = Number(count) * (unitsMs[unit ?? ""] ?? Number.NaN);
    if (ms >= minMs && ms <= maxMs) return ms;
    throw new InvalidArgumentError(
      `Expected a number with its unit (s, m, h, d or w), from ${formatDuration(minMs)} to ${formatDuration(maxMs)}, such as 30d.`,
    );
  };
}

export function formatDuration(ms: number): string {
  const unit = ["w", "d", "h", "m"].find((name) => ms !== 0 && ms % (unitsMs[name] as number) === 0) ?? "s";
  return `${ms / (unitsMs[unit] as number)}${unit}`;
}
