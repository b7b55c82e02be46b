// Findings of the check of the store: rows that break one of its rules.
import { integer, list, nullable, optional, record, text, type ValueOf } from "./codec.ts";

/** A row that breaks a rule. */
export const Finding = record({
  /** The name of the check that found it. */
  check: text,
  /** The id of the row: of a log the id of its command and the number of the attempt, of the feed a sequence number. */
  id: text,
  /** The value that the store has, as text of its database, and the one that follows from other rows. */
  found: nullable(text),
  expected: nullable(text),
});
export type Finding = ValueOf<typeof Finding>;

/** The result of one step of a check. */
export const Checked = record({
  findings: list(Finding),
  /** The number of rows that the step has checked, counted once for each check. */
  rows: integer,
  /** The checks that were skipped, because they need the log archive and the store was opened without one. */
  skipped: list(text),
  next: optional(text),
});
export type Checked = ValueOf<typeof Checked>;

/** The result of one step of a repair. */
export const Repaired = record({
  repaired: list(Finding),
  /** The findings that cannot be repaired from other rows. */
  left: list(Finding),
  rows: integer,
  next: optional(text),
});
export type Repaired = ValueOf<typeof Repaired>;
