// Session: one piece of work on one commit (and patch).
//
//   pending -> running -> completed | failed
//   any open -> cancelling -> cancelled
//   pending | running -> expired, when it has been idle for too long, or at its deadline
//
// Ending a session cancels its queued commands, asks active ones to stop, and returns the worktree once no command is
// active. A command that does not stop is ended by the store, and the worktree is then quarantined.
import { z } from "zod";
import { boolean, integer, json, lines, nullable, oneOf, type RawOf, row, text, time, type ValueOf } from "./codec.ts";
import { stamps } from "./common.ts";
import { CommitSha, filledText, Id, Json, Name, NewId } from "./fields.ts";
import { Requires, SessionLabels } from "./labels.ts";
import { commandOutcomes, failurePolicies, type SessionState, sessionStates } from "./vocabulary.ts";

export function isOpen(state: SessionState): boolean {
  return state === "pending" || state === "running" || state === "cancelling";
}

export const Session = row({
  id: text,
  repositoryId: text,
  worktreeId: nullable(text),
  worktreeFence: nullable(integer),
  /** The environment that the session has acquired last, which is kept while the session uses it. */
  environmentId: nullable(text),
  tokenId: nullable(text),
  /** The account of the token. */
  accountId: nullable(text),
  requestedBy: nullable(text),
  commitSha: text,
  /** The recorded patch at `patchUri`. Null without a patch, and for one that is not recorded under this uri. */
  patchId: nullable(text),
  /** The SHA-256 of the patch. */
  patchHash: nullable(text),
  patchUri: nullable(text),
  /** The labels that a runner must have to get any of its commands. */
  requires: lines,
  state: oneOf(sessionStates),
  endReason: nullable(text),
  nextSequence: integer,
  maxParallel: integer,
  /** True for a session that ends by itself after its last command. */
  autoComplete: boolean,
  /** The queued commands are cancelled when one fails ("stop"), or run. */
  onFailure: oneOf(failurePolicies),
  /** The session that it repeats, which may have been deleted. */
  rerunOf: nullable(text),
  queuedCommands: integer,
  activeCommands: integer,
  /** The number of commands that failed, timed out or were lost. Cancelled ones do not count (D-080). */
  failedCommands: integer,
  /** The outcome of the command that ended last, of those that had started (D-096); null before there is one. */
  lastCommandId: nullable(text),
  lastCommandState: nullable(oneOf(commandOutcomes)),
  lastExitCode: nullable(integer),
  lastSignal: nullable(text),
  idleTtlMs: nullable(integer),
  expiresAt: nullable(time),
  /** The time at which the session ends, whatever it does; null without a deadline. */
  deadlineAt: nullable(time),
  lastActivityAt: time,
  startedAt: nullable(time),
  endedAt: nullable(time),
  metadata: nullable(json()),
  /** Labels of the session's own, by which `sessions.list` finds it. */
  labels: json<Record<string, string>>(),
  /** True for a session that retention keeps, with all that belongs to it. */
  pinned: boolean,
  ...stamps,
});
export type Session = ValueOf<typeof Session>;
export type SessionRow = RawOf<typeof Session>;

/** The SHA-256 of a patch. `sha256:` in front of it, as registries write it, is left out. */
const PatchHash = z
  .string()
  .overwrite((hash) => hash.replace(/^sha256:/i, "").toLowerCase())
  .regex(/^[0-9a-f]{64}$/, { error: "must be a SHA-256, 64 hexadecimal digits" })
  .describe("SHA-256 in hexadecimal");

export const sessionFields = {
  id: NewId,
  repositoryId: Id,
  commitSha: CommitSha,
  patchHash: PatchHash.optional(),
  patchUri: filledText(4096).optional(),
  requestedBy: Name.optional(),
  /** The labels that a runner must have to get any of its commands: `key` for any value, or `key=value`. */
  requires: Requires.default([]),
  tokenId: Id.optional(),
  maxParallel: z.int().min(1).max(1_000).default(1),
  autoComplete: z.boolean().default(false),
  /** "stop" cancels the queued commands when one fails, times out or is lost, and has no attempt left. */
  onFailure: z.enum(failurePolicies).default("continue"),
  /** The session that it repeats. */
  rerunOf: Id.optional(),
  /** The idle timeout in milliseconds: the session expires after that time without activity (sessionActivity.ts). */
  idleTtlMs: z.int().min(1_000).max(31_536_000_000).optional(),
  /** The time in milliseconds after which the session expires, whatever it does. */
  deadlineMs: z.int().min(1_000).max(31_536_000_000).optional(),
  metadata: Json.optional(),
  /** Labels of the session's own, by key, by which `sessions.list` finds it. */
  labels: SessionLabels.prefault({}),
};
