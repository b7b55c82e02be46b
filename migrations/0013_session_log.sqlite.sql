-- The log of a session: its attempts are found in the order of their starts, and it has lines of its own.
-- up

CREATE TABLE session_marks (
  session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  number INTEGER NOT NULL CHECK (number > 0),
  at INTEGER NOT NULL,
  phase TEXT,
  text TEXT,
  command_id TEXT,
  attempt INTEGER,
  -- The length of the attempt's log when the mark was made.
  log_offset INTEGER,
  PRIMARY KEY (session_id, number),
  CHECK (phase IS NOT NULL OR text IS NOT NULL),
  CHECK ((command_id IS NULL) = (attempt IS NULL)),
  CHECK ((command_id IS NULL) = (log_offset IS NULL))
) STRICT, WITHOUT ROWID;

-- Always that of the command. SQLite cannot add a column that is never null.
ALTER TABLE attempts ADD COLUMN session_id TEXT;
UPDATE attempts SET session_id = (SELECT session_id FROM commands WHERE commands.id = attempts.command_id);
CREATE INDEX attempts_of_session ON attempts (session_id, id);

-- down

DROP INDEX attempts_of_session;
ALTER TABLE attempts DROP COLUMN session_id;
DROP TABLE session_marks;
