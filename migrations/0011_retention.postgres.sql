-- Retention: for how long ended rows are kept, what was removed so far, who reads the change feed, and the look-ups by
-- which rows that are due, and rows that refer to them, are found.
-- up

CREATE TABLE retention (
  id text COLLATE "C" NOT NULL PRIMARY KEY CHECK (id = 'store'),
  -- Only what was set: the rest has its default.
  settings json NOT NULL,
  version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
  updated_at timestamptz NOT NULL
);

CREATE TABLE pruned (
  kind text COLLATE "C" NOT NULL PRIMARY KEY,
  -- All rows of this kind that retention has removed.
  row_count bigint NOT NULL CHECK (row_count > 0),
  version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
  updated_at timestamptz NOT NULL
);

CREATE TABLE feed_consumers (
  id uuid NOT NULL PRIMARY KEY,
  name text COLLATE "C" NOT NULL UNIQUE,
  -- The last change that it has handled.
  seq bigint NOT NULL CHECK (seq >= 0),
  version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
CREATE INDEX feed_consumers_behind ON feed_consumers (seq, name);

ALTER TABLE repositories ADD COLUMN retention json;
CREATE INDEX repositories_retention ON repositories (id) WHERE retention IS NOT NULL;

ALTER TABLE sessions ADD COLUMN pinned boolean NOT NULL DEFAULT FALSE;
-- Set when none of its logs is left.
ALTER TABLE sessions ADD COLUMN logs_pruned_at timestamptz;
CREATE INDEX sessions_ended ON sessions (repository_id, ended_at, id) WHERE ended_at IS NOT NULL AND NOT pinned;
CREATE INDEX sessions_logs ON sessions (repository_id, ended_at, id) WHERE ended_at IS NOT NULL AND NOT pinned AND logs_pruned_at IS NULL;
-- With active_commands as a column, SQLite takes it before sessions_of_worktree, which has the ended sessions too.
DROP INDEX sessions_working;
CREATE INDEX sessions_working ON sessions (worktree_id, active_commands) WHERE worktree_id IS NOT NULL AND active_commands > 0;
CREATE INDEX sessions_of_worktree ON sessions (worktree_id) WHERE worktree_id IS NOT NULL;

CREATE INDEX debug_sessions_ended ON debug_sessions (ended_at, id) WHERE ended_at IS NOT NULL;
-- The time of the end as an expression: SQLite would find the state by the index of a list, and sort.
CREATE INDEX artifacts_ended ON artifacts ((CASE WHEN state IN ('failed', 'deleted') THEN updated_at END), id) WHERE CASE WHEN state IN ('failed', 'deleted') THEN updated_at END IS NOT NULL;
CREATE INDEX artifacts_pinned ON artifacts (session_id) WHERE pinned;
CREATE INDEX worktrees_removed ON worktrees ((CASE WHEN state = 'removed' THEN updated_at END), id) WHERE CASE WHEN state = 'removed' THEN updated_at END IS NOT NULL;
CREATE INDEX runners_gone ON runners ((CASE WHEN state = 'gone' THEN updated_at END), id) WHERE CASE WHEN state = 'gone' THEN updated_at END IS NOT NULL;
CREATE INDEX attempts_of_runner ON attempts (runner_id);
CREATE INDEX tokens_ended ON tokens (coalesce(revoked_at, expires_at), id) WHERE coalesce(revoked_at, expires_at) IS NOT NULL;
CREATE INDEX tokens_created_by ON tokens (created_by) WHERE created_by IS NOT NULL;
CREATE INDEX tokens_rotated_to ON tokens (rotated_to) WHERE rotated_to IS NOT NULL;

-- down

DROP INDEX tokens_rotated_to;
DROP INDEX tokens_created_by;
DROP INDEX tokens_ended;
DROP INDEX attempts_of_runner;
DROP INDEX runners_gone;
DROP INDEX worktrees_removed;
DROP INDEX artifacts_pinned;
DROP INDEX artifacts_ended;
DROP INDEX debug_sessions_ended;
DROP INDEX sessions_of_worktree;
DROP INDEX sessions_working;
CREATE INDEX sessions_working ON sessions (worktree_id) WHERE worktree_id IS NOT NULL AND active_commands > 0;
DROP INDEX sessions_logs;
DROP INDEX sessions_ended;
ALTER TABLE sessions DROP COLUMN logs_pruned_at;
ALTER TABLE sessions DROP COLUMN pinned;
DROP INDEX repositories_retention;
ALTER TABLE repositories DROP COLUMN retention;
DROP TABLE feed_consumers;
DROP TABLE pruned;
DROP TABLE retention;
