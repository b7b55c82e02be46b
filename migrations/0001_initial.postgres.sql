-- Repositories, runners, worktrees, sessions, commands with their attempts and logs, and the change feed.
-- The same tables, columns, constraints and indexes as in 0001_initial.sqlite.sql, in PostgreSQL's own types.
-- up

CREATE TABLE store_meta (
  key text COLLATE "C" NOT NULL PRIMARY KEY,
  value text COLLATE "C" NOT NULL
);

-- Rows up to and including the floor have been pruned from `changes`.
INSERT INTO store_meta (key, value) VALUES ('store_id', replace(gen_random_uuid()::text, '-', '')), ('epoch', '0'), ('feed_floor', '0');

CREATE TABLE repositories (
  id uuid NOT NULL PRIMARY KEY,
  name text COLLATE "C" NOT NULL,
  name_key text COLLATE "C" NOT NULL UNIQUE,
  remote_url text COLLATE "C",
  default_branch text COLLATE "C" NOT NULL,
  description text COLLATE "C",
  settings json,
  worktree_root text COLLATE "C",
  max_worktrees bigint NOT NULL CHECK (max_worktrees >= 0),
  -- Worktrees that are not removed: the limit is checked without counting them.
  worktree_count bigint NOT NULL DEFAULT 0 CHECK (worktree_count >= 0),
  archived_at timestamptz,
  version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
CREATE INDEX repositories_page ON repositories (created_at, id);

CREATE TABLE runners (
  id uuid NOT NULL PRIMARY KEY,
  name text COLLATE "C" NOT NULL,
  boot_id uuid NOT NULL UNIQUE,
  host text COLLATE "C" NOT NULL,
  pid bigint NOT NULL,
  labels json NOT NULL,
  state text COLLATE "C" NOT NULL CHECK (state = 'online' OR state = 'draining' OR state = 'stalled' OR state = 'gone'),
  heartbeat_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
CREATE INDEX runners_page ON runners (created_at, id);
CREATE INDEX runners_expiry ON runners (state, expires_at) WHERE state <> 'gone';

CREATE TABLE worktrees (
  id uuid NOT NULL PRIMARY KEY,
  repository_id uuid NOT NULL REFERENCES repositories (id),
  path text COLLATE "C" NOT NULL,
  commit_sha text COLLATE "C",
  environment_hash text COLLATE "C",
  pinned boolean NOT NULL DEFAULT FALSE,
  size_bytes bigint CHECK (size_bytes >= 0),
  state text COLLATE "C" NOT NULL CHECK (state = 'creating' OR state = 'idle' OR state = 'dirty' OR state = 'leased' OR state = 'quarantined' OR state = 'evicting' OR state = 'removed'),
  fence bigint NOT NULL DEFAULT 0 CHECK (fence >= 0),
  lease_runner_id uuid REFERENCES runners (id),
  lease_owner text COLLATE "C",
  leased_at timestamptz,
  lease_expires_at timestamptz,
  last_used_at timestamptz NOT NULL,
  use_count bigint NOT NULL DEFAULT 0,
  version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CHECK ((state = 'creating' OR state = 'leased' OR state = 'evicting') = (lease_expires_at IS NOT NULL)),
  CHECK ((lease_expires_at IS NULL) = (leased_at IS NULL)),
  CHECK ((lease_expires_at IS NULL) = (lease_owner IS NULL)),
  CHECK (lease_runner_id IS NULL OR lease_expires_at IS NOT NULL),
  -- A hash index, because a path may be longer than a row of a B-tree.
  CONSTRAINT worktrees_path EXCLUDE USING hash (path WITH =) WHERE (state <> 'removed')
);
CREATE INDEX worktrees_page ON worktrees (repository_id, created_at, id);
CREATE INDEX worktrees_page_all ON worktrees (created_at, id);
-- One index for each step of the affinity search, clean trees ('idle') before dirty ones, least recently used first.
CREATE INDEX worktrees_same ON worktrees (repository_id, environment_hash, commit_sha, state DESC, last_used_at) WHERE state IN ('idle', 'dirty');
CREATE INDEX worktrees_environment ON worktrees (repository_id, environment_hash, state DESC, last_used_at) WHERE state IN ('idle', 'dirty');
CREATE INDEX worktrees_commit ON worktrees (repository_id, commit_sha, state DESC, last_used_at) WHERE state IN ('idle', 'dirty');
CREATE INDEX worktrees_any ON worktrees (repository_id, state DESC, last_used_at) WHERE state IN ('idle', 'dirty');
CREATE INDEX worktrees_evictable ON worktrees (repository_id, last_used_at) WHERE state IN ('idle', 'dirty') AND NOT pinned;
CREATE INDEX worktrees_expiry ON worktrees (lease_expires_at) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX worktrees_next_free ON worktrees (repository_id, lease_expires_at) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX worktrees_of_runner ON worktrees (lease_runner_id) WHERE lease_runner_id IS NOT NULL;

CREATE TABLE sessions (
  id uuid NOT NULL PRIMARY KEY,
  repository_id uuid NOT NULL REFERENCES repositories (id),
  worktree_id uuid REFERENCES worktrees (id),
  worktree_fence bigint,
  token_id uuid,
  requested_by text COLLATE "C",
  commit_sha text COLLATE "C" NOT NULL,
  patch_hash text COLLATE "C",
  patch_uri text COLLATE "C",
  state text COLLATE "C" NOT NULL CHECK (state = 'pending' OR state = 'running' OR state = 'cancelling' OR state = 'completed' OR state = 'failed' OR state = 'cancelled' OR state = 'expired'),
  end_reason text COLLATE "C",
  next_sequence bigint NOT NULL DEFAULT 1 CHECK (next_sequence > 0),
  max_parallel bigint NOT NULL DEFAULT 1 CHECK (max_parallel > 0),
  auto_complete boolean NOT NULL DEFAULT FALSE,
  -- How many of its commands wait, run, and ended other than well: no operation counts rows.
  queued_commands bigint NOT NULL DEFAULT 0 CHECK (queued_commands >= 0),
  active_commands bigint NOT NULL DEFAULT 0 CHECK (active_commands >= 0),
  failed_commands bigint NOT NULL DEFAULT 0 CHECK (failed_commands >= 0),
  -- Priority and age of the command at the head of its queue, set exactly while a runner may claim it.
  ready_priority bigint,
  ready_at timestamptz,
  idle_ttl_ms bigint CHECK (idle_ttl_ms > 0),
  expires_at timestamptz,
  last_activity_at timestamptz NOT NULL,
  started_at timestamptz,
  ended_at timestamptz,
  metadata json,
  version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CHECK ((state = 'completed' OR state = 'failed' OR state = 'cancelled' OR state = 'expired') = (ended_at IS NOT NULL)),
  CHECK ((worktree_id IS NULL) = (worktree_fence IS NULL)),
  CHECK ((ready_at IS NULL) = (ready_priority IS NULL)),
  CHECK (ready_at IS NULL OR (state IN ('pending', 'running') AND queued_commands > 0 AND active_commands < max_parallel)),
  CHECK (queued_commands = 0 OR state IN ('pending', 'running'))
);
CREATE UNIQUE INDEX sessions_worktree ON sessions (worktree_id) WHERE worktree_id IS NOT NULL AND state IN ('pending', 'running', 'cancelling');
CREATE INDEX sessions_page ON sessions (created_at, id);
CREATE INDEX sessions_page_of_repository ON sessions (repository_id, created_at, id);
CREATE INDEX sessions_page_of_state ON sessions (state, created_at, id);
CREATE INDEX sessions_ready ON sessions (ready_priority DESC, ready_at, id) WHERE ready_at IS NOT NULL AND worktree_id IS NULL;
-- Open is said by ended_at and not by state: with state, the planner takes the index of states and sorts all open sessions.
CREATE INDEX sessions_expiry ON sessions (expires_at) WHERE expires_at IS NOT NULL AND ended_at IS NULL AND active_commands = 0;

CREATE TABLE commands (
  id uuid NOT NULL PRIMARY KEY,
  session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  sequence bigint NOT NULL CHECK (sequence > 0),
  argv json NOT NULL,
  cwd text COLLATE "C",
  env json,
  secret_env_keys json,
  state text COLLATE "C" NOT NULL CHECK (state = 'queued' OR state = 'running' OR state = 'cancelling' OR state = 'succeeded' OR state = 'failed' OR state = 'timed_out' OR state = 'cancelled' OR state = 'lost'),
  priority bigint NOT NULL DEFAULT 0,
  timeout_ms bigint CHECK (timeout_ms > 0),
  attempt bigint NOT NULL DEFAULT 0 CHECK (attempt >= 0),
  max_attempts bigint NOT NULL DEFAULT 1 CHECK (max_attempts > 0),
  fence bigint NOT NULL DEFAULT 0 CHECK (fence >= 0),
  runner_id uuid REFERENCES runners (id),
  lease_expires_at timestamptz,
  exit_code bigint,
  signal text COLLATE "C",
  end_reason text COLLATE "C",
  cancel_requested_at timestamptz,
  queued_at timestamptz NOT NULL,
  started_at timestamptz,
  ended_at timestamptz,
  version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  UNIQUE (session_id, sequence),
  CHECK ((state IN ('running', 'cancelling')) = (lease_expires_at IS NOT NULL)),
  CHECK (lease_expires_at IS NULL OR runner_id IS NOT NULL),
  CHECK ((state = 'succeeded' OR state = 'failed' OR state = 'timed_out' OR state = 'cancelled' OR state = 'lost') = (ended_at IS NOT NULL)),
  CHECK (state <> 'succeeded' OR exit_code = 0),
  CHECK (state <> 'cancelling' OR cancel_requested_at IS NOT NULL),
  CHECK (exit_code IS NULL OR ended_at IS NOT NULL),
  CHECK (signal IS NULL OR ended_at IS NOT NULL)
);
CREATE INDEX commands_page ON commands (created_at, id);
CREATE INDEX commands_ready ON commands (session_id, sequence) WHERE state = 'queued';
CREATE INDEX commands_active ON commands (session_id) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX commands_expiry ON commands (lease_expires_at) WHERE lease_expires_at IS NOT NULL;

CREATE TABLE attempts (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  command_id uuid NOT NULL REFERENCES commands (id) ON DELETE CASCADE,
  attempt bigint NOT NULL CHECK (attempt > 0),
  fence bigint NOT NULL CHECK (fence > 0),
  runner_id uuid NOT NULL REFERENCES runners (id),
  outcome text COLLATE "C" CHECK (outcome = 'succeeded' OR outcome = 'failed' OR outcome = 'timed_out' OR outcome = 'cancelled' OR outcome = 'lost'),
  exit_code bigint,
  signal text COLLATE "C",
  started_at timestamptz NOT NULL,
  ended_at timestamptz,
  log_state text COLLATE "C" NOT NULL DEFAULT 'open' CHECK (log_state = 'open' OR log_state = 'sealed' OR log_state = 'pruned'),
  next_offset bigint NOT NULL DEFAULT 0 CHECK (next_offset >= 0),
  next_line bigint NOT NULL DEFAULT 0 CHECK (next_line >= 0),
  first_offset bigint NOT NULL DEFAULT 0 CHECK (first_offset >= 0),
  limit_bytes bigint NOT NULL CHECK (limit_bytes > 0),
  dropped_bytes bigint NOT NULL DEFAULT 0 CHECK (dropped_bytes >= 0),
  log_uri text COLLATE "C",
  UNIQUE (command_id, attempt),
  UNIQUE (command_id, fence),
  CHECK ((outcome IS NULL) = (ended_at IS NULL)),
  CHECK ((outcome IS NULL) = (log_state = 'open')),
  CHECK (first_offset <= next_offset AND dropped_bytes <= next_offset)
);

CREATE TABLE log_chunks (
  attempt_id bigint NOT NULL REFERENCES attempts (id) ON DELETE CASCADE,
  start_offset bigint NOT NULL CHECK (start_offset >= 0),
  byte_length bigint NOT NULL CHECK (byte_length = octet_length(data) AND byte_length BETWEEN 1 AND 65536),
  start_line bigint NOT NULL,
  line_count bigint NOT NULL CHECK (line_count BETWEEN 0 AND byte_length),
  stream text COLLATE "C" NOT NULL CHECK (stream = 'stdout' OR stream = 'stderr' OR stream = 'system'),
  at timestamptz NOT NULL,
  data bytea NOT NULL,
  PRIMARY KEY (attempt_id, start_offset)
);

CREATE TABLE changes (
  seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL,
  entity text COLLATE "C" NOT NULL,
  entity_id text COLLATE "C" NOT NULL,
  op text COLLATE "C" NOT NULL,
  entity_version bigint NOT NULL,
  fence bigint,
  actor text COLLATE "C",
  request_id text COLLATE "C",
  session_id uuid,
  detail json
);

-- down

DROP TABLE changes;
DROP TABLE log_chunks;
DROP TABLE attempts;
DROP TABLE commands;
DROP TABLE sessions;
DROP TABLE worktrees;
DROP TABLE runners;
DROP TABLE repositories;
DROP TABLE store_meta;
