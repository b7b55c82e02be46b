-- Sealed logs move to a log archive: log_blocks is the index of the objects there, and log_moves holds the moves that
-- have begun and the objects that are to be deleted.
-- up

CREATE TABLE log_blocks (
  attempt_id INTEGER NOT NULL REFERENCES attempts (id) ON DELETE CASCADE,
  start_offset INTEGER NOT NULL CHECK (start_offset >= 0),
  end_offset INTEGER NOT NULL,
  byte_length INTEGER NOT NULL CHECK (byte_length BETWEEN 1 AND end_offset - start_offset),
  start_line INTEGER NOT NULL CHECK (start_line >= 0),
  end_line INTEGER NOT NULL CHECK (end_line >= start_line),
  object_offset INTEGER NOT NULL CHECK (object_offset >= 0),
  object_length INTEGER NOT NULL CHECK (object_length > 0),
  raw_length INTEGER NOT NULL CHECK (raw_length > byte_length),
  checksum INTEGER NOT NULL,
  PRIMARY KEY (attempt_id, start_offset)
) STRICT;

CREATE TABLE log_moves (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  attempt_id INTEGER UNIQUE,
  phase TEXT NOT NULL CHECK (phase = 'wanted' OR phase = 'writing' OR phase = 'clearing' OR phase = 'discarding'),
  fence INTEGER NOT NULL DEFAULT 0,
  uri TEXT,
  due_at INTEGER NOT NULL,
  CHECK ((phase = 'wanted') = (uri IS NULL)),
  CHECK (phase = 'discarding' OR attempt_id IS NOT NULL)
) STRICT;

CREATE INDEX log_moves_due ON log_moves (due_at, id);

-- down

-- Without its index an archived log cannot be read any more, and says so.
UPDATE counters SET amount = amount - (SELECT count(*) FROM attempts WHERE log_uri IS NOT NULL) WHERE entity = 'log' AND state = 'sealed';
UPDATE counters SET amount = amount - (SELECT coalesce(sum(next_offset - dropped_bytes), 0) FROM attempts WHERE log_uri IS NOT NULL) WHERE entity = 'log_bytes' AND state = 'sealed';
INSERT INTO counters (entity, state, amount)
SELECT 'log', 'pruned', count(*) FROM attempts WHERE log_uri IS NOT NULL
ON CONFLICT (entity, state) DO UPDATE SET amount = counters.amount + excluded.amount;
UPDATE attempts SET log_state = 'pruned', log_uri = NULL WHERE log_uri IS NOT NULL;
DROP TABLE log_moves;
DROP TABLE log_blocks;
