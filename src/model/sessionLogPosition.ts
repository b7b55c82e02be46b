// A position in the log of a session, and its text: "marks.started.attempt:offset.attempt:offset ...".
import { z } from "zod";

export interface SessionLogPosition {
  /** The number of the last mark that was read. */
  readonly marks: number;
  /** The last attempt whose start was read, by the key of its row; 0 before the first one. */
  readonly started: number;
  /** The offsets up to which the logs were read of attempts whose end was not, by the keys of their rows. */
  readonly open: ReadonlyMap<number, number>;
}

/** The longest text: a session runs at most 1 000 commands at a time. */
const lengthMax = 40_000;
const pattern = /^\d{1,16}\.\d{1,16}(\.\d{1,16}:\d{1,16})*$/;

/** The text of a position, as an input. */
export const Position = z
  .string()
  .max(lengthMax)
  .regex(pattern, { error: "must be the position of an item, or of a page, of this log" })
  .describe("position of an item or of a page");

export function formatPosition({ marks, started, open }: SessionLogPosition): string {
  return [marks, started, ...[...open].map(([attempt, offset]) => `${attempt}:${offset}`)].join(".");
}

/** Returns the position that a valid text names; the beginning without one. */
export function parsePosition(text = "0.0"): SessionLogPosition {
  const [marks, started, ...open] = text.split(".");
  const entries = open.map((entry) => entry.split(":").map(Number) as [number, number]);
  return { marks: Number(marks), started: Number(started), open: new Map(entries) };
}
