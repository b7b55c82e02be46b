-- Requests of clients to a debugger, and the history of a debug session: what was set, asked and answered, and by whom.
-- up

CREATE TABLE debug_requests (
  id uuid NOT NULL PRIMARY KEY,
  debug_session_id uuid NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  -- That of its entry in the history, which is also its place in the queue.
  position bigint NOT NULL CHECK (position > 0),
  adapter_run bigint NOT NULL CHECK (adapter_run > 0),
  state text COLLATE "C" NOT NULL CHECK (state = 'queued' OR state = 'taken' OR state = 'answered' OR state = 'failed' OR state = 'expired' OR state = 'cancelled'),
  command text COLLATE "C" NOT NULL,
  -- As they were asked; they are removed when the request ends.
  exact_arguments json,
  -- The same without secrets.
  arguments json,
  stop_epoch bigint CHECK (stop_epoch > 0),
  thread_id bigint,
  requested_by text COLLATE "C",
  success boolean,
  body json,
  message text COLLATE "C",
  cut boolean NOT NULL DEFAULT FALSE,
  reason text COLLATE "C",
  -- True while the bridge that has it must still be told that nobody waits for it any more.
  cancel_due boolean NOT NULL DEFAULT FALSE,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  taken_at timestamptz,
  ended_at timestamptz,
  -- The position of the entry of its end.
  ended_position bigint CHECK (ended_position > position),
  UNIQUE (debug_session_id, position),
  CHECK ((state = 'queued' OR state = 'taken') = (ended_at IS NULL)),
  CHECK ((ended_at IS NULL) = (ended_position IS NULL)),
  CHECK ((state = 'answered') = (success IS NOT NULL)),
  CHECK (state <> 'queued' OR taken_at IS NULL),
  CHECK (state <> 'taken' OR taken_at IS NOT NULL),
  CHECK (ended_at IS NULL OR exact_arguments IS NULL)
);
CREATE INDEX debug_requests_open ON debug_requests (debug_session_id, position) WHERE ended_at IS NULL;
CREATE INDEX debug_requests_cancel ON debug_requests (debug_session_id, position) WHERE cancel_due;
CREATE INDEX debug_requests_expiry ON debug_requests (expires_at) WHERE ended_at IS NULL;
CREATE INDEX debug_requests_ended ON debug_requests (debug_session_id, ended_position) WHERE ended_position IS NOT NULL;

CREATE TABLE debug_history (
  debug_session_id uuid NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  position bigint NOT NULL CHECK (position > 0),
  at timestamptz NOT NULL,
  kind text COLLATE "C" NOT NULL,
  actor text COLLATE "C",
  adapter_run bigint NOT NULL CHECK (adapter_run > 0),
  stop_epoch bigint NOT NULL CHECK (stop_epoch >= 0),
  -- The position that the next event had: by it, the entry has its place among the events.
  event_position bigint NOT NULL CHECK (event_position > 0),
  request_id uuid,
  detail json,
  PRIMARY KEY (debug_session_id, position)
);

-- down

DROP TABLE debug_history;
DROP TABLE debug_requests;
