-- What follows a failure: the next attempt of the command after a pause, or the end of the commands behind it. Commands that
-- start no earlier than a given time.
-- up

ALTER TABLE sessions ADD COLUMN on_failure text COLLATE "C" NOT NULL DEFAULT 'continue' CHECK (on_failure = 'continue' OR on_failure = 'stop');
-- The session that this one repeats, which may have been deleted.
ALTER TABLE sessions ADD COLUMN rerun_of uuid;
-- The time from which the command at the head of the queue may be claimed, while it is that alone for which it waits.
ALTER TABLE sessions ADD COLUMN due_at timestamptz;
CREATE INDEX sessions_due ON sessions (due_at) WHERE due_at IS NOT NULL;

ALTER TABLE commands ADD COLUMN retries bigint NOT NULL DEFAULT 0 CHECK (retries >= 0);
ALTER TABLE commands ADD COLUMN retry_delay_ms bigint NOT NULL DEFAULT 10000 CHECK (retry_delay_ms >= 0);
-- Its attempts that failed, and were followed by another one.
ALTER TABLE commands ADD COLUMN failed_attempts bigint NOT NULL DEFAULT 0 CHECK (failed_attempts >= 0);
ALTER TABLE commands ADD COLUMN not_before timestamptz;
ALTER TABLE commands ADD COLUMN rerun_of uuid;

-- down

ALTER TABLE commands DROP COLUMN rerun_of;
ALTER TABLE commands DROP COLUMN not_before;
ALTER TABLE commands DROP COLUMN failed_attempts;
ALTER TABLE commands DROP COLUMN retry_delay_ms;
ALTER TABLE commands DROP COLUMN retries;
-- Without these columns, what waits for its time is ready now.
UPDATE sessions SET
  ready_priority = (SELECT priority FROM commands WHERE session_id = sessions.id AND commands.state = 'queued' ORDER BY sequence LIMIT 1),
  ready_at = (SELECT queued_at - priority * interval '1 minute' FROM commands WHERE session_id = sessions.id AND commands.state = 'queued' ORDER BY sequence LIMIT 1),
  ready_requires = (SELECT commands.requires FROM commands WHERE session_id = sessions.id AND commands.state = 'queued' ORDER BY sequence LIMIT 1)
WHERE due_at IS NOT NULL;
DROP INDEX sessions_due;
ALTER TABLE sessions DROP COLUMN due_at;
ALTER TABLE sessions DROP COLUMN rerun_of;
ALTER TABLE sessions DROP COLUMN on_failure;
