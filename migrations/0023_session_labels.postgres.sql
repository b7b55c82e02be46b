-- Labels of sessions, by which lists find them.
-- up

ALTER TABLE sessions ADD COLUMN labels json NOT NULL DEFAULT '{"json":{}}';

-- The same labels, a row for each, with the time at which their session was created: the order of its lists.
CREATE TABLE session_labels (
  session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  key text COLLATE "C" NOT NULL,
  value text COLLATE "C" NOT NULL,
  created_at timestamptz NOT NULL,
  PRIMARY KEY (session_id, key)
);
CREATE INDEX session_labels_value ON session_labels (key, value, created_at, session_id);
CREATE INDEX session_labels_key ON session_labels (key, created_at, session_id);

-- down

DROP TABLE session_labels;
ALTER TABLE sessions DROP COLUMN labels;
