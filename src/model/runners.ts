// Runner: a process or thread that executes commands. It gets a new boot id at every start.
import { integer, json, oneOf, row, text, time, type ValueOf } from "./codec.ts";
import { stamps } from "./common.ts";
import { runnerStates } from "./vocabulary.ts";

export const Runner = row({
  id: text,
  name: text,
  bootId: text,
  host: text,
  /** The place of the worktrees that it gets. */
  place: text,
  pid: integer,
  labels: json<Record<string, string>>(),
  state: oneOf(runnerStates),
  heartbeatAt: time,
  expiresAt: time,
  ...stamps,
});
export type Runner = ValueOf<typeof Runner>;
