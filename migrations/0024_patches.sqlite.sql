-- Patches: a row for each, found by its hash. Sessions refer to it, and its file is handed out to be removed when it goes.
-- up

CREATE TABLE patches (
  id TEXT NOT NULL PRIMARY KEY,
  sha256 TEXT NOT NULL UNIQUE,
  uri TEXT NOT NULL,
  size_bytes INTEGER CHECK (size_bytes >= 0),
  last_used_at INTEGER NOT NULL,
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
-- Whether a patch still has a file.
CREATE INDEX patches_uri ON patches (uri);
CREATE INDEX patches_page ON patches (created_at, id);
CREATE INDEX patches_used ON patches (last_used_at, id);

ALTER TABLE sessions ADD COLUMN patch_id TEXT REFERENCES patches (id);
CREATE INDEX sessions_page_of_patch ON sessions (patch_id, created_at, id) WHERE patch_id IS NOT NULL;

CREATE TABLE files AS SELECT * FROM discarded_files;
DROP TABLE discarded_files;
CREATE TABLE discarded_files (
  id TEXT NOT NULL PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind = 'artifact' OR kind = 'log' OR kind = 'patch'),
  uri TEXT NOT NULL,
  size_bytes INTEGER CHECK (size_bytes >= 0),
  session_id TEXT,
  -- Who has it until due_at. Without an owner, due_at is the time from which it is handed out.
  owner TEXT,
  fence INTEGER NOT NULL DEFAULT 0 CHECK (fence >= 0),
  due_at INTEGER NOT NULL,
  failures INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
  last_error TEXT,
  created_at INTEGER NOT NULL,
  CHECK (owner IS NULL OR fence > 0)
) STRICT;
INSERT INTO discarded_files (id, kind, uri, size_bytes, session_id, owner, fence, due_at, failures, last_error, created_at)
SELECT id, kind, uri, size_bytes, session_id, owner, fence, due_at, failures, last_error, created_at FROM files;
DROP TABLE files;
CREATE UNIQUE INDEX discarded_files_uri ON discarded_files (uri);
CREATE INDEX discarded_files_due ON discarded_files (kind, due_at);
CREATE INDEX discarded_files_page ON discarded_files (created_at, id);
CREATE INDEX discarded_files_page_of_kind ON discarded_files (kind, created_at, id);

-- down

CREATE TABLE files AS SELECT * FROM discarded_files WHERE kind <> 'patch';
DROP TABLE discarded_files;
CREATE TABLE discarded_files (
  id TEXT NOT NULL PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind = 'artifact' OR kind = 'log'),
  uri TEXT NOT NULL,
  size_bytes INTEGER CHECK (size_bytes >= 0),
  session_id TEXT,
  -- Who has it until due_at. Without an owner, due_at is the time from which it is handed out.
  owner TEXT,
  fence INTEGER NOT NULL DEFAULT 0 CHECK (fence >= 0),
  due_at INTEGER NOT NULL,
  failures INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
  last_error TEXT,
  created_at INTEGER NOT NULL,
  CHECK (owner IS NULL OR fence > 0)
) STRICT;
INSERT INTO discarded_files (id, kind, uri, size_bytes, session_id, owner, fence, due_at, failures, last_error, created_at)
SELECT id, kind, uri, size_bytes, session_id, owner, fence, due_at, failures, last_error, created_at FROM files;
DROP TABLE files;
CREATE UNIQUE INDEX discarded_files_uri ON discarded_files (uri);
CREATE INDEX discarded_files_due ON discarded_files (kind, due_at);
CREATE INDEX discarded_files_page ON discarded_files (created_at, id);
CREATE INDEX discarded_files_page_of_kind ON discarded_files (kind, created_at, id);
DELETE FROM counters WHERE entity = 'patch' OR (entity = 'file' AND state = 'patch');

DROP INDEX sessions_page_of_patch;
ALTER TABLE sessions DROP COLUMN patch_id;
DROP TABLE patches;
DELETE FROM pruned WHERE kind = 'patches';
