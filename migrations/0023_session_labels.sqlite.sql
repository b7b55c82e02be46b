-- Labels of sessions, by which lists find them.
-- up

ALTER TABLE sessions ADD COLUMN labels TEXT NOT NULL DEFAULT '{"json":{}}' CHECK (json_valid(labels));

-- The same labels, a row for each, with the time at which their session was created: the order of its lists.
CREATE TABLE session_labels (
  session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (session_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX session_labels_value ON session_labels (key, value, created_at, session_id);
CREATE INDEX session_labels_key ON session_labels (key, created_at, session_id);

-- down

DROP TABLE session_labels;
ALTER TABLE sessions DROP COLUMN labels;
