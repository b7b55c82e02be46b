-- Files that the store no longer needs, until a collector has removed them. A row has the id of what named the file, and
-- outlives it, so it refers to no other table.
-- up

CREATE TABLE discarded_files (
  id uuid NOT NULL PRIMARY KEY,
  kind text COLLATE "C" NOT NULL CHECK (kind = 'artifact' OR kind = 'log'),
  uri text COLLATE "C" NOT NULL,
  size_bytes bigint CHECK (size_bytes >= 0),
  session_id uuid,
  -- Who has it until due_at. Without an owner, due_at is the time from which it is handed out.
  owner text COLLATE "C",
  fence bigint NOT NULL DEFAULT 0 CHECK (fence >= 0),
  due_at timestamptz NOT NULL,
  failures bigint NOT NULL DEFAULT 0 CHECK (failures >= 0),
  last_error text COLLATE "C",
  created_at timestamptz NOT NULL,
  CHECK (owner IS NULL OR fence > 0)
);
-- A long text does not fit into an index.
CREATE UNIQUE INDEX discarded_files_uri ON discarded_files (md5(uri));
CREATE INDEX discarded_files_due ON discarded_files (kind, due_at);
CREATE INDEX discarded_files_page ON discarded_files (created_at, id);
CREATE INDEX discarded_files_page_of_kind ON discarded_files (kind, created_at, id);
-- Whether another artifact still has the file.
CREATE INDEX artifacts_uri ON artifacts (md5(uri)) WHERE state = 'ready';

-- down

DROP INDEX artifacts_uri;
DROP TABLE discarded_files;
