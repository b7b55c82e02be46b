-- Requests of clients to a debugger, and the history of a debug session: what was set, asked and answered, and by whom.
-- up

CREATE TABLE debug_requests (
  id TEXT NOT NULL PRIMARY KEY,
  debug_session_id TEXT NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  -- That of its entry in the history, which is also its place in the queue.
  position INTEGER NOT NULL CHECK (position > 0),
  adapter_run INTEGER NOT NULL CHECK (adapter_run > 0),
  state TEXT NOT NULL CHECK (state = 'queued' OR state = 'taken' OR state = 'answered' OR state = 'failed' OR state = 'expired' OR state = 'cancelled'),
  command TEXT NOT NULL,
  -- As they were asked; they are removed when the request ends.
  exact_arguments TEXT CHECK (json_valid(exact_arguments)),
  -- The same without secrets.
  arguments TEXT CHECK (json_valid(arguments)),
  stop_epoch INTEGER CHECK (stop_epoch > 0),
  thread_id INTEGER,
  requested_by TEXT,
  success INTEGER CHECK (success IN (0, 1)),
  body TEXT CHECK (json_valid(body)),
  message TEXT,
  cut INTEGER NOT NULL DEFAULT 0 CHECK (cut IN (0, 1)),
  reason TEXT,
  -- True while the bridge that has it must still be told that nobody waits for it any more.
  cancel_due INTEGER NOT NULL DEFAULT 0 CHECK (cancel_due IN (0, 1)),
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  taken_at INTEGER,
  ended_at INTEGER,
  -- The position of the entry of its end.
  ended_position INTEGER CHECK (ended_position > position),
  UNIQUE (debug_session_id, position),
  CHECK ((state = 'queued' OR state = 'taken') = (ended_at IS NULL)),
  CHECK ((ended_at IS NULL) = (ended_position IS NULL)),
  CHECK ((state = 'answered') = (success IS NOT NULL)),
  CHECK (state <> 'queued' OR taken_at IS NULL),
  CHECK (state <> 'taken' OR taken_at IS NOT NULL),
  CHECK (ended_at IS NULL OR exact_arguments IS NULL)
) STRICT;
CREATE INDEX debug_requests_open ON debug_requests (debug_session_id, position) WHERE ended_at IS NULL;
CREATE INDEX debug_requests_cancel ON debug_requests (debug_session_id, position) WHERE cancel_due;
CREATE INDEX debug_requests_expiry ON debug_requests (expires_at) WHERE ended_at IS NULL;
CREATE INDEX debug_requests_ended ON debug_requests (debug_session_id, ended_position) WHERE ended_position IS NOT NULL;

CREATE TABLE debug_history (
  debug_session_id TEXT NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  position INTEGER NOT NULL CHECK (position > 0),
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  actor TEXT,
  adapter_run INTEGER NOT NULL CHECK (adapter_run > 0),
  stop_epoch INTEGER NOT NULL CHECK (stop_epoch >= 0),
  -- The position that the next event had: by it, the entry has its place among the events.
  event_position INTEGER NOT NULL CHECK (event_position > 0),
  request_id TEXT,
  detail TEXT CHECK (json_valid(detail)),
  PRIMARY KEY (debug_session_id, position)
) STRICT;

-- down

DROP TABLE debug_history;
DROP TABLE debug_requests;
