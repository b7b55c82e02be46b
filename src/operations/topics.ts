// The topics that waiting calls are parked on, as text that also travels between the processes that share a PostgreSQL
// database. A commit that touches a topic wakes the calls parked on it, and one of those parked on its kind (D-102).
import { covers, type LabelSet, type Labels, labelSetOf, labelsOf } from "../model/labels.ts";
import { shortPlace } from "../model/places.ts";
import type { WorktreeRow } from "../model/worktrees.ts";

/** The kind of readyTopic: for calls that may claim a command of any session without a worktree and labels. */
export const readyKind = "ready";
const requiringKind = "requiring ";
/** The topic of a session without a worktree that has a command to claim, which requires these labels of its runner. */
export const readyTopic = (sessionId: string, requires: LabelSet): string =>
  requires === "" ? `${readyKind}:${sessionId}` : `${requiringKind}${JSON.stringify(labelsOf(requires))}:${sessionId}`;
const coveringKind = "covering ";
/** The kind for calls of a runner with these labels, which may claim what requires no others. See `serves`. */
export const coveredKind = (has: Labels): string => coveringKind + JSON.stringify(has);
/** The kind of heldTopic: for calls that may claim a command of any session whose worktree the runner leases. */
export const heldKind = (runnerId: string): string => `held:${runnerId}`;
/** The topic of a session that has a command to claim, and whose worktree the runner leases. */
export const heldTopic = (runnerId: string, sessionId: string): string => `held:${runnerId}:${sessionId}`;
/** The topic of waiting calls of a runner that gets no more commands, or has other labels or another place. */
export const runnerTopic = (runnerId: string): string => `runner:${runnerId}`;
/** The topic of calls that wait for the next row of `changes`. */
export const changesTopic = "changes";
/** The topics of calls that wait for the next row of `changes` of an entity, or of a session. */
export const entityChangesTopic = (entity: string): string => `changes:entity:${entity}`;
export const sessionChangesTopic = (sessionId: string): string => `changes:session:${sessionId}`;
/** The topic of calls that wait until nobody holds a consumer of the feed. */
export const consumerTopic = (name: string): string => `consumer:${name}`;
/** The kind of freeWorktreeTopic: for calls that take any free worktree of the repository in a place. */
export const freeWorktreeKind = (repositoryId: string, place: string): string =>
  `worktrees:${repositoryId}:${shortPlace(place)}`;
/** The topic of a worktree that is free, or that has left room for another one in its place. */
export const freeWorktreeTopic = (row: Pick<WorktreeRow, "id" | "repository_id" | "place">): string =>
  `${freeWorktreeKind(row.repository_id, row.place)}:${row.id}`;
/** The topic of calls that wait for worktrees of a repository whose own row has changed. */
export const repositoryTopic = (repositoryId: string): string => `repository:${repositoryId}`;
/** The topic of calls that wait for the session to end. */
export const sessionTopic = (sessionId: string): string => `session:${sessionId}`;
/** The topic of calls that wait for the command to end. */
export const commandTopic = (commandId: string): string => `command:${commandId}`;
/** The topic of calls that follow the command's log. */
export const logTopic = (commandId: string): string => `log:${commandId}`;
/** The topic of calls that follow the session's log: a command has started, or a mark was added. */
export const sessionLogTopic = (sessionId: string): string => `session-log:${sessionId}`;
/** The topic of calls that wait for an environment to be built. */
export const environmentTopic = (environmentId: string): string => `environment:${environmentId}`;
/** The topic of calls that wait for a file to remove. */
export const filesTopic = "files";
/** The topic of calls that follow the debug session's events. */
export const debugTopic = (debugSessionId: string): string => `debug:${debugSessionId}`;
/** The topic of the bridge that waits for requests of the debug session. */
export const debugQueueTopic = (debugSessionId: string): string => `debug-queue:${debugSessionId}`;
/** The topic of the call that waits for the answer to a request. */
export const debugRequestTopic = (requestId: string): string => `debug-request:${requestId}`;
/** The topic of calls that wait for the next entry in the history of the debug session. */
export const debugHistoryTopic = (debugSessionId: string): string => `debug-history:${debugSessionId}`;

/** Returns the kind of a topic: its text up to the last colon. Calls are parked on few of them. */
export function kindOf(topic: string): string {
  return topic.slice(0, Math.max(0, topic.lastIndexOf(":")));
}

/**
 * Checks whether calls that wait for one kind can use what touches a topic of the other: of the same kind, or of one that
 * requires labels which the waiting runner has.
 */
export function serves(waiting: string, touched: string): boolean {
  if (waiting === touched) return true;
  if (!servesOthers(waiting) || !isServedByOthers(touched)) return false;
  const required = JSON.parse(touched.slice(requiringKind.length)) as readonly string[];
  return covers(JSON.parse(waiting.slice(coveringKind.length)), labelSetOf(required));
}

/** Checks whether calls that wait for this kind can also use other kinds; `serves` tells which. */
export const servesOthers = (waiting: string): boolean => waiting.startsWith(coveringKind);

/** Checks whether calls that wait for other kinds can use this one; `serves` tells which. */
export const isServedByOthers = (touched: string): boolean => touched.startsWith(requiringKind);
