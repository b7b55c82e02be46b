// The log of an attempt of a command: the one that a reader names, or the latest one.
import { isFinal } from "../model/commands.ts";
import type { logStates } from "../model/logs.ts";
import type { CommandState } from "../model/vocabulary.ts";
import { fail } from "../operation.ts";
import { and, first, sql, step, when } from "../sql.ts";
import { notFound } from "./failures.ts";
import type { LogRow } from "./logStorage.ts";

/** The row of an attempt, as far as its log is concerned. */
export interface AttemptLog extends LogRow {
  readonly attempt: number;
  readonly started_at: number;
  readonly ended_at: number | null;
  readonly log_state: (typeof logStates)[number];
  readonly next_line: number;
  readonly dropped_bytes: number;
}

/** The number of a command's first attempt. Before it has started, its log is empty. */
export const firstAttempt = 1;

/**
 * Returns the log of an attempt, by default of the latest one, and undefined before the first one. Fails with `not_found` if
 * there is no such command or attempt. The command is read first: if it had ended by then, no attempt can follow.
 */
export const findLog = step(function* ({
  commandId,
  attempt,
}: {
  readonly commandId: string;
  readonly attempt?: number | undefined;
}) {
  const command = yield* first<{ state: CommandState; attempt: number }>(sql`
    SELECT state, attempt FROM commands WHERE id = ${commandId}`);
  if (command === undefined) notFound("command", commandId);
  const conditions = and(
    sql`command_id = ${commandId}`,
    when(attempt, (number) => sql`attempt = ${number}`),
  );
  const log = yield* first<AttemptLog>(sql`SELECT * FROM attempts WHERE ${conditions} ORDER BY attempt DESC LIMIT 1`);
  if (log === undefined && attempt !== undefined && (attempt !== firstAttempt || command.attempt > 0))
    fail("not_found", { entity: "attempt", attempt }, `command ${commandId} has no attempt ${attempt}`);
  return { log, commandEnded: isFinal(command.state) };
});
