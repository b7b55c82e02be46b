-- Sealed logs move to a log archive: log_blocks is the index of the objects there, and log_moves holds the moves that
-- have begun and the objects that are to be deleted.
-- up

CREATE TABLE log_blocks (
  attempt_id bigint NOT NULL REFERENCES attempts (id) ON DELETE CASCADE,
  start_offset bigint NOT NULL CHECK (start_offset >= 0),
  end_offset bigint NOT NULL,
  byte_length bigint NOT NULL CHECK (byte_length BETWEEN 1 AND end_offset - start_offset),
  start_line bigint NOT NULL CHECK (start_line >= 0),
  end_line bigint NOT NULL CHECK (end_line >= start_line),
  object_offset bigint NOT NULL CHECK (object_offset >= 0),
  object_length bigint NOT NULL CHECK (object_length > 0),
  raw_length bigint NOT NULL CHECK (raw_length > byte_length),
  checksum bigint NOT NULL,
  PRIMARY KEY (attempt_id, start_offset)
);

CREATE TABLE log_moves (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  attempt_id bigint UNIQUE,
  phase text COLLATE "C" NOT NULL CHECK (phase = 'wanted' OR phase = 'writing' OR phase = 'clearing' OR phase = 'discarding'),
  fence bigint NOT NULL DEFAULT 0,
  uri text COLLATE "C",
  due_at timestamptz NOT NULL,
  CHECK ((phase = 'wanted') = (uri IS NULL)),
  CHECK (phase = 'discarding' OR attempt_id IS NOT NULL)
);

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
