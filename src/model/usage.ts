// Usage: what the programs of commands used, and the sums of a day.
import { z } from "zod";
import { integer, list, nullable, optional, record, row, text, type ValueOf } from "./codec.ts";
import { filledText } from "./fields.ts";

/** Three years of one processor, and a pebibyte: what is more was measured wrongly. */
const [msMax, bytesMax] = [100_000_000_000, 2 ** 50];

/** The use of a program with all that it has started. A figure that is null or absent is unknown. */
export const UsageField = z
  .strictObject({
    /** CPU time, user and system together. */
    cpuMs: z.int().min(0).max(msMax).nullable().optional(),
    /** The peak of the resident memory. */
    memoryBytes: z.int().min(0).max(bytesMax).nullable().optional(),
    /** The bytes that it has caused to be written to disks. */
    writtenBytes: z.int().min(0).max(bytesMax).nullable().optional(),
  })
  .describe("cpuMs, memoryBytes and writtenBytes, each a whole number or null")
  .optional();

export type Usage = NonNullable<z.output<typeof UsageField>>;

/** A day in UTC, such as 2026-11-28. */
export const Day = z
  .string()
  .regex(/^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])$/, { error: "must be a day such as 2026-11-28" });

/** Returns the day of a time, in UTC. */
export const dayOf = (at: Date): string => at.toISOString().slice(0, 10);

/** The position of a row in a list of days. */
export const DayPosition = z.strictObject({ day: Day, name: filledText(200) });

export const UsageDay = row({
  kind: text,
  /** The id of the session, account or repository, or the name of the requester. */
  name: text,
  /** The day in UTC, such as 2026-11-28, on which the commands ended. */
  day: text,
  /** The number of commands that ended with a report of their use. */
  commands: integer,
  durationMs: integer,
  cpuMs: integer,
  /** The most that one command has used. */
  memoryBytes: integer,
  writtenBytes: integer,
});
export type UsageDay = ValueOf<typeof UsageDay>;

export const UsageDays = record({
  days: list(UsageDay),
  /** The position of the last row, when more follow. */
  next: optional(record({ day: text, name: text })),
});

/** The columns of an attempt that hold what its program used. */
export const attemptUsage = {
  cpuMs: nullable(integer),
  memoryBytes: nullable(integer),
  writtenBytes: nullable(integer),
};
