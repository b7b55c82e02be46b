// Reaped: what one pass of `maintenance.reap` has ended. A new kind of row that expires is a new field here.
import { boolean, integer, list, record, text, type ValueOf } from "./codec.ts";

export const Reaped = record({
  worktrees: list(text),
  commands: list(text),
  sessions: list(text),
  runners: list(text),
  artifacts: list(text),
  debugSessions: list(text),
  debugRequests: list(text),
  environments: list(text),
  /** The number of idempotency keys, which have no ids. */
  keys: integer,
  more: boolean,
});

/** The ids of the rows that a pass has ended, by kind. */
export type ReapedIds = {
  readonly [Kind in keyof Omit<ValueOf<typeof Reaped>, "keys" | "more">]: readonly string[];
};
