-- Environments: what is built once from a repository's dependencies, found by their hash. One builder at a time has the lease;
-- the others wait for it. Files that are to be removed may be those of one place.
-- up

CREATE TABLE environments (
  id TEXT NOT NULL PRIMARY KEY,
  repository_id TEXT NOT NULL REFERENCES repositories (id),
  place TEXT NOT NULL,
  hash TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state = 'building' OR state = 'ready' OR state = 'failed'),
  uri TEXT,
  size_bytes INTEGER CHECK (size_bytes >= 0),
  pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
  fence INTEGER NOT NULL CHECK (fence > 0),
  -- Whoever builds it.
  lease_runner_id TEXT REFERENCES runners (id),
  lease_owner TEXT,
  leased_at INTEGER,
  lease_expires_at INTEGER,
  ready_at INTEGER,
  -- How often the building has failed since it was ready, and why for the last time.
  failures INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
  last_error TEXT,
  last_used_at INTEGER NOT NULL,
  use_count INTEGER NOT NULL DEFAULT 0 CHECK (use_count >= 0),
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (repository_id, place, hash),
  CHECK ((state = 'building') = (lease_expires_at IS NOT NULL)),
  CHECK ((lease_expires_at IS NULL) = (leased_at IS NULL)),
  CHECK (lease_expires_at IS NOT NULL OR (lease_runner_id IS NULL AND lease_owner IS NULL)),
  CHECK (lease_expires_at IS NULL OR lease_owner IS NOT NULL),
  CHECK ((state = 'ready') = (uri IS NOT NULL)),
  CHECK ((uri IS NULL) = (size_bytes IS NULL)),
  CHECK ((uri IS NULL) = (ready_at IS NULL))
) STRICT;
CREATE INDEX environments_expiry ON environments (lease_expires_at) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX environments_of_runner ON environments (lease_runner_id) WHERE lease_runner_id IS NOT NULL;
CREATE INDEX environments_evictable ON environments (place, last_used_at, id) WHERE state <> 'building' AND NOT pinned;
CREATE INDEX environments_aged ON environments (place, ready_at, id) WHERE ready_at IS NOT NULL AND state <> 'building' AND NOT pinned;
CREATE INDEX environments_used ON environments (last_used_at, id);
CREATE INDEX environments_uri ON environments (uri, place) WHERE uri IS NOT NULL;
CREATE INDEX environments_page ON environments (created_at, id);
CREATE INDEX environments_page_of_repository ON environments (repository_id, created_at, id);
CREATE INDEX environments_page_of_place ON environments (place, created_at, id);
CREATE INDEX environments_page_of_state ON environments (state, created_at, id);

CREATE TABLE environment_places (
  id TEXT NOT NULL PRIMARY KEY,
  place TEXT NOT NULL UNIQUE,
  -- Its environments that are ready: what is too much is known without adding up.
  environment_count INTEGER NOT NULL CHECK (environment_count >= 0),
  size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0)
) STRICT;

-- The environment may go after the session, so it is no foreign key.
ALTER TABLE sessions ADD COLUMN environment_id TEXT;
CREATE INDEX sessions_using_environment ON sessions (environment_id)
  WHERE environment_id IS NOT NULL AND (ended_at IS NULL OR active_commands > 0);

CREATE TABLE files AS SELECT * FROM discarded_files;
DROP TABLE discarded_files;
CREATE TABLE discarded_files (
  id TEXT NOT NULL PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind = 'artifact' OR kind = 'log' OR kind = 'patch' OR kind = 'environment'),
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
  place TEXT NOT NULL DEFAULT '',
  CHECK (owner IS NULL OR fence > 0)
) STRICT;
INSERT INTO discarded_files (id, kind, uri, size_bytes, session_id, owner, fence, due_at, failures, last_error, created_at)
SELECT id, kind, uri, size_bytes, session_id, owner, fence, due_at, failures, last_error, created_at FROM files;
DROP TABLE files;
CREATE UNIQUE INDEX discarded_files_uri ON discarded_files (uri, place);
CREATE INDEX discarded_files_due ON discarded_files (kind, place, due_at);
CREATE INDEX discarded_files_page ON discarded_files (created_at, id);
CREATE INDEX discarded_files_page_of_kind ON discarded_files (kind, created_at, id);

-- down

CREATE TABLE files AS SELECT * FROM discarded_files WHERE kind <> 'environment';
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
DELETE FROM counters WHERE entity = 'environment' OR (entity = 'file' AND state = 'environment');

DROP INDEX sessions_using_environment;
ALTER TABLE sessions DROP COLUMN environment_id;
DROP TABLE environment_places;
DROP TABLE environments;
DELETE FROM pruned WHERE kind = 'environments';
