// Spans of time as people write them, 30d, 12h, 90m, 45s, and times that are so long ago, or written in full.
import { InvalidArgumentError } from "commander";

const unitsMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

const spanPattern = /^(\d{1,9})([smhdw])$/;

/** Returns a parser of options that accepts spans within the bounds, and returns milliseconds. */
export function duration(minMs: number, maxMs: number): (text: string) => number {
  return (text) => {
    const [, count, unit] = spanPattern.exec(text) ?? [];
    const ms = Number(count) * (unitsMs[unit ?? ""] ?? Number.NaN);
    if (ms >= minMs && ms <= maxMs) return ms;
    throw new InvalidArgumentError(
      `Expected a number with its unit (s, m, h, d or w), from ${formatDuration(minMs)} to ${formatDuration(maxMs)}, such as 30d.`,
    );
  };
}

/** Parses a time: in full, in UTC unless it names its offset, or as a span that ends now. Returns it as a Date. */
export function pastTime(text: string): Date {
  const [, count, unit] = spanPattern.exec(text) ?? [];
  const [, date = "", time = "00:00", offset = "Z"] = timePattern.exec(text) ?? [];
  const at =
    unit === undefined
      ? new Date(`${date}T${time}${offset}`)
      : new Date(Date.now() - Number(count) * (unitsMs[unit] as number));
  if (at.getTime() >= 0 && (unit !== undefined || isInCalendar(date))) return at;
  throw new InvalidArgumentError(
    "Expected a time such as 2026-11-26 or 2026-11-26T08:30:00Z, or a span such as 2h or 30d.",
  );
}

/** Checks that a month has this day: a Date takes the 31st of February for the 3rd of March. */
function isInCalendar(date: string): boolean {
  return new Date(`${date}T00:00Z`).toISOString().startsWith(date);
}

const timePattern = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)(Z|[+-]\d\d:\d\d)?)?$/;

export function formatDuration(ms: number): string {
  const unit = ["w", "d", "h", "m"].find((name) => ms !== 0 && ms % (unitsMs[name] as number) === 0) ?? "s";
  return `${ms / (unitsMs[unit] as number)}${unit}`;
}
