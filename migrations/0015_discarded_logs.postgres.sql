-- Objects of archived logs that are not needed any more are handed out to be removed as files are, and no longer by
-- log_moves.
-- up

INSERT INTO discarded_files (id, kind, uri, session_id, due_at, created_at)
SELECT
  left(right(uri, 40), 36)::uuid,
  'log',
  uri,
  (SELECT session_id FROM attempts WHERE attempts.id = log_moves.attempt_id),
  now(),
  now()
FROM log_moves WHERE phase = 'discarding';
INSERT INTO counters (entity, state, amount)
SELECT 'file', 'log', count(*) FROM discarded_files WHERE kind = 'log' HAVING count(*) > 0;
DELETE FROM log_moves WHERE attempt_id IS NULL;
-- A log whose object was being removed moves anew.
UPDATE log_moves SET phase = 'wanted', uri = NULL, due_at = 'epoch' WHERE phase = 'discarding';
ALTER TABLE log_moves DROP CONSTRAINT log_moves_phase_check;
ALTER TABLE log_moves DROP CONSTRAINT log_moves_check1;
ALTER TABLE log_moves ADD CONSTRAINT log_moves_phase_check CHECK (phase = 'wanted' OR phase = 'writing' OR phase = 'clearing');
ALTER TABLE log_moves ALTER COLUMN attempt_id SET NOT NULL;

-- down

ALTER TABLE log_moves ALTER COLUMN attempt_id DROP NOT NULL;
ALTER TABLE log_moves DROP CONSTRAINT log_moves_phase_check;
ALTER TABLE log_moves ADD CONSTRAINT log_moves_phase_check CHECK (phase = 'wanted' OR phase = 'writing' OR phase = 'clearing' OR phase = 'discarding');
ALTER TABLE log_moves ADD CONSTRAINT log_moves_check1 CHECK (phase = 'discarding' OR attempt_id IS NOT NULL);
INSERT INTO log_moves (phase, uri, due_at)
SELECT 'discarding', uri, 'epoch' FROM discarded_files WHERE kind = 'log';
DELETE FROM discarded_files WHERE kind = 'log';
DELETE FROM counters WHERE entity = 'file' AND state = 'log';
