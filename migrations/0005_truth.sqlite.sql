-- What is recorded of worktrees, tokens and commands stays true: facts about a worktree name the lease under which they
-- were reported, a session's token exists, and commands and sessions have a time at which the store ends them.
-- up

-- The fencing token under which the commit, or the environment, was reported. A fact outlives only that lease.
ALTER TABLE worktrees ADD COLUMN commit_fence INTEGER;
ALTER TABLE worktrees ADD COLUMN environment_fence INTEGER;
-- The state in which the last lease ended, by which a repeated release is recognized.
ALTER TABLE worktrees ADD COLUMN ended_from TEXT CHECK (ended_from = 'creating' OR ended_from = 'leased' OR ended_from = 'evicting');
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

-- The time from which the runner is asked to stop the command: its timeout, or its cancellation if that came first.
ALTER TABLE commands ADD COLUMN stop_at INTEGER CHECK (stop_at IS NULL OR lease_expires_at IS NOT NULL);
-- The fence of the last claim that its runner confirmed with a heartbeat.
ALTER TABLE commands ADD COLUMN confirmed_fence INTEGER NOT NULL DEFAULT 0 CHECK (confirmed_fence >= 0);
-- The attempts whose claim never reached its runner.
ALTER TABLE commands ADD COLUMN lost_claims INTEGER NOT NULL DEFAULT 0 CHECK (lost_claims >= 0);
UPDATE commands SET stop_at = started_at + timeout_ms WHERE state = 'running';
UPDATE commands SET stop_at = cancel_requested_at WHERE state = 'cancelling';
CREATE INDEX commands_stop ON commands (stop_at) WHERE stop_at IS NOT NULL;

-- A command that was cancelled does not count as failed any more.
UPDATE sessions SET failed_commands = counted.failed
FROM (
  SELECT session_id, count(*) FILTER (WHERE state IN ('failed', 'timed_out', 'lost')) AS failed
  FROM commands GROUP BY session_id) AS counted
WHERE counted.session_id = sessions.id AND sessions.failed_commands <> counted.failed;

-- SQLite adds a foreign key only with its table.
CREATE TABLE sessions_copy AS SELECT * FROM sessions;
DROP TABLE sessions;
CREATE TABLE sessions (
  id TEXT NOT NULL PRIMARY KEY,
  repository_id TEXT NOT NULL REFERENCES repositories (id),
  worktree_id TEXT REFERENCES worktrees (id),
  worktree_fence INTEGER,
  token_id TEXT REFERENCES tokens (id),
  requested_by TEXT,
  commit_sha TEXT NOT NULL,
  patch_hash TEXT,
  patch_uri TEXT,
  state TEXT NOT NULL CHECK (state = 'pending' OR state = 'running' OR state = 'cancelling' OR state = 'completed' OR state = 'failed' OR state = 'cancelled' OR state = 'expired'),
  end_reason TEXT,
  next_sequence INTEGER NOT NULL DEFAULT 1 CHECK (next_sequence > 0),
  max_parallel INTEGER NOT NULL DEFAULT 1 CHECK (max_parallel > 0),
  auto_complete INTEGER NOT NULL DEFAULT 0 CHECK (auto_complete IN (0, 1)),
  -- How many of its commands wait, run, and have failed, timed out or been lost: no operation counts rows.
  queued_commands INTEGER NOT NULL DEFAULT 0 CHECK (queued_commands >= 0),
  active_commands INTEGER NOT NULL DEFAULT 0 CHECK (active_commands >= 0),
  failed_commands INTEGER NOT NULL DEFAULT 0 CHECK (failed_commands >= 0),
  -- Priority and age of the command at the head of its queue, set exactly while a runner may claim it.
  ready_priority INTEGER,
  ready_at INTEGER,
  idle_ttl_ms INTEGER CHECK (idle_ttl_ms > 0),
  expires_at INTEGER,
  last_activity_at INTEGER NOT NULL,
  started_at INTEGER,
  ended_at INTEGER,
  metadata TEXT CHECK (json_valid(metadata)),
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  -- The time at which the session ends, whatever it does.
  deadline_at INTEGER,
  CHECK ((state = 'completed' OR state = 'failed' OR state = 'cancelled' OR state = 'expired') = (ended_at IS NOT NULL)),
  CHECK ((worktree_id IS NULL) = (worktree_fence IS NULL)),
  CHECK ((ready_at IS NULL) = (ready_priority IS NULL)),
  CHECK (ready_at IS NULL OR (state IN ('pending', 'running') AND queued_commands > 0 AND active_commands < max_parallel)),
  CHECK (queued_commands = 0 OR state IN ('pending', 'running'))
) STRICT;
INSERT INTO sessions (
  id,
  repository_id,
  worktree_id,
  worktree_fence,
  token_id,
  requested_by,
  commit_sha,
  patch_hash,
  patch_uri,
  state,
  end_reason,
  next_sequence,
  max_parallel,
  auto_complete,
  queued_commands,
  active_commands,
  failed_commands,
  ready_priority,
  ready_at,
  idle_ttl_ms,
  expires_at,
  last_activity_at,
  started_at,
  ended_at,
  metadata,
  version,
  created_at,
  updated_at
)
SELECT
  id,
  repository_id,
  worktree_id,
  worktree_fence,
  CASE WHEN token_id IN (SELECT id FROM tokens) THEN token_id END,
  requested_by,
  commit_sha,
  patch_hash,
  patch_uri,
  state,
  end_reason,
  next_sequence,
  max_parallel,
  auto_complete,
  queued_commands,
  active_commands,
  failed_commands,
  ready_priority,
  ready_at,
  idle_ttl_ms,
  expires_at,
  last_activity_at,
  started_at,
  ended_at,
  metadata,
  version,
  created_at,
  updated_at
FROM sessions_copy;
DROP TABLE sessions_copy;
CREATE UNIQUE INDEX sessions_worktree ON sessions (worktree_id) WHERE worktree_id IS NOT NULL AND state IN ('pending', 'running', 'cancelling');
CREATE INDEX sessions_page ON sessions (created_at, id);
CREATE INDEX sessions_page_of_repository ON sessions (repository_id, created_at, id);
CREATE INDEX sessions_page_of_state ON sessions (state, created_at, id);
CREATE INDEX sessions_ready ON sessions (ready_priority DESC, ready_at, id) WHERE ready_at IS NOT NULL AND worktree_id IS NULL;
CREATE INDEX sessions_token ON sessions (token_id) WHERE token_id IS NOT NULL;
CREATE INDEX sessions_deadline ON sessions (deadline_at) WHERE deadline_at IS NOT NULL AND ended_at IS NULL;
-- A session whose commands wait for a runner is not idle.
CREATE INDEX sessions_expiry ON sessions (expires_at)
  WHERE expires_at IS NOT NULL AND ended_at IS NULL AND active_commands = 0 AND queued_commands = 0;
-- The worktrees in which a command may still run.
CREATE INDEX sessions_working ON sessions (worktree_id) WHERE worktree_id IS NOT NULL AND active_commands > 0;

-- down

CREATE TABLE sessions_copy AS SELECT * FROM sessions;
DROP TABLE sessions;
CREATE TABLE sessions (
  id TEXT NOT NULL PRIMARY KEY,
  repository_id TEXT NOT NULL REFERENCES repositories (id),
  worktree_id TEXT REFERENCES worktrees (id),
  worktree_fence INTEGER,
  token_id TEXT,
  requested_by TEXT,
  commit_sha TEXT NOT NULL,
  patch_hash TEXT,
  patch_uri TEXT,
  state TEXT NOT NULL CHECK (state = 'pending' OR state = 'running' OR state = 'cancelling' OR state = 'completed' OR state = 'failed' OR state = 'cancelled' OR state = 'expired'),
  end_reason TEXT,
  next_sequence INTEGER NOT NULL DEFAULT 1 CHECK (next_sequence > 0),
  max_parallel INTEGER NOT NULL DEFAULT 1 CHECK (max_parallel > 0),
  auto_complete INTEGER NOT NULL DEFAULT 0 CHECK (auto_complete IN (0, 1)),
  -- How many of its commands wait, run, and ended other than well: no operation counts rows.
  queued_commands INTEGER NOT NULL DEFAULT 0 CHECK (queued_commands >= 0),
  active_commands INTEGER NOT NULL DEFAULT 0 CHECK (active_commands >= 0),
  failed_commands INTEGER NOT NULL DEFAULT 0 CHECK (failed_commands >= 0),
  -- Priority and age of the command at the head of its queue, set exactly while a runner may claim it.
  ready_priority INTEGER,
  ready_at INTEGER,
  idle_ttl_ms INTEGER CHECK (idle_ttl_ms > 0),
  expires_at INTEGER,
  last_activity_at INTEGER NOT NULL,
  started_at INTEGER,
  ended_at INTEGER,
  metadata TEXT CHECK (json_valid(metadata)),
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  CHECK ((state = 'completed' OR state = 'failed' OR state = 'cancelled' OR state = 'expired') = (ended_at IS NOT NULL)),
  CHECK ((worktree_id IS NULL) = (worktree_fence IS NULL)),
  CHECK ((ready_at IS NULL) = (ready_priority IS NULL)),
  CHECK (ready_at IS NULL OR (state IN ('pending', 'running') AND queued_commands > 0 AND active_commands < max_parallel)),
  CHECK (queued_commands = 0 OR state IN ('pending', 'running'))
) STRICT;
INSERT INTO sessions (
  id,
  repository_id,
  worktree_id,
  worktree_fence,
  token_id,
  requested_by,
  commit_sha,
  patch_hash,
  patch_uri,
  state,
  end_reason,
  next_sequence,
  max_parallel,
  auto_complete,
  queued_commands,
  active_commands,
  failed_commands,
  ready_priority,
  ready_at,
  idle_ttl_ms,
  expires_at,
  last_activity_at,
  started_at,
  ended_at,
  metadata,
  version,
  created_at,
  updated_at
)
SELECT
  id,
  repository_id,
  worktree_id,
  worktree_fence,
  token_id,
  requested_by,
  commit_sha,
  patch_hash,
  patch_uri,
  state,
  end_reason,
  next_sequence,
  max_parallel,
  auto_complete,
  queued_commands,
  active_commands,
  failed_commands,
  ready_priority,
  ready_at,
  idle_ttl_ms,
  expires_at,
  last_activity_at,
  started_at,
  ended_at,
  metadata,
  version,
  created_at,
  updated_at
FROM sessions_copy;
DROP TABLE sessions_copy;
CREATE UNIQUE INDEX sessions_worktree ON sessions (worktree_id) WHERE worktree_id IS NOT NULL AND state IN ('pending', 'running', 'cancelling');
CREATE INDEX sessions_page ON sessions (created_at, id);
CREATE INDEX sessions_page_of_repository ON sessions (repository_id, created_at, id);
CREATE INDEX sessions_page_of_state ON sessions (state, created_at, id);
CREATE INDEX sessions_ready ON sessions (ready_priority DESC, ready_at, id) WHERE ready_at IS NOT NULL AND worktree_id IS NULL;
CREATE INDEX sessions_expiry ON sessions (expires_at) WHERE expires_at IS NOT NULL AND ended_at IS NULL AND active_commands = 0;
UPDATE sessions SET failed_commands = counted.failed
FROM (
  SELECT session_id, count(*) FILTER (WHERE state IN ('failed', 'timed_out', 'lost', 'cancelled')) AS failed
  FROM commands GROUP BY session_id) AS counted
WHERE counted.session_id = sessions.id AND sessions.failed_commands <> counted.failed;
DROP INDEX commands_stop;
ALTER TABLE commands DROP COLUMN lost_claims;
ALTER TABLE commands DROP COLUMN confirmed_fence;
ALTER TABLE commands DROP COLUMN stop_at;
DROP INDEX worktrees_quarantined;
ALTER TABLE worktrees DROP COLUMN ended_from;
ALTER TABLE worktrees DROP COLUMN environment_fence;
ALTER TABLE worktrees DROP COLUMN commit_fence;
