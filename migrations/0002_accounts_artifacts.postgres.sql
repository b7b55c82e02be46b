-- Accounts and their tokens, artifacts of commands and sessions, and the answers to calls with an idempotency key.
-- The same tables, columns, constraints and indexes as in 0002_accounts_artifacts.sqlite.sql, in PostgreSQL's own types.
-- up

CREATE TABLE accounts (
  id uuid NOT NULL PRIMARY KEY,
  name text COLLATE "C" NOT NULL,
  name_key text COLLATE "C" NOT NULL UNIQUE,
  kind text COLLATE "C" NOT NULL CHECK (kind = 'human' OR kind = 'agent' OR kind = 'runner'),
  disabled_at timestamptz,
  version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL
);
CREATE INDEX accounts_page ON accounts (created_at, id);

CREATE TABLE tokens (
  id uuid NOT NULL PRIMARY KEY,
  account_id uuid NOT NULL REFERENCES accounts (id),
  public_id text COLLATE "C" NOT NULL UNIQUE CHECK (length(public_id) = 10),
  kind text COLLATE "C" NOT NULL CHECK (kind = 'personal' OR kind = 'runner'),
  name text COLLATE "C" NOT NULL,
  -- Of the secret itself nothing is stored.
  secret_sha256 text COLLATE "C" NOT NULL UNIQUE CHECK (length(secret_sha256) = 64),
  hint text COLLATE "C" NOT NULL,
  -- Separated by blanks, in the order of the closed list; `admin` stands alone: https://www.rfc-editor.org/rfc/rfc6749#section-3.3
  scopes text COLLATE "C" NOT NULL CHECK (scopes <> ''),
  created_by uuid REFERENCES tokens (id),
  rotated_to uuid REFERENCES tokens (id),
  expires_at timestamptz,
  revoked_at timestamptz,
  revoked_reason text COLLATE "C",
  last_used_at timestamptz,
  version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CHECK (revoked_reason IS NULL OR revoked_at IS NOT NULL),
  -- A token that was replaced ends.
  CHECK (rotated_to IS NULL OR expires_at IS NOT NULL)
);
CREATE UNIQUE INDEX tokens_name ON tokens (account_id, name) WHERE revoked_at IS NULL AND rotated_to IS NULL;
CREATE INDEX tokens_page ON tokens (created_at, id);
CREATE INDEX tokens_page_of_account ON tokens (account_id, created_at, id);
CREATE INDEX tokens_admin ON tokens (created_at) WHERE scopes = 'admin' AND revoked_at IS NULL;

CREATE TABLE artifacts (
  id uuid NOT NULL PRIMARY KEY,
  session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
  command_id uuid REFERENCES commands (id) ON DELETE CASCADE,
  attempt bigint CHECK (attempt > 0),
  name text COLLATE "C" NOT NULL CHECK (name <> ''),
  kind text COLLATE "C" NOT NULL CHECK (kind = 'log' OR kind = 'coverage' OR kind = 'junit' OR kind = 'core-dump' OR kind = 'custom'),
  state text COLLATE "C" NOT NULL CHECK (state = 'pending' OR state = 'ready' OR state = 'failed' OR state = 'deleted'),
  content_type text COLLATE "C",
  description text COLLATE "C",
  size_bytes bigint CHECK (size_bytes >= 0),
  sha256 text COLLATE "C" CHECK (length(sha256) = 64),
  uri text COLLATE "C",
  metadata json,
  -- While pending: when it is given up. Then: when it is deleted, unless it is pinned.
  expires_at timestamptz,
  pinned boolean NOT NULL DEFAULT FALSE,
  version bigint NOT NULL DEFAULT 1 CHECK (version > 0),
  created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  CHECK ((command_id IS NULL) = (attempt IS NULL)),
  CHECK ((state <> 'ready' AND state <> 'deleted') OR (size_bytes IS NOT NULL AND sha256 IS NOT NULL AND uri IS NOT NULL)),
  CHECK (state <> 'pending' OR (uri IS NULL AND expires_at IS NOT NULL))
);
-- A name is free again when what it named was deleted or has failed.
CREATE UNIQUE INDEX artifacts_name_in_command ON artifacts (session_id, command_id, attempt, name)
  WHERE command_id IS NOT NULL AND state <> 'failed' AND state <> 'deleted';
CREATE UNIQUE INDEX artifacts_name_in_session ON artifacts (session_id, name) WHERE command_id IS NULL AND state <> 'failed' AND state <> 'deleted';
CREATE INDEX artifacts_page ON artifacts (created_at, id);
CREATE INDEX artifacts_page_of_session ON artifacts (session_id, created_at, id);
CREATE INDEX artifacts_page_of_command ON artifacts (command_id, created_at, id) WHERE command_id IS NOT NULL;
CREATE INDEX artifacts_expiry ON artifacts (expires_at) WHERE expires_at IS NOT NULL AND NOT pinned AND state <> 'failed' AND state <> 'deleted';

CREATE TABLE idempotency_keys (
  operation text COLLATE "C" NOT NULL,
  -- Empty when the caller named none.
  actor text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  request_sha256 text COLLATE "C" NOT NULL CHECK (length(request_sha256) = 64),
  -- Null only within the transaction that runs the call.
  reply text COLLATE "C",
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (operation, actor, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

-- down

DROP TABLE idempotency_keys;
DROP TABLE artifacts;
DROP TABLE tokens;
DROP TABLE accounts;
