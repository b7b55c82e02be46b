-- Accounts and their tokens, artifacts of commands and sessions, and the answers to calls with an idempotency key.
-- up

CREATE TABLE accounts (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  name_key TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL CHECK (kind = 'human' OR kind = 'agent' OR kind = 'runner'),
  disabled_at INTEGER,
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX accounts_page ON accounts (created_at, id);

CREATE TABLE tokens (
  id TEXT NOT NULL PRIMARY KEY,
  account_id TEXT NOT NULL REFERENCES accounts (id),
  public_id TEXT NOT NULL UNIQUE CHECK (length(public_id) = 10),
  kind TEXT NOT NULL CHECK (kind = 'personal' OR kind = 'runner'),
  name TEXT NOT NULL,
  -- Of the secret itself nothing is stored.
  secret_sha256 TEXT NOT NULL UNIQUE CHECK (length(secret_sha256) = 64),
  hint TEXT NOT NULL,
  -- Separated by blanks, in the order of the closed list; `admin` stands alone: https://www.rfc-editor.org/rfc/rfc6749#section-3.3
  scopes TEXT NOT NULL CHECK (scopes <> ''),
  created_by TEXT REFERENCES tokens (id),
  rotated_to TEXT REFERENCES tokens (id),
  expires_at INTEGER,
  revoked_at INTEGER,
  revoked_reason TEXT,
  last_used_at INTEGER,
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  CHECK (revoked_reason IS NULL OR revoked_at IS NOT NULL),
  -- A token that was replaced ends.
  CHECK (rotated_to IS NULL OR expires_at IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX tokens_name ON tokens (account_id, name) WHERE revoked_at IS NULL AND rotated_to IS NULL;
CREATE INDEX tokens_page ON tokens (created_at, id);
CREATE INDEX tokens_page_of_account ON tokens (account_id, created_at, id);
CREATE INDEX tokens_admin ON tokens (created_at) WHERE scopes = 'admin' AND revoked_at IS NULL;

CREATE TABLE artifacts (
  id TEXT NOT NULL PRIMARY KEY,
  session_id TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  command_id TEXT REFERENCES commands (id) ON DELETE CASCADE,
  attempt INTEGER CHECK (attempt > 0),
  name TEXT NOT NULL CHECK (name <> ''),
  kind TEXT NOT NULL CHECK (kind = 'log' OR kind = 'coverage' OR kind = 'junit' OR kind = 'core-dump' OR kind = 'custom'),
  state TEXT NOT NULL CHECK (state = 'pending' OR state = 'ready' OR state = 'failed' OR state = 'deleted'),
  content_type TEXT,
  description TEXT,
  size_bytes INTEGER CHECK (size_bytes >= 0),
  sha256 TEXT CHECK (length(sha256) = 64),
  uri TEXT,
  metadata TEXT CHECK (json_valid(metadata)),
  -- While pending: when it is given up. Then: when it is deleted, unless it is pinned.
  expires_at INTEGER,
  pinned INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
  version INTEGER NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  CHECK ((command_id IS NULL) = (attempt IS NULL)),
  CHECK ((state <> 'ready' AND state <> 'deleted') OR (size_bytes IS NOT NULL AND sha256 IS NOT NULL AND uri IS NOT NULL)),
  CHECK (state <> 'pending' OR (uri IS NULL AND expires_at IS NOT NULL))
) STRICT;
-- A name is free again when what it named was deleted or has failed.
CREATE UNIQUE INDEX artifacts_name_in_command ON artifacts (session_id, command_id, attempt, name)
  WHERE command_id IS NOT NULL AND state <> 'failed' AND state <> 'deleted';
CREATE UNIQUE INDEX artifacts_name_in_session ON artifacts (session_id, name) WHERE command_id IS NULL AND state <> 'failed' AND state <> 'deleted';
CREATE INDEX artifacts_page ON artifacts (created_at, id);
CREATE INDEX artifacts_page_of_session ON artifacts (session_id, created_at, id);
CREATE INDEX artifacts_page_of_command ON artifacts (command_id, created_at, id) WHERE command_id IS NOT NULL;
CREATE INDEX artifacts_expiry ON artifacts (expires_at) WHERE expires_at IS NOT NULL AND NOT pinned AND state <> 'failed' AND state <> 'deleted';

CREATE TABLE idempotency_keys (
  operation TEXT NOT NULL,
  -- Empty when the caller named none.
  actor TEXT NOT NULL,
  key TEXT NOT NULL,
  request_sha256 TEXT NOT NULL CHECK (length(request_sha256) = 64),
  -- Null only within the transaction that runs the call.
  reply TEXT,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (operation, actor, key)
) STRICT;
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

-- down

DROP TABLE idempotency_keys;
DROP TABLE artifacts;
DROP TABLE tokens;
DROP TABLE accounts;
