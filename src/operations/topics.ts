// The topics that waiting calls are parked on. A call that changes something wakes its topic; after the commit, the
// calls parked on that topic run again. A topic is text, because it also travels between the processes that share a
// PostgreSQL database.

/** The topic of calls that wait for a command they may claim. */
export const claimableTopic = "ready";
/** The topic of calls that wait for the next row of `changes`. */
export const changesTopic = "changes";
/** The topic of calls that wait for a free worktree of the repository. */
export const freeWorktreeTopic = (repositoryId: string): string => `worktrees:${repositoryId}`;
/** The topic of calls that wait for the session to end. */
export const sessionTopic = (sessionId: string): string => `session:${sessionId}`;
/** The topic of calls that wait for the command to end. */
export const commandTopic = (commandId: string): string => `command:${commandId}`;
/** The topic of calls that follow the command's log. */
export const logTopic = (commandId: string): string => `log:${commandId}`;
/** The topic of calls that follow the debug session's events. */
export const debugTopic = (debugSessionId: string): string => `debug:${debugSessionId}`;
