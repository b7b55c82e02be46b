// Command: one program that runs inside a session. Attempt: one run of the command, with its own log.
//
//   queued -> running -> succeeded | failed | timed_out
//   queued -> cancelled
//   running -> cancelling -> cancelled | succeeded | failed | timed_out
//   lease lost: running -> queued while attempts remain or when the claim never reached its runner, else lost;
//   cancelling -> cancelled
//   ended by force, or some time after stop_at: running -> timed_out; cancelling -> cancelled
import { z } from "zod";
import {
  integer,
  json,
  lines,
  list,
  nullable,
  oneOf,
  type RawOf,
  record,
  row,
  text,
  time,
  type ValueOf,
} from "./codec.ts";
import { stamps } from "./common.ts";
import { asJson, filledText, Id, NewId, reportedText, Time, text as textField } from "./fields.ts";
import { parseJson } from "./json.ts";
import { Requires } from "./labels.ts";
import { logStates } from "./logs.ts";
import { isPlainObject } from "./plainObject.ts";
import { Session } from "./sessions.ts";
import { attemptUsage } from "./usage.ts";
import { type CommandState, commandOutcomes, commandStates } from "./vocabulary.ts";
import { Lease } from "./worktrees.ts";

export function isFinal(state: CommandState): boolean {
  return state !== "queued" && state !== "running" && state !== "cancelling";
}

/** Checks whether a command counts as failed for its session. One that was cancelled does not (D-080). */
export function hasFailed(state: CommandState): boolean {
  return state === "failed" || state === "timed_out" || state === "lost";
}

export const Command = row({
  id: text,
  sessionId: text,
  sequence: integer,
  argv: json<string[]>(),
  cwd: nullable(text),
  /** Variables added to the runner's environment; not a copy of that environment. */
  env: nullable(json<Record<string, string>>()),
  /** Names of variables whose values the runner gets from a secret store; the values are never stored here. */
  secretEnvKeys: nullable(json<string[]>()),
  /** The labels that a runner must have to get it, with those that the session requires. */
  requires: lines,
  state: oneOf(commandStates),
  priority: integer,
  timeoutMs: nullable(integer),
  attempt: integer,
  maxAttempts: integer,
  /** The attempts whose claim never reached its runner. They do not count toward maxAttempts. */
  lostClaims: integer,
  /** The attempts that may follow ones that failed or timed out, and the pause before the first of them; it doubles. */
  retries: integer,
  retryDelayMs: integer,
  /** The attempts that failed and were followed by another one. They do not count toward maxAttempts. */
  failedAttempts: integer,
  /** The time before which it is not claimed. */
  notBefore: nullable(time),
  /** The command that it repeats, which may have been deleted. */
  rerunOf: nullable(text),
  fence: integer,
  runnerId: nullable(text),
  leaseExpiresAt: nullable(time),
  /** The time from which the runner is asked to stop the command: at its timeout, or when it was cancelled before. */
  stopAt: nullable(time),
  exitCode: nullable(integer),
  signal: nullable(text),
  endReason: nullable(text),
  cancelRequestedAt: nullable(time),
  queuedAt: time,
  startedAt: nullable(time),
  endedAt: nullable(time),
  ...stamps,
});
export type Command = ValueOf<typeof Command>;
export type CommandRow = RawOf<typeof Command>;

/** One run of a command by a runner. Its log is read with `logs.read({ attempt })`. */
export const Attempt = row({
  attempt: integer,
  fence: integer,
  runnerId: text,
  /** The result of the attempt, or null while it runs. An attempt whose lease was lost may be followed by another. */
  outcome: nullable(oneOf(commandOutcomes)),
  exitCode: nullable(integer),
  signal: nullable(text),
  startedAt: time,
  endedAt: nullable(time),
  logState: oneOf(logStates),
  /** The length of the log, with what was dropped from its middle. */
  logBytes: integer,
  logLines: integer,
  /** The bytes that were dropped because the log exceeded its limit. */
  droppedBytes: integer,
  logUri: nullable(text),
  ...attemptUsage,
});
export type Attempt = ValueOf<typeof Attempt>;

/** A row with the column that only the reaper reads: the fence of the last claim that its runner confirmed. */
export type ReapedCommandRow = CommandRow & { readonly confirmed_fence: number };

export const Claim = record({ command: Command, session: Session, fence: integer, expiresAt: time });
export type Claim = ValueOf<typeof Claim>;

export const Finished = record({ command: Command, session: Session, remainingCommands: integer });
export const SessionCreated = record({ session: Session, lease: nullable(Lease), commands: list(Command) });

/** The longest pause before an attempt that follows a failure. */
const retryDelayMsMax = 86_400_000;

/** Returns the pause before the next attempt of a command whose attempt has failed now. */
export function pauseMs({ retry_delay_ms, failed_attempts }: CommandRow): number {
  return Math.min(retry_delay_ms * 2 ** failed_attempts, retryDelayMsMax);
}

/** A name without '=': https://pubs.opengroup.org/onlinepubs/9799919799/basedefs/V1_chap08.html */
const EnvironmentName = filledText(256).regex(/^[^=]+$/, { error: "must not contain '='" });

/**
 * Refuses a variable that has a value in `env` and is named as a secret: it would be stored in clear. The message names
 * the variable, and never its value.
 */
function requireNoSecretValues(
  { env, secretEnvKeys }: { readonly env?: string | undefined; readonly secretEnvKeys?: string | undefined },
  context: z.RefinementCtx,
): void {
  if (env === undefined || secretEnvKeys === undefined) return;
  const variables = restore(env);
  const names = restore(secretEnvKeys);
  // What cannot be restored has been refused already.
  if (!isPlainObject(variables) || !Array.isArray(names)) return;
  for (const name of names) {
    if (!Object.hasOwn(variables, name)) continue;
    const message = `${name} is a secret (secretEnvKeys), so its value must not be stored: leave it out of env`;
    context.addIssue({ code: "custom", path: ["env", name], message });
  }
}

function restore(stored: string): unknown {
  try {
    return parseJson(stored);
  } catch {
    return undefined;
  }
}

export const CommandInput = z
  .strictObject({
    id: NewId,
    /** The program and its arguments. Empty arguments are kept. */
    argv: asJson(z.array(textField(131_072)).min(1).max(4_096)),
    /** The directory in which the program starts, absolute or relative to the worktree. The store keeps it as it is. */
    cwd: filledText(4_096).optional(),
    env: asJson(z.record(EnvironmentName, textField(131_072))).optional(),
    secretEnvKeys: asJson(
      z
        .array(EnvironmentName)
        .max(1_000)
        .overwrite((names) => [...new Set(names)]),
    ).optional(),
    /** The labels that a runner must have, besides those that the session requires: `key` for any value, or `key=value`. */
    requires: Requires.default([]),
    /**
     * The priority between sessions: each step counts as a minute of waiting. Within a session, `sequence` decides.
     */
    priority: z.int().min(-1_000).max(1_000).default(0),
    timeoutMs: z.int().min(1).max(31_536_000_000).optional(),
    maxAttempts: z.int().min(1).max(100).default(1),
    /** The attempts that may follow ones that failed or timed out. */
    retries: z.int().min(0).max(100).default(0),
    /** The pause before the first of them, in milliseconds. It doubles with each, up to a day. */
    retryDelayMs: z.int().min(0).max(retryDelayMsMax).default(10_000),
    /** The time before which it is not claimed. The commands of its session after it wait too. */
    notBefore: Time,
    /** The command that it repeats. */
    rerunOf: Id.optional(),
  })
  .superRefine(requireNoSecretValues);

/**
 * The exit code of a program as its system reports it: unsigned on Windows, and negative where a runner stands for the
 * system, as Node does (-2 for a program that does not exist). Null, as in Node's event `exit`, when there is none.
 */
export const ExitCode = z.int().min(-0x8000_0000).max(0xffff_ffff).nullable();
/** The signal that ended a program, as the runner names it. Null or empty when there is none. */
export const Signal = reportedText(64).nullable();

export const outcomes = ["succeeded", "failed", "timed_out", "cancelled"] as const;
export type Outcome = (typeof outcomes)[number];
