-- What is recorded of worktrees, tokens and commands stays true: facts about a worktree name the lease under which they
-- were reported, a session's token exists, and commands and sessions have a time at which the store ends them.
-- up

-- The fencing token under which the commit, or the environment, was reported. A fact outlives only that lease.
ALTER TABLE worktrees
  ADD COLUMN commit_fence bigint,
  ADD COLUMN environment_fence bigint,
  -- The state in which the last lease ended, by which a repeated release is recognized.
  ADD COLUMN ended_from text COLLATE "C" CHECK (ended_from = 'creating' OR ended_from = 'leased' OR ended_from = 'evicting');
CREATE INDEX worktrees_quarantined ON worktrees (repository_id, last_used_at) WHERE state = 'quarantined';
-- Earlier releases kept the facts of holders that had failed, so none of them can be trusted.
UPDATE worktrees SET commit_sha = NULL, environment_hash = NULL WHERE commit_sha IS NOT NULL OR environment_hash IS NOT NULL;

-- A directory has one path (D-087). Earlier releases stored paths as they were passed, and a worktreeRoot that ended with
-- a slash doubled it. Two worktrees that turn out to be one directory stay as they are: neither can be given up here.
UPDATE worktrees SET path = rtrim(replace(replace(replace(path, '//', '/'), '//', '/'), '//', '/'), '/')
WHERE state <> 'removed' AND path LIKE '/%' AND path <> rtrim(replace(replace(replace(path, '//', '/'), '//', '/'), '//', '/'), '/')
  AND rtrim(replace(replace(replace(path, '//', '/'), '//', '/'), '//', '/'), '/') IN (
    SELECT rtrim(replace(replace(replace(path, '//', '/'), '//', '/'), '//', '/'), '/') FROM worktrees
    WHERE state <> 'removed'
    GROUP BY rtrim(replace(replace(replace(path, '//', '/'), '//', '/'), '//', '/'), '/')
    HAVING count(*) = 1)
  AND rtrim(replace(replace(replace(path, '//', '/'), '//', '/'), '//', '/'), '/') <> '';
UPDATE repositories SET worktree_root = rtrim(replace(replace(replace(worktree_root, '//', '/'), '//', '/'), '//', '/'), '/')
WHERE worktree_root LIKE '/%' AND rtrim(replace(replace(replace(worktree_root, '//', '/'), '//', '/'), '//', '/'), '/') <> '';

ALTER TABLE commands
  -- The time from which the runner is asked to stop the command: its timeout, or its cancellation if that came first.
  ADD COLUMN stop_at timestamptz CHECK (stop_at IS NULL OR lease_expires_at IS NOT NULL),
  -- The fence of the last claim that its runner confirmed with a heartbeat.
  ADD COLUMN confirmed_fence bigint NOT NULL DEFAULT 0 CHECK (confirmed_fence >= 0),
  -- The attempts whose claim never reached its runner.
  ADD COLUMN lost_claims bigint NOT NULL DEFAULT 0 CHECK (lost_claims >= 0);
UPDATE commands SET stop_at = started_at + timeout_ms * interval '1 millisecond' WHERE state = 'running';
UPDATE commands SET stop_at = cancel_requested_at WHERE state = 'cancelling';
CREATE INDEX commands_stop ON commands (stop_at) WHERE stop_at IS NOT NULL;

-- A command that was cancelled does not count as failed any more.
UPDATE sessions SET failed_commands = counted.failed
FROM (
  SELECT session_id, count(*) FILTER (WHERE state IN ('failed', 'timed_out', 'lost')) AS failed
  FROM commands GROUP BY session_id) AS counted
WHERE counted.session_id = sessions.id AND sessions.failed_commands <> counted.failed;

UPDATE sessions SET token_id = NULL WHERE token_id IS NOT NULL AND token_id NOT IN (SELECT id FROM tokens);
ALTER TABLE sessions
  ADD CONSTRAINT sessions_token_id_fkey FOREIGN KEY (token_id) REFERENCES tokens (id),
  -- The time at which the session ends, whatever it does.
  ADD COLUMN deadline_at timestamptz;
CREATE INDEX sessions_token ON sessions (token_id) WHERE token_id IS NOT NULL;
CREATE INDEX sessions_deadline ON sessions (deadline_at) WHERE deadline_at IS NOT NULL AND ended_at IS NULL;

-- A session whose commands wait for a runner is not idle.
DROP INDEX sessions_expiry;
CREATE INDEX sessions_expiry ON sessions (expires_at)
  WHERE expires_at IS NOT NULL AND ended_at IS NULL AND active_commands = 0 AND queued_commands = 0;
-- The worktrees in which a command may still run.
CREATE INDEX sessions_working ON sessions (worktree_id) WHERE worktree_id IS NOT NULL AND active_commands > 0;

-- down

DROP INDEX sessions_working;
DROP INDEX sessions_expiry;
CREATE INDEX sessions_expiry ON sessions (expires_at) WHERE expires_at IS NOT NULL AND ended_at IS NULL AND active_commands = 0;
DROP INDEX sessions_deadline;
DROP INDEX sessions_token;
ALTER TABLE sessions
  DROP CONSTRAINT sessions_token_id_fkey,
  DROP COLUMN deadline_at;
UPDATE sessions SET failed_commands = counted.failed
FROM (
  SELECT session_id, count(*) FILTER (WHERE state IN ('failed', 'timed_out', 'lost', 'cancelled')) AS failed
  FROM commands GROUP BY session_id) AS counted
WHERE counted.session_id = sessions.id AND sessions.failed_commands <> counted.failed;
DROP INDEX commands_stop;
ALTER TABLE commands
  DROP COLUMN lost_claims,
  DROP COLUMN confirmed_fence,
  DROP COLUMN stop_at;
DROP INDEX worktrees_quarantined;
ALTER TABLE worktrees
  DROP COLUMN ended_from,
  DROP COLUMN environment_fence,
  DROP COLUMN commit_fence;
