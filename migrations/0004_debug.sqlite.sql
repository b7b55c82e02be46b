-- Debug sessions: breakpoints, a ring of events, and what was seen at each stop, in the terms of the Debug Adapter Protocol.
-- up

CREATE TABLE debug_sessions (
  id TEXT NOT NULL PRIMARY KEY,
  session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  command_id TEXT REFERENCES commands (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  adapter TEXT NOT NULL,
  request TEXT NOT NULL CHECK (request = 'launch' OR request = 'attach'),
  state TEXT NOT NULL CHECK (state = 'initializing' OR state = 'configuring' OR state = 'running' OR state = 'stopped' OR state = 'terminated' OR state = 'error'),
  capabilities TEXT CHECK (json_valid(capabilities)),
  payload TEXT CHECK (json_valid(payload)),
  -- Grows with every start of the adapter, whose numbers begin anew then.
  adapter_run INTEGER NOT NULL DEFAULT 1 CHECK (adapter_run > 0),
  -- Grows with every stopped and continued, also over restarts of the adapter.
  stop_epoch INTEGER NOT NULL DEFAULT 0 CHECK (stop_epoch >= 0),
  stop_reason TEXT,
  stop_description TEXT,
  stop_thread_id INTEGER,
  hit_breakpoint_ids TEXT CHECK (json_valid(hit_breakpoint_ids)),
  -- The adapter's number of the last event that was applied, and our own number of the next.
  last_event INTEGER NOT NULL DEFAULT 0 CHECK (last_event >= 0),
  next_position INTEGER NOT NULL DEFAULT 1 CHECK (next_position > 0),
  breakpoint_count INTEGER NOT NULL DEFAULT 0 CHECK (breakpoint_count >= 0),
  -- Grows with every write to this row or to what hangs on it, so that a reader knows whether all it read is of one moment.
  revision INTEGER NOT NULL DEFAULT 1 CHECK (revision > 0),
  exit_code INTEGER,
  end_reason TEXT,
  ended_at INTEGER,
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (session_id, name),
  CHECK ((state = 'stopped') = (stop_reason IS NOT NULL)),
  CHECK (stop_reason IS NOT NULL OR stop_description IS NULL),
  CHECK (stop_reason IS NOT NULL OR stop_thread_id IS NULL),
  CHECK (stop_reason IS NOT NULL OR hit_breakpoint_ids IS NULL),
  CHECK ((state = 'terminated' OR state = 'error') = (ended_at IS NOT NULL)),
  CHECK (end_reason IS NULL OR ended_at IS NOT NULL)
) STRICT;
CREATE INDEX debug_sessions_page ON debug_sessions (session_id, created_at, id);
CREATE INDEX debug_sessions_open ON debug_sessions (session_id, id) WHERE ended_at IS NULL;
CREATE INDEX debug_sessions_command ON debug_sessions (command_id) WHERE command_id IS NOT NULL;

CREATE TABLE debug_breakpoints (
  id TEXT NOT NULL PRIMARY KEY,
  debug_session_id TEXT NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  kind TEXT NOT NULL CHECK (kind = 'source' OR kind = 'function' OR kind = 'data' OR kind = 'instruction' OR kind = 'exception'),
  source_path TEXT,
  -- The place among those that were set together.
  position INTEGER NOT NULL CHECK (position >= 0),
  line INTEGER,
  requested TEXT NOT NULL CHECK (json_valid(requested)),
  adapter_id INTEGER,
  verified INTEGER NOT NULL DEFAULT 0 CHECK (verified IN (0, 1)),
  bound TEXT CHECK (json_valid(bound)),
  hit_count INTEGER NOT NULL DEFAULT 0 CHECK (hit_count >= 0),
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  CHECK ((kind = 'source') = (source_path IS NOT NULL)),
  CHECK ((kind = 'source') = (line IS NOT NULL)),
  CHECK (bound IS NOT NULL OR adapter_id IS NULL)
) STRICT;
-- Not by path: it may be longer than a row of a B-tree of PostgreSQL, and a debug session has few breakpoints.
CREATE INDEX debug_breakpoints_source ON debug_breakpoints (debug_session_id, kind, position);
CREATE INDEX debug_breakpoints_adapter ON debug_breakpoints (debug_session_id, adapter_id) WHERE adapter_id IS NOT NULL;

CREATE TABLE debug_events (
  debug_session_id TEXT NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  position INTEGER NOT NULL CHECK (position > 0),
  adapter_run INTEGER NOT NULL CHECK (adapter_run > 0),
  seq INTEGER NOT NULL CHECK (seq > 0),
  stop_epoch INTEGER NOT NULL CHECK (stop_epoch >= 0),
  at INTEGER NOT NULL,
  event TEXT NOT NULL,
  body TEXT CHECK (json_valid(body)),
  cut INTEGER NOT NULL CHECK (cut IN (0, 1)),
  PRIMARY KEY (debug_session_id, position)
) STRICT;

CREATE TABLE debug_stops (
  debug_session_id TEXT NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  stop_epoch INTEGER NOT NULL CHECK (stop_epoch > 0),
  thread_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  at INTEGER NOT NULL,
  frames TEXT NOT NULL CHECK (json_valid(frames)),
  omitted_frames INTEGER NOT NULL CHECK (omitted_frames >= 0),
  cut INTEGER NOT NULL CHECK (cut IN (0, 1)),
  PRIMARY KEY (debug_session_id, stop_epoch, thread_id)
) STRICT;

-- down

DROP TABLE debug_stops;
DROP TABLE debug_events;
DROP TABLE debug_breakpoints;
DROP TABLE debug_sessions;
