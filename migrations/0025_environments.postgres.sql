-- Environments: what is built once from a repository's dependencies, found by their hash. One builder at a time has the lease;
-- the others wait for it. Files that are to be removed may be those of one place.
-- up

CREATE TABLE environments (
  id uuid NOT NULL PRIMARY KEY,
  repository_id uuid NOT NULL REFERENCES repositories (id),
  place text COLLATE "C" NOT NULL,
  hash text COLLATE "C" NOT NULL,
  state text COLLATE "C" NOT NULL CHECK (state = 'building' OR state = 'ready' OR state = 'failed'),
  uri text COLLATE "C",
  size_bytes bigint CHECK (size_bytes >= 0),
  pinned boolean NOT NULL DEFAULT false,
  fence bigint NOT NULL CHECK (fence > 0),
  -- Whoever builds it.
  lease_runner_id uuid REFERENCES runners (id),
  lease_owner text COLLATE "C",
  leased_at timestamptz,
  lease_expires_at timestamptz,
  ready_at timestamptz,
  -- How often the building has failed since it was ready, and why for the last time.
  failures bigint NOT NULL DEFAULT 0 CHECK (failures >= 0),
  last_error text COLLATE "C",
  last_used_at timestamptz NOT NULL,
  use_count bigint NOT NULL DEFAULT 0 CHECK (use_count >= 0),
  version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  UNIQUE (repository_id, place, hash),
  CHECK ((state = 'building') = (lease_expires_at IS NOT NULL)),
  CHECK ((lease_expires_at IS NULL) = (leased_at IS NULL)),
  CHECK (lease_expires_at IS NOT NULL OR (lease_runner_id IS NULL AND lease_owner IS NULL)),
  CHECK (lease_expires_at IS NULL OR lease_owner IS NOT NULL),
  CHECK ((state = 'ready') = (uri IS NOT NULL)),
  CHECK ((uri IS NULL) = (size_bytes IS NULL)),
  CHECK ((uri IS NULL) = (ready_at IS NULL))
);
CREATE INDEX environments_expiry ON environments (lease_expires_at) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX environments_of_runner ON environments (lease_runner_id) WHERE lease_runner_id IS NOT NULL;
CREATE INDEX environments_evictable ON environments (place, last_used_at, id) WHERE state <> 'building' AND NOT pinned;
CREATE INDEX environments_aged ON environments (place, ready_at, id) WHERE ready_at IS NOT NULL AND state <> 'building' AND NOT pinned;
CREATE INDEX environments_used ON environments (last_used_at, id);
CREATE INDEX environments_uri ON environments (md5(uri), place) WHERE uri IS NOT NULL;
CREATE INDEX environments_page ON environments (created_at, id);
CREATE INDEX environments_page_of_repository ON environments (repository_id, created_at, id);
CREATE INDEX environments_page_of_place ON environments (place, created_at, id);
CREATE INDEX environments_page_of_state ON environments (state, created_at, id);

CREATE TABLE environment_places (
  id uuid NOT NULL PRIMARY KEY,
  place text COLLATE "C" NOT NULL UNIQUE,
  -- Its environments that are ready: what is too much is known without adding up.
  environment_count bigint NOT NULL CHECK (environment_count >= 0),
  size_bytes bigint NOT NULL CHECK (size_bytes >= 0)
);

-- The environment may go after the session, so it is no foreign key.
ALTER TABLE sessions ADD COLUMN environment_id uuid;
CREATE INDEX sessions_using_environment ON sessions (environment_id)
  WHERE environment_id IS NOT NULL AND (ended_at IS NULL OR active_commands > 0);

ALTER TABLE discarded_files DROP CONSTRAINT discarded_files_kind_check;
ALTER TABLE discarded_files ADD CONSTRAINT discarded_files_kind_check CHECK (kind = 'artifact' OR kind = 'log' OR kind = 'patch' OR kind = 'environment');
ALTER TABLE discarded_files ADD COLUMN place text COLLATE "C" NOT NULL DEFAULT '';
DROP INDEX discarded_files_uri;
DROP INDEX discarded_files_due;
CREATE UNIQUE INDEX discarded_files_uri ON discarded_files (md5(uri), place);
CREATE INDEX discarded_files_due ON discarded_files (kind, place, due_at);

-- down

DELETE FROM discarded_files WHERE kind = 'environment';
ALTER TABLE discarded_files DROP CONSTRAINT discarded_files_kind_check;
ALTER TABLE discarded_files ADD CONSTRAINT discarded_files_kind_check CHECK (kind = 'artifact' OR kind = 'log' OR kind = 'patch');
DROP INDEX discarded_files_uri;
DROP INDEX discarded_files_due;
ALTER TABLE discarded_files DROP COLUMN place;
CREATE UNIQUE INDEX discarded_files_uri ON discarded_files (md5(uri));
CREATE INDEX discarded_files_due ON discarded_files (kind, due_at);
DELETE FROM counters WHERE entity = 'environment' OR (entity = 'file' AND state = 'environment');

DROP INDEX sessions_using_environment;
ALTER TABLE sessions DROP COLUMN environment_id;
DROP TABLE environment_places;
DROP TABLE environments;
DELETE FROM pruned WHERE kind = 'environments';
