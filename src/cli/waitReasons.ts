// Sentences for the reasons for which a queued command has not started.
import type { WaitReason } from "../model/explained.ts";
import { formatTime } from "./rows.ts";

/** Returns a reason as a part of a sentence. */
export function formatReason(reason: WaitReason): string {
  switch (reason.kind) {
    case "predecessors":
      return `${count(reason.commands, "command")} of its session before it, the first of them ${reason.commandId}`;
    case "max_parallel":
      return `its session runs ${reason.active} of at most ${count(reason.maxParallel, "command")}`;
    case "not_before":
      return `command ${reason.commandId} is not claimed before ${formatTime(reason.at)}`;
    case "worktree":
      return `the worktree of its session, ${reason.worktreeId}, is held by ${holderOf(reason)}`;
    case "no_runner":
      return "no runner is online";
    case "labels":
      return labelsOf(reason);
    case "queue":
      return reason.ahead === 0 ? "next, when a runner is free" : `${count(reason.ahead, "session")} before its own`;
  }
}

type Kind<Name extends WaitReason["kind"]> = Extract<WaitReason, { kind: Name }>;

function holderOf({ owner, runnerId, runnerState, missing }: Kind<"worktree">): string {
  if (runnerId === null) return `${owner}, who is no runner`;
  const runner = `runner ${runnerId}`;
  return missing.length > 0 ? `${runner}, which lacks ${missing.join(", ")}` : `${runner}, which is ${runnerState}`;
}

function labelsOf({ requires, missing, runners }: Kind<"labels">): string {
  const who = runners === 1 ? "the runner that is online" : `each of ${runners} runners that are online`;
  return missing.length > 0
    ? `it requires ${requires.join(", ")}, and no runner that is online has ${missing.join(", ")}`
    : `it requires ${requires.join(", ")}, and ${who} lacks some of that`;
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}
