-- Threads of a debugged process, each with its own stop; events in any order and without numbers; the end of a debugger
-- and the end of its record told apart.
-- up

CREATE TABLE debug_threads (
  debug_session_id uuid NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  thread_id bigint NOT NULL,
  name text COLLATE "C" NOT NULL,
  -- The stop at which the thread is, while it is stopped.
  stop_epoch bigint CHECK (stop_epoch > 0),
  -- The epoch at which it has stopped, gone on or appeared.
  changed_epoch bigint NOT NULL CHECK (changed_epoch >= 0),
  -- The adapter's number of the last event that has changed it.
  last_event bigint NOT NULL CHECK (last_event >= 0),
  -- Why it has stopped itself; nothing if it has stopped because another thread did.
  stop_reason text COLLATE "C" CHECK (stop_reason IS NULL OR stop_epoch IS NOT NULL),
  stop_description text COLLATE "C" CHECK (stop_description IS NULL OR stop_reason IS NOT NULL),
  hit_breakpoint_ids json,
  -- The adapter has not said which breakpoint was hit: the place of the first frame will.
  awaits_place boolean NOT NULL,
  stale_areas json,
  PRIMARY KEY (debug_session_id, thread_id),
  CHECK (NOT awaits_place OR stop_reason IS NOT NULL),
  CHECK (hit_breakpoint_ids IS NULL OR stop_reason IS NOT NULL)
);

-- What is known of the threads without a row: the stop at which they are, since when, and the number of the last event about
-- them.
ALTER TABLE debug_sessions ADD COLUMN others_stop_epoch bigint CHECK (others_stop_epoch > 0);
ALTER TABLE debug_sessions ADD COLUMN others_changed_epoch bigint NOT NULL DEFAULT 0 CHECK (others_changed_epoch >= 0);
ALTER TABLE debug_sessions ADD COLUMN others_last_event bigint NOT NULL DEFAULT 0 CHECK (others_last_event >= 0);
-- The frames that the adapter has declared stale one by one.
ALTER TABLE debug_sessions ADD COLUMN stale_frame_ids json;
-- What the adapter has said of the process, and how many events of each name it has sent.
ALTER TABLE debug_sessions ADD COLUMN process json;
ALTER TABLE debug_sessions ADD COLUMN event_counts json;
-- After this moment nothing is expected any more; an adapter may end before, and say more afterwards.
ALTER TABLE debug_sessions ADD COLUMN closed_at timestamptz CHECK (closed_at IS NULL OR ended_at IS NOT NULL);
UPDATE debug_sessions SET closed_at = ended_at WHERE ended_at IS NOT NULL;
UPDATE debug_sessions SET others_stop_epoch = stop_epoch WHERE state = 'stopped';

INSERT INTO debug_threads (debug_session_id, thread_id, name, stop_epoch, changed_epoch, last_event, awaits_place)
SELECT debug_stops.debug_session_id, debug_stops.thread_id, debug_stops.name, debug_stops.stop_epoch, debug_stops.stop_epoch, 0, false
FROM debug_stops JOIN debug_sessions ON debug_sessions.id = debug_stops.debug_session_id
WHERE debug_sessions.state = 'stopped' AND debug_stops.stop_epoch = debug_sessions.stop_epoch;
INSERT INTO debug_threads (debug_session_id, thread_id, name, stop_epoch, changed_epoch, last_event, awaits_place)
SELECT id, stop_thread_id, '', stop_epoch, stop_epoch, 0, false FROM debug_sessions
WHERE stop_thread_id IS NOT NULL
ON CONFLICT (debug_session_id, thread_id) DO NOTHING;
UPDATE debug_threads SET
  stop_reason = debug_sessions.stop_reason,
  stop_description = debug_sessions.stop_description,
  hit_breakpoint_ids = debug_sessions.hit_breakpoint_ids
FROM debug_sessions
WHERE debug_sessions.id = debug_threads.debug_session_id AND debug_sessions.stop_thread_id = debug_threads.thread_id;

-- An adapter that numbers nothing sends the number 0.
ALTER TABLE debug_events DROP CONSTRAINT debug_events_seq_check;
ALTER TABLE debug_events ADD CONSTRAINT debug_events_seq_check CHECK (seq >= 0);
CREATE INDEX debug_events_seq ON debug_events (debug_session_id, adapter_run, seq);

-- down

DROP INDEX debug_events_seq;
UPDATE debug_events SET seq = position WHERE seq = 0;
ALTER TABLE debug_events DROP CONSTRAINT debug_events_seq_check;
ALTER TABLE debug_events ADD CONSTRAINT debug_events_seq_check CHECK (seq > 0);
UPDATE debug_sessions SET last_event = (
  SELECT max(seq) FROM debug_events
  WHERE debug_session_id = debug_sessions.id AND debug_events.adapter_run = debug_sessions.adapter_run)
WHERE last_event < (
  SELECT max(seq) FROM debug_events
  WHERE debug_session_id = debug_sessions.id AND debug_events.adapter_run = debug_sessions.adapter_run);
ALTER TABLE debug_sessions DROP COLUMN closed_at;
ALTER TABLE debug_sessions DROP COLUMN event_counts;
ALTER TABLE debug_sessions DROP COLUMN process;
ALTER TABLE debug_sessions DROP COLUMN stale_frame_ids;
ALTER TABLE debug_sessions DROP COLUMN others_last_event;
ALTER TABLE debug_sessions DROP COLUMN others_changed_epoch;
ALTER TABLE debug_sessions DROP COLUMN others_stop_epoch;
DROP TABLE debug_threads;
