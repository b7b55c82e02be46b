-- Debug sessions: breakpoints, a ring of events, and what was seen at each stop, in the terms of the Debug Adapter Protocol.
-- The same tables, columns, constraints and indexes as in 0004_debug.sqlite.sql, in PostgreSQL's own types.
-- up

CREATE TABLE debug_sessions (
  id uuid NOT NULL PRIMARY KEY,
  session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  command_id uuid REFERENCES commands (id) ON DELETE CASCADE,
  name text COLLATE "C" NOT NULL,
  adapter text COLLATE "C" NOT NULL,
  request text COLLATE "C" NOT NULL CHECK (request = 'launch' OR request = 'attach'),
  state text COLLATE "C" NOT NULL CHECK (state = 'initializing' OR state = 'configuring' OR state = 'running' OR state = 'stopped' OR state = 'terminated' OR state = 'error'),
  capabilities json,
  payload json,
  -- Grows with every start of the adapter, whose numbers begin anew then.
  adapter_run bigint NOT NULL DEFAULT 1 CHECK (adapter_run > 0),
  -- Grows with every stopped and continued, also over restarts of the adapter.
  stop_epoch bigint NOT NULL DEFAULT 0 CHECK (stop_epoch >= 0),
  stop_reason text COLLATE "C",
  stop_description text COLLATE "C",
  stop_thread_id bigint,
  hit_breakpoint_ids json,
  -- The adapter's number of the last event that was applied, and our own number of the next.
  last_event bigint NOT NULL DEFAULT 0 CHECK (last_event >= 0),
  next_position bigint NOT NULL DEFAULT 1 CHECK (next_position > 0),
  breakpoint_count bigint NOT NULL DEFAULT 0 CHECK (breakpoint_count >= 0),
  -- Grows with every write to this row or to what hangs on it, so that a reader knows whether all it read is of one moment.
  revision bigint NOT NULL DEFAULT 1 CHECK (revision > 0),
  exit_code bigint,
  end_reason text COLLATE "C",
  ended_at timestamptz,
  version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  UNIQUE (session_id, name),
  CHECK ((state = 'stopped') = (stop_reason IS NOT NULL)),
  CHECK (stop_reason IS NOT NULL OR stop_description IS NULL),
  CHECK (stop_reason IS NOT NULL OR stop_thread_id IS NULL),
  CHECK (stop_reason IS NOT NULL OR hit_breakpoint_ids IS NULL),
  CHECK ((state = 'terminated' OR state = 'error') = (ended_at IS NOT NULL)),
  CHECK (end_reason IS NULL OR ended_at IS NOT NULL)
);
CREATE INDEX debug_sessions_page ON debug_sessions (session_id, created_at, id);
CREATE INDEX debug_sessions_open ON debug_sessions (session_id, id) WHERE ended_at IS NULL;
CREATE INDEX debug_sessions_command ON debug_sessions (command_id) WHERE command_id IS NOT NULL;

CREATE TABLE debug_breakpoints (
  id uuid NOT NULL PRIMARY KEY,
  debug_session_id uuid NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  kind text COLLATE "C" NOT NULL CHECK (kind = 'source' OR kind = 'function' OR kind = 'data' OR kind = 'instruction' OR kind = 'exception'),
  source_path text COLLATE "C",
  -- The place among those that were set together.
  position bigint NOT NULL CHECK (position >= 0),
  line bigint,
  requested json NOT NULL,
  adapter_id bigint,
  verified boolean NOT NULL DEFAULT FALSE,
  bound json,
  hit_count bigint NOT NULL DEFAULT 0 CHECK (hit_count >= 0),
  version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CHECK ((kind = 'source') = (source_path IS NOT NULL)),
  CHECK ((kind = 'source') = (line IS NOT NULL)),
  CHECK (bound IS NOT NULL OR adapter_id IS NULL)
);
-- Not by path: it may be longer than a row of a B-tree of PostgreSQL, and a debug session has few breakpoints.
CREATE INDEX debug_breakpoints_source ON debug_breakpoints (debug_session_id, kind, position);
CREATE INDEX debug_breakpoints_adapter ON debug_breakpoints (debug_session_id, adapter_id) WHERE adapter_id IS NOT NULL;

CREATE TABLE debug_events (
  debug_session_id uuid NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  position bigint NOT NULL CHECK (position > 0),
  adapter_run bigint NOT NULL CHECK (adapter_run > 0),
  seq bigint NOT NULL CHECK (seq > 0),
  stop_epoch bigint NOT NULL CHECK (stop_epoch >= 0),
  at timestamptz NOT NULL,
  event text COLLATE "C" NOT NULL,
  body json,
  cut boolean NOT NULL,
  PRIMARY KEY (debug_session_id, position)
);

CREATE TABLE debug_stops (
  debug_session_id uuid NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  stop_epoch bigint NOT NULL CHECK (stop_epoch > 0),
  thread_id bigint NOT NULL,
  name text COLLATE "C" NOT NULL,
  at timestamptz NOT NULL,
  frames json NOT NULL,
  omitted_frames bigint NOT NULL CHECK (omitted_frames >= 0),
  cut boolean NOT NULL,
  PRIMARY KEY (debug_session_id, stop_epoch, thread_id)
);

-- down

DROP TABLE debug_stops;
DROP TABLE debug_events;
DROP TABLE debug_breakpoints;
DROP TABLE debug_sessions;
