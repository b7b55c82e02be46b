// Why a queued command has not started: what holds it up, as far as the store knows.
import { integer, lines, list, nullable, oneOf, record, text, time, type ValueOf, variant } from "./codec.ts";
import { Command } from "./commands.ts";
import { runnerStates } from "./vocabulary.ts";

/** One reason for which a command waits. `commandId` names the command at the head of the session's queue. */
export const WaitReason = variant({
  /** Commands of its session come before it; the first of them is at the head of the queue. */
  predecessors: { commands: integer, commandId: text },
  /** Its session runs as many commands as it may. */
  max_parallel: { active: integer, maxParallel: integer },
  /** The command at the head of the queue is not claimed before this time: its own, or the end of its pause after a failure. */
  not_before: { commandId: text, at: time },
  /**
   * The worktree of its session is leased by somebody who does not claim the command: an owner that is no runner, or a
   * runner that is not online or lacks labels.
   */
  worktree: {
    worktreeId: text,
    owner: text,
    runnerId: nullable(text),
    runnerState: nullable(oneOf(runnerStates)),
    missing: list(text),
  },
  /** No runner is online. */
  no_runner: {},
  /**
   * None of the runners that are online has all labels that the command requires. missing: the labels that none of them
   * has. runners: the number of runners that were looked at, at most 500.
   */
  labels: { commandId: text, requires: lines, missing: list(text), runners: integer },
  /**
   * A runner that is online can claim it. ahead: the sessions that such a runner claims from before, counted to 1 000; with
   * 0, it is the next one when a runner is free.
   */
  queue: { ahead: integer },
});
export type WaitReason = ValueOf<typeof WaitReason>;

/** A command, and the reasons for which it waits: none when it is not queued. */
export const Explanation = record({ command: Command, reasons: list(WaitReason) });
export type Explanation = ValueOf<typeof Explanation>;
