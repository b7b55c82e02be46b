-- Objects of archived logs that are not needed any more are handed out to be removed as files are, and no longer by
-- log_moves.
-- up

INSERT INTO discarded_files (id, kind, uri, session_id, due_at, created_at)
SELECT
  substr(uri, -40, 36),
  'log',
  uri,
  (SELECT session_id FROM attempts WHERE attempts.id = log_moves.attempt_id),
  unixepoch() * 1000,
  unixepoch() * 1000
FROM log_moves WHERE phase = 'discarding';
INSERT INTO counters (entity, state, amount)
SELECT 'file', 'log', count(*) FROM discarded_files WHERE kind = 'log' HAVING count(*) > 0;
DELETE FROM log_moves WHERE attempt_id IS NULL;
-- A log whose object was being removed moves anew.
CREATE TABLE moves AS SELECT * FROM log_moves;
DROP TABLE log_moves;
CREATE TABLE log_moves (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  attempt_id INTEGER NOT NULL UNIQUE,
  phase TEXT NOT NULL CHECK (phase = 'wanted' OR phase = 'writing' OR phase = 'clearing'),
  fence INTEGER NOT NULL DEFAULT 0,
  uri TEXT,
  due_at INTEGER NOT NULL,
  CHECK ((phase = 'wanted') = (uri IS NULL))
) STRICT;
INSERT INTO log_moves (id, attempt_id, phase, fence, uri, due_at)
SELECT
  id,
  attempt_id,
  CASE WHEN phase = 'discarding' THEN 'wanted' ELSE phase END,
  fence,
  CASE WHEN phase <> 'discarding' THEN uri END,
  CASE WHEN phase = 'discarding' THEN 0 ELSE due_at END
FROM moves;
DROP TABLE moves;
CREATE INDEX log_moves_due ON log_moves (due_at, id);

-- down

CREATE TABLE moves AS SELECT * FROM log_moves;
DROP TABLE log_moves;
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
INSERT INTO log_moves (id, attempt_id, phase, fence, uri, due_at)
SELECT id, attempt_id, phase, fence, uri, due_at FROM moves;
DROP TABLE moves;
INSERT INTO log_moves (phase, uri, due_at)
SELECT 'discarding', uri, 0 FROM discarded_files WHERE kind = 'log';
CREATE INDEX log_moves_due ON log_moves (due_at, id);
DELETE FROM discarded_files WHERE kind = 'log';
DELETE FROM counters WHERE entity = 'file' AND state = 'log';
