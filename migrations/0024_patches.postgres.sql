-- Patches: a row for each, found by its hash. Sessions refer to it, and its file is handed out to be removed when it goes.
-- up

CREATE TABLE patches (
  id uuid NOT NULL PRIMARY KEY,
  sha256 text COLLATE "C" NOT NULL UNIQUE,
  uri text COLLATE "C" NOT NULL,
  size_bytes bigint CHECK (size_bytes >= 0),
  last_used_at timestamptz NOT NULL,
  version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
-- Whether a patch still has a file. A long text does not fit into an index.
CREATE INDEX patches_uri ON patches (md5(uri));
CREATE INDEX patches_page ON patches (created_at, id);
CREATE INDEX patches_used ON patches (last_used_at, id);

ALTER TABLE sessions ADD COLUMN patch_id uuid REFERENCES patches (id);
CREATE INDEX sessions_page_of_patch ON sessions (patch_id, created_at, id) WHERE patch_id IS NOT NULL;

ALTER TABLE discarded_files DROP CONSTRAINT discarded_files_kind_check;
ALTER TABLE discarded_files ADD CONSTRAINT discarded_files_kind_check CHECK (kind = 'artifact' OR kind = 'log' OR kind = 'patch');

-- down

DELETE FROM discarded_files WHERE kind = 'patch';
ALTER TABLE discarded_files DROP CONSTRAINT discarded_files_kind_check;
ALTER TABLE discarded_files ADD CONSTRAINT discarded_files_kind_check CHECK (kind = 'artifact' OR kind = 'log');
DELETE FROM counters WHERE entity = 'patch' OR (entity = 'file' AND state = 'patch');

DROP INDEX sessions_page_of_patch;
ALTER TABLE sessions DROP COLUMN patch_id;
DROP TABLE patches;
DELETE FROM pruned WHERE kind = 'patches';
