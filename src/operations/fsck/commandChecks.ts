// Checks of commands and their attempts.
import { milliseconds, type Statement, sql } from "../../sql.ts";
import { byId, type Check, type Walk } from "./check.ts";
import { writeColumns, writeLog } from "./repair.ts";

const commands = byId(sql`commands`);
const attempts: Walk = { from: sql`attempts`, key: ["id"], start: [0] };
const id = sql`id`;

const ofAttempts = (value: Statement, condition: Statement = sql`TRUE`): Statement =>
  sql`(SELECT ${value} FROM attempts WHERE attempts.command_id = commands.id AND ${condition})`;

const isActive = sql`lease_expires_at IS NOT NULL`;
const sessionOfAttempt = sql`(SELECT commands.session_id FROM commands WHERE commands.id = attempts.command_id)`;
const newest = sql`attempts.attempt = commands.attempt`;
const openAttempts = ofAttempts(sql`count(*)`, sql`attempts.outcome IS NULL`);
const highestAttempt = sql`COALESCE(${ofAttempts(sql`max(attempts.attempt)`)}, 0)`;
const highestFence = ofAttempts(sql`max(attempts.fence)`);
/** A runner stops a command when it was cancelled, or when its time is over. */
const stopAt = sql`
  CASE
    WHEN state = 'cancelling' THEN cancel_requested_at
    WHEN timeout_ms IS NOT NULL THEN started_at + timeout_ms${milliseconds}
  END`;

export const commandChecks: readonly Check[] = [
  {
    name: "command-open-attempt",
    says: "A command that a runner has, and no other, has one attempt that has not ended: the one of its number, fencing token and runner.",
    walk: commands,
    rows: 2_000,
    rule: {
      id,
      found: openAttempts,
      expected: sql`CASE WHEN ${isActive} THEN 1 ELSE 0 END`,
      broken: sql`
        ${openAttempts} <> CASE WHEN ${isActive} THEN 1 ELSE 0 END
        OR (${isActive} AND NOT EXISTS (
          SELECT 1 FROM attempts
          WHERE attempts.command_id = commands.id AND ${newest} AND attempts.fence = commands.fence
            AND attempts.runner_id = commands.runner_id AND attempts.outcome IS NULL))`,
    },
    remedy: "End the command (commands cancel --force). If that fails, restore a backup.",
  },
  {
    name: "command-attempt-number",
    says: "The number of a command's attempt is that of its last attempt.",
    walk: commands,
    rows: 2_000,
    rule: { id, found: sql`attempt`, expected: highestAttempt, broken: sql`attempt <> ${highestAttempt}` },
    repair: writeColumns("command", () => sql`attempt = ${highestAttempt}`),
    remedy: "Repair it: the number follows from the attempts.",
  },
  {
    name: "command-attempt-gap",
    says: "The attempts of a command are numbered from 1 without a gap.",
    walk: commands,
    rows: 2_000,
    rule: {
      id,
      found: ofAttempts(sql`count(*)`),
      expected: highestAttempt,
      broken: sql`${ofAttempts(sql`count(*)`)} <> ${highestAttempt}`,
    },
    remedy: "Attempts are lost, with their logs. Restore a backup if they matter; the command runs on.",
  },
  {
    name: "command-fence",
    says: "The fencing token of a command is not lower than that of any of its attempts.",
    walk: commands,
    rows: 2_000,
    rule: { id, found: sql`fence`, expected: highestFence, broken: sql`fence < ${highestFence}` },
    repair: writeColumns("command", () => sql`fence = ${highestFence}`),
    remedy: "Repair it: the token is raised, and a runner that has a lower one loses the command.",
  },
  {
    name: "command-outcome",
    says: "A command that has run and ended has the outcome of its last attempt.",
    walk: commands,
    rows: 2_000,
    rule: {
      id,
      found: sql`state`,
      expected: ofAttempts(sql`attempts.outcome`, newest),
      broken: sql`
        ended_at IS NOT NULL AND started_at IS NOT NULL
        AND NOT EXISTS (
          SELECT 1 FROM attempts
          WHERE attempts.command_id = commands.id AND ${newest} AND attempts.outcome = commands.state
            AND attempts.exit_code IS NOT DISTINCT FROM commands.exit_code
            AND attempts.signal IS NOT DISTINCT FROM commands.signal)`,
    },
    remedy: "One of the two is wrong, and nothing says which: the log of the attempt may tell.",
  },
  {
    name: "command-runner",
    says: "A command has a runner and a start while it runs, and neither in the queue.",
    walk: commands,
    rows: 5_000,
    rule: {
      id,
      found: sql`state`,
      broken: sql`
        (state = 'queued' AND (runner_id IS NOT NULL OR started_at IS NOT NULL)) OR (${isActive} AND started_at IS NULL)`,
    },
    repair: writeColumns(
      "command",
      () => sql`
        runner_id = CASE WHEN ${isActive} THEN runner_id END,
        started_at = CASE WHEN ${isActive} THEN COALESCE(${ofAttempts(sql`attempts.started_at`, newest)}, updated_at) END`,
    ),
    remedy: "Repair it: the columns follow from the state and the attempt.",
  },
  {
    name: "command-stop",
    says: "A command that runs has a time to stop if, and only if, it has a timeout or was cancelled.",
    walk: commands,
    rows: 5_000,
    rule: {
      id,
      found: sql`timeout_ms`,
      broken: sql`
        ${isActive} AND started_at IS NOT NULL
        AND (stop_at IS NOT NULL) <> (state = 'cancelling' OR timeout_ms IS NOT NULL)`,
    },
    repair: writeColumns("command", () => sql`stop_at = ${stopAt}`),
    remedy: "Repair it: the time follows from the start and the timeout, or from the cancellation.",
  },
  {
    name: "command-claims",
    says: "A command has confirmed no fencing token that it was not given, and lost no more claims than it has attempts.",
    walk: commands,
    rows: 5_000,
    rule: {
      id,
      found: sql`confirmed_fence`,
      expected: sql`fence`,
      broken: sql`confirmed_fence > fence OR lost_claims > attempt`,
    },
    repair: writeColumns(
      "command",
      () => sql`
        confirmed_fence = CASE WHEN confirmed_fence > fence THEN fence ELSE confirmed_fence END,
        lost_claims = CASE WHEN lost_claims > attempt THEN attempt ELSE lost_claims END`,
    ),
    remedy: "Repair it: both are lowered.",
  },
  {
    name: "command-queue",
    says: "A command waits only in a session that takes commands.",
    walk: commands,
    rows: 5_000,
    rule: {
      id,
      found: sql`state`,
      expected: sql`'cancelled'`,
      broken: sql`
        state = 'queued' AND NOT EXISTS (
          SELECT 1 FROM sessions WHERE sessions.id = session_id AND sessions.state IN ('pending', 'running'))`,
    },
    remedy: "No runner gets the command. Delete the session, or restore a backup.",
  },
  {
    name: "attempt-session",
    says: "An attempt is of the session of its command.",
    walk: attempts,
    rows: 5_000,
    rule: {
      id: sql`command_id`,
      found: sql`session_id`,
      expected: sessionOfAttempt,
      broken: sql`session_id IS NULL OR session_id <> ${sessionOfAttempt}`,
    },
    repair: writeLog(sql`session_id = ${sessionOfAttempt}`),
    remedy: "Repair it: the session is that of the command. Until then the log of the session lacks the attempt.",
  },
  {
    name: "attempt-fence-order",
    says: "Each attempt of a command has a higher fencing token than the one before.",
    walk: attempts,
    rows: 5_000,
    rule: {
      id: sql`command_id`,
      found: sql`fence`,
      broken: sql`
        EXISTS (
          SELECT 1 FROM attempts AS earlier
          WHERE earlier.command_id = attempts.command_id AND earlier.attempt = attempts.attempt - 1
            AND earlier.fence >= attempts.fence)`,
    },
    remedy: "Nothing says which token was given first. Commands that have ended are not affected.",
  },
];
