// Checks of sessions: their counters, what runners may claim from them, their worktrees, and what they say of others.
import type { Context } from "../../context.ts";
import { change, milliseconds, type Statement, sql, step, timestamp } from "../../sql.ts";
import { openSessionStates } from "../sessionActivity.ts";
import { priorityStepMs } from "../sessionState.ts";
import { byId, type Check, type FoundRow, firstId } from "./check.ts";
import { writeColumns } from "./repair.ts";

const count = (condition: Statement): Statement =>
  sql`(SELECT count(*) FROM commands WHERE session_id = sessions.id AND ${condition})`;

const takesCommands = sql`state IN ('pending', 'running')`;
/** Only a session that takes commands has a queue; what else is queued is another finding. */
const queued = sql`CASE WHEN ${takesCommands} THEN ${count(sql`state = 'queued'`)} ELSE 0 END`;
const active = count(sql`lease_expires_at IS NOT NULL`);
const failed = count(sql`state IN ('failed', 'timed_out', 'lost')`);

/**
 * The deletion of a session takes several steps and begins with its first commands. So a session that has ended, and
 * lacks its first command, is being deleted: its counters still count what is gone.
 */
const isWhole = sql`(ended_at IS NULL OR next_sequence = 1 OR EXISTS (
  SELECT 1 FROM commands AS head WHERE head.session_id = sessions.id AND head.sequence = 1))`;

const head = (column: Statement): Statement => sql`(
  SELECT ${column} FROM commands AS head
  WHERE head.session_id = sessions.id AND head.state = 'queued'
  ORDER BY head.sequence LIMIT 1)`;
const headPriority = head(sql`head.priority`);
const headRequires = head(sql`head.requires`);
const headNotBefore = head(sql`head.not_before`);
/** The time from which the head of the queue counts: its own, or that at which it was queued. */
const headFrom = sql`CASE WHEN head.not_before > head.queued_at THEN head.not_before ELSE head.queued_at END`;
const headCountsFrom = head(sql`${headFrom} - head.priority * ${priorityStepMs}${milliseconds}`);

/** The columns of the counters, and of what follows from them: a constraint holds them together. */
function counters({ now }: Context): Statement {
  const isClaimable = sql`${takesCommands} AND ${queued} > 0 AND ${active} < max_parallel`;
  // A command that was queued before the clock was set back is as old as one that is queued now.
  const countsFrom = head(sql`
    CASE WHEN ${headFrom} > ${now}${timestamp} THEN ${now}${timestamp} ELSE ${headFrom} END
    - head.priority * ${priorityStepMs}${milliseconds}`);
  const isDue = sql`COALESCE(${headNotBefore} > ${now}${timestamp}, FALSE)`;
  return sql`
    queued_commands = ${queued},
    active_commands = ${active},
    failed_commands = CASE WHEN ${isWhole} THEN ${failed} ELSE failed_commands END,
    due_at = CASE WHEN ${isClaimable} AND ${isDue} THEN ${headNotBefore} END,
    ready_priority = CASE WHEN ${isClaimable} AND NOT ${isDue} THEN ${headPriority} END,
    ready_at = CASE WHEN ${isClaimable} AND NOT ${isDue} THEN ${countsFrom} END,
    ready_requires = CASE WHEN ${isClaimable} AND NOT ${isDue} THEN ${headRequires} ELSE '' END`;
}

const repairCounters = writeColumns("session", counters);
const walk = byId(sql`sessions`);
const id = sql`id`;

/** A session may have thousands of commands, so a step that counts them takes few sessions. */
const rowsWithCommands = 128;

const ended = (column: Statement): Statement => sql`(
  SELECT ${column} FROM commands AS latest
  WHERE latest.session_id = sessions.id AND latest.ended_at IS NOT NULL AND latest.started_at IS NOT NULL
  ORDER BY latest.ended_at DESC, latest.sequence DESC LIMIT 1)`;

const countChecks: readonly Check[] = [
  {
    name: "session-queued-count",
    says: "A session counts its commands that wait to be claimed.",
    walk,
    rows: rowsWithCommands,
    rule: { id, found: sql`queued_commands`, expected: queued, broken: sql`queued_commands <> ${queued}` },
    repair: repairCounters,
    remedy: "Repair it: the commands are counted.",
  },
  {
    name: "session-active-count",
    says: "A session counts its commands that a runner has.",
    walk,
    rows: 5_000,
    rule: { id, found: sql`active_commands`, expected: active, broken: sql`active_commands <> ${active}` },
    repair: repairCounters,
    remedy: "Repair it: the commands are counted.",
  },
  {
    name: "session-failed-count",
    says: "A session counts its commands that have failed, timed out or been lost.",
    walk,
    rows: rowsWithCommands,
    rule: {
      id,
      found: sql`failed_commands`,
      expected: failed,
      broken: sql`failed_commands <> ${failed} AND ${isWhole}`,
    },
    repair: repairCounters,
    remedy: "Repair it: the commands are counted.",
  },
  {
    name: "session-ready",
    says: "A session whose next command a runner may claim is ready, with the priority and the required labels of this command, and from no later time than this command counts as queued; one whose next command waits for its time has this time.",
    walk,
    rows: 5_000,
    rule: {
      id,
      found: sql`ready_priority`,
      expected: headPriority,
      // A clock that was set back has made sessions ready earlier (D-082), so only a later time is a fault.
      broken: sql`
        ${takesCommands} AND queued_commands > 0 AND active_commands < max_parallel AND ${headPriority} IS NOT NULL
        AND CASE WHEN due_at IS NOT NULL THEN ready_at IS NOT NULL OR due_at <> COALESCE(${headNotBefore}, created_at) ELSE (
          ready_at IS NULL OR ready_priority <> ${headPriority} OR ready_requires <> ${headRequires}
          OR ready_at > ${headCountsFrom}) END`,
    },
    repair: repairCounters,
    remedy: "Repair it: it is derived from the first queued command.",
  },
];

const createdAtOfSession = sql`(SELECT created_at FROM sessions WHERE sessions.id = session_labels.session_id)`;

/** Writes the time of a label's session into the label. */
const dateLabel = step(function* ({ session_id, key }: FoundRow) {
  const written = yield* change(sql`
    UPDATE session_labels SET created_at = ${createdAtOfSession}
    WHERE session_id = ${session_id as string} AND key = ${key as string} AND created_at <> ${createdAtOfSession}`);
  return written > 0;
});

const highest = sql`(SELECT max(sequence) FROM commands WHERE session_id = sessions.id)`;
const lowest = sql`(SELECT min(sequence) FROM commands WHERE session_id = sessions.id)`;

const otherChecks: readonly Check[] = [
  {
    name: "session-label-time",
    says: "A label by which lists find a session has the time at which the session was created: the order of the lists.",
    walk: { from: sql`session_labels`, key: ["session_id", "key"], start: [firstId, ""] },
    rows: 5_000,
    rule: {
      id: sql`session_id`,
      found: sql`created_at`,
      expected: createdAtOfSession,
      broken: sql`created_at <> ${createdAtOfSession}`,
    },
    repair: dateLabel,
    remedy: "Repair it: the time is that of the session.",
  },
  {
    name: "session-next-sequence",
    says: "The next command of a session gets the number after the last one.",
    walk,
    rows: 5_000,
    rule: {
      id,
      found: sql`next_sequence`,
      expected: sql`COALESCE(${highest}, 0) + 1`,
      broken: sql`next_sequence <> COALESCE(${highest}, 0) + 1 AND (ended_at IS NULL OR ${highest} IS NOT NULL)`,
    },
    repair: writeColumns("session", () => sql`next_sequence = COALESCE(${highest}, 0) + 1`),
    remedy: "Repair it: the number follows from the commands.",
  },
  {
    name: "session-sequence-gap",
    says: "The commands of a session are numbered from 1 without a gap.",
    walk,
    rows: rowsWithCommands,
    rule: {
      id,
      found: count(sql`TRUE`),
      expected: sql`${highest} - CASE WHEN ended_at IS NULL THEN 0 ELSE ${lowest} - 1 END`,
      // A session that has ended may be half deleted, from its first command on.
      broken: sql`${count(sql`TRUE`)} <> ${highest} - CASE WHEN ended_at IS NULL THEN 0 ELSE ${lowest} - 1 END`,
    },
    remedy: "Commands are lost. Restore a backup if they matter; the others run on.",
  },
  {
    name: "session-last-command",
    says: "A session shows the outcome of its command that ended last.",
    walk,
    rows: rowsWithCommands,
    rule: {
      id,
      found: sql`last_command_state`,
      expected: ended(sql`latest.state`),
      broken: sql`
        CASE
          WHEN last_command_id IS NULL THEN ${ended(sql`latest.id`)} IS NOT NULL
          ELSE ${isWhole} AND NOT EXISTS (
            SELECT 1 FROM commands
            WHERE commands.id = last_command_id AND commands.session_id = sessions.id
              AND commands.state = last_command_state
              AND commands.exit_code IS NOT DISTINCT FROM last_exit_code
              AND commands.signal IS NOT DISTINCT FROM last_signal)
        END`,
    },
    repair: writeColumns(
      "session",
      () => sql`
        last_command_id = ${ended(sql`latest.id`)},
        last_command_state = ${ended(sql`latest.state`)},
        last_exit_code = ${ended(sql`latest.exit_code`)},
        last_signal = ${ended(sql`latest.signal`)}`,
    ),
    remedy: "Repair it: the outcome is read from the commands.",
  },
  {
    name: "session-account",
    says: "The account of a session is that of its token.",
    walk,
    rows: 5_000,
    rule: {
      id,
      found: sql`account_id`,
      expected: sql`(SELECT account_id FROM tokens WHERE tokens.id = token_id)`,
      broken: sql`
        EXISTS (SELECT 1 FROM tokens WHERE tokens.id = token_id AND tokens.account_id IS DISTINCT FROM sessions.account_id)`,
    },
    repair: writeColumns("session", () => sql`account_id = (SELECT account_id FROM tokens WHERE tokens.id = token_id)`),
    remedy: "Repair it: the account is that of the token.",
  },
  {
    name: "session-patch",
    says: "A session that refers to a recorded patch has its hash and its uri.",
    walk,
    rows: 5_000,
    rule: {
      id,
      found: sql`patch_id`,
      broken: sql`
        patch_id IS NOT NULL AND NOT EXISTS (
          SELECT 1 FROM patches
          WHERE patches.id = patch_id AND patches.sha256 = patch_hash AND patches.uri = patch_uri)`,
    },
    repair: writeColumns("session", () => sql`patch_id = NULL`),
    remedy: "Repair it: the session refers to no recorded patch, and keeps its own hash and uri.",
  },
  {
    name: "session-environment",
    says: "The environment that an open session uses exists, and belongs to the same repository.",
    walk,
    rows: 5_000,
    rule: {
      id,
      found: sql`environment_id`,
      broken: sql`
        environment_id IS NOT NULL AND ended_at IS NULL AND NOT EXISTS (
          SELECT 1 FROM environments
          WHERE environments.id = environment_id AND environments.repository_id = sessions.repository_id)`,
    },
    repair: writeColumns("session", () => sql`environment_id = NULL`),
    remedy: "Repair it: the session uses no environment, and has to acquire it again.",
  },
  {
    name: "session-idle-timeout",
    says: "A session has a time at which it expires if, and only if, it has an idle timeout.",
    walk,
    rows: 5_000,
    rule: { id, found: sql`idle_ttl_ms`, broken: sql`(idle_ttl_ms IS NULL) <> (expires_at IS NULL)` },
    repair: writeColumns(
      "session",
      () => sql`expires_at = CASE WHEN idle_ttl_ms IS NOT NULL THEN last_activity_at + idle_ttl_ms${milliseconds} END`,
    ),
    remedy: "Repair it: the time follows from the last activity.",
  },
  {
    name: "session-start",
    says: "A session has a start if it runs, and neither a start nor active commands while it is pending.",
    walk,
    rows: 5_000,
    rule: {
      id,
      found: sql`state`,
      broken: sql`
        (state = 'pending' AND (started_at IS NOT NULL OR active_commands > 0))
        OR (state = 'running' AND started_at IS NULL)`,
    },
    remedy: "Cancel the session (sessions cancel --force), and create it again.",
  },
  {
    name: "session-cancelling",
    says: "A session that is cancelling has an active command.",
    walk,
    rows: 5_000,
    rule: { id, found: sql`active_commands`, broken: sql`state = 'cancelling' AND active_commands = 0` },
    remedy: "End the session (sessions cancel --force).",
  },
  {
    name: "session-worktree",
    says: "An open session that has a worktree holds the lease of it, under the same fencing token.",
    walk,
    rows: 5_000,
    rule: {
      id,
      found: sql`worktree_fence`,
      expected: sql`(SELECT fence FROM worktrees WHERE worktrees.id = worktree_id)`,
      broken: sql`
        worktree_id IS NOT NULL AND state IN (${openSessionStates})
        AND NOT EXISTS (
          SELECT 1 FROM worktrees
          WHERE worktrees.id = worktree_id AND worktrees.fence = worktree_fence
            AND worktrees.state IN ('creating', 'leased'))`,
    },
    repair: writeColumns("session", () => sql`worktree_id = NULL, worktree_fence = NULL`),
    remedy: "Repair it: the session has lost its worktree.",
  },
  {
    name: "session-kept-lease",
    says: "A session that has ended, and has no active command, holds no worktree.",
    walk,
    rows: 5_000,
    rule: {
      id,
      found: sql`worktree_id`,
      broken: sql`
        worktree_id IS NOT NULL AND ended_at IS NOT NULL AND active_commands = 0
        AND EXISTS (
          SELECT 1 FROM worktrees
          WHERE worktrees.id = worktree_id AND worktrees.fence = worktree_fence AND lease_expires_at IS NOT NULL)`,
    },
    remedy: "Wait: the lease ends by itself when its time is over, unless its holder renews it. Stop the holder then.",
  },
];

export const sessionChecks: readonly Check[] = [...countChecks, ...otherChecks];
