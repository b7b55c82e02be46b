// The events of a runner: what it does, as data, and as lines of a plain log.
import { type Command, type Session, StoreError } from "../index.ts";
import type { StopReason } from "./keepAlive.ts";
import type { Usage } from "./process/usage.ts";

/** The program that a command runs, and where. */
interface OfCommand {
  readonly commandId: string;
  readonly sessionId: string;
  readonly attempt: number;
}

/** An event of a runner. Structured clone can copy it. */
export type RunnerEvent =
  | { readonly type: "registered"; readonly runnerId: string; readonly name: string }
  | (OfCommand & { readonly type: "claimed"; readonly runnerId: string; readonly argv: readonly string[] })
  | {
      readonly type: "worktree_ready";
      readonly sessionId: string;
      readonly worktreeId: string;
      readonly path: string;
      readonly commitSha: string;
      /** The way in which the directory got to its commit, such as "created" or "reused". */
      readonly how: string;
      readonly notes: readonly string[];
    }
  | (OfCommand & { readonly type: "started" })
  | (OfCommand & {
      readonly type: "ended";
      readonly state: Command["state"];
      readonly exitCode: number | null;
      readonly signal: string | null;
      readonly reason: string | null;
      readonly durationMs: number;
      readonly usage: Usage;
      readonly logBytes: number;
      /** True when the log exceeded its limit, and has lost a part of its middle. */
      readonly logTruncated: boolean;
      readonly artifacts: number;
    })
  | (OfCommand & { readonly type: "handed_back"; readonly state: Command["state"]; readonly reason: string })
  | (OfCommand & { readonly type: "stopping"; readonly reason: StopReason })
  | {
      readonly type: "worktree_released";
      readonly sessionId: string;
      readonly worktreeId: string;
      readonly to: string;
      readonly sessionState?: Session["state"];
    }
  /** Something that the runner could not do, and goes on without. */
  | { readonly type: "problem"; readonly message: string; readonly sessionId?: string; readonly commandId?: string }
  | { readonly type: "draining"; readonly withinMs: number }
  | { readonly type: "stopped"; readonly runnerId: string };

/** Returns an event as one line for a log, without a time. */
export function formatRunnerEvent(event: RunnerEvent): string {
  switch (event.type) {
    case "registered":
      return `runner ${event.name} is ${event.runnerId}`;
    case "claimed":
      return `${commandOf(event)}: claimed: ${JSON.stringify(event.argv)}`;
    case "worktree_ready":
      return [`session ${event.sessionId}: ${event.path} ${event.how} at ${event.commitSha}`, ...event.notes].join(
        "; ",
      );
    case "started":
      return `${commandOf(event)}: started`;
    case "ended":
      return `${commandOf(event)}: ${event.state}${endOf(event)} after ${event.durationMs} ms`;
    case "handed_back":
      return `${commandOf(event)}: given back (${event.reason}), now ${event.state}`;
    case "stopping":
      return `${commandOf(event)}: stopping (${event.reason})`;
    case "worktree_released":
      return `session ${event.sessionId}: worktree ${event.worktreeId} released as ${event.to}`;
    case "problem":
      return `problem: ${event.message}`;
    case "draining":
      return `draining: commands that run have ${event.withinMs} ms to end`;
    case "stopped":
      return `runner ${event.runnerId} has stopped`;
  }
}

function commandOf({ commandId, attempt }: OfCommand): string {
  return `command ${commandId}, attempt ${attempt}`;
}

function endOf({
  exitCode,
  signal,
  reason,
}: {
  exitCode: number | null;
  signal: string | null;
  reason: string | null;
}) {
  const how = signal ?? (exitCode === null || exitCode === 0 ? undefined : `exit code ${exitCode}`);
  const parts = [how, reason].filter((part) => part !== undefined && part !== null);
  return parts.length === 0 ? "" : ` (${parts.join(": ")})`;
}

/** Returns one line that says what has failed, no longer than a reason may be. */
export function messageOf(error: unknown): string {
  const { name, message } = error instanceof Error ? error : { name: "", message: String(error) };
  const text = error instanceof StoreError ? `${error.operation ?? "store"}: ${message}` : message || name;
  return text.slice(0, 1_000);
}
