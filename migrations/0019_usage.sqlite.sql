-- Usage: what the program of an attempt used, as its runner reports it, and the sums of each day.
-- up

-- Null where nothing was reported.
ALTER TABLE attempts ADD COLUMN cpu_ms INTEGER CHECK (cpu_ms >= 0);
ALTER TABLE attempts ADD COLUMN memory_bytes INTEGER CHECK (memory_bytes >= 0);
ALTER TABLE attempts ADD COLUMN written_bytes INTEGER CHECK (written_bytes >= 0);

CREATE TABLE usage_days (
  kind TEXT NOT NULL CHECK (kind = 'session' OR kind = 'account' OR kind = 'requester' OR kind = 'repository'),
  -- The id of the row, or the name of the requester.
  name TEXT NOT NULL,
  -- In UTC, such as 2026-11-28.
  day TEXT NOT NULL CHECK (length(day) = 10),
  commands INTEGER NOT NULL CHECK (commands > 0),
  duration_ms INTEGER NOT NULL CHECK (duration_ms >= 0),
  cpu_ms INTEGER NOT NULL CHECK (cpu_ms >= 0),
  -- The most that one command has used.
  memory_bytes INTEGER NOT NULL CHECK (memory_bytes >= 0),
  written_bytes INTEGER NOT NULL CHECK (written_bytes >= 0),
  PRIMARY KEY (kind, name, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_days_of_kind ON usage_days (kind, day, name);
CREATE INDEX usage_days_due ON usage_days (day, kind, name);

-- down

DROP TABLE usage_days;
ALTER TABLE attempts DROP COLUMN written_bytes;
ALTER TABLE attempts DROP COLUMN memory_bytes;
ALTER TABLE attempts DROP COLUMN cpu_ms;
