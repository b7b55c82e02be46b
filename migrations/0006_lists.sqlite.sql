-- Lists: an index for each filter, in the order of the pages, and what a list of sessions shows: the account that
-- requested a session, and the outcome of the command that ended last.
-- up

-- The account of the token, which never changes.
ALTER TABLE sessions ADD COLUMN account_id TEXT REFERENCES accounts (id);
-- The command of this session that ended last, of those that had started. Commands are deleted only with their session.
ALTER TABLE sessions ADD COLUMN last_command_id TEXT;
ALTER TABLE sessions ADD COLUMN last_command_state TEXT CHECK (last_command_state = 'succeeded' OR last_command_state = 'failed' OR last_command_state = 'timed_out' OR last_command_state = 'cancelled' OR last_command_state = 'lost');
ALTER TABLE sessions ADD COLUMN last_exit_code INTEGER;
ALTER TABLE sessions ADD COLUMN last_signal TEXT;
UPDATE sessions SET account_id = tokens.account_id FROM tokens WHERE tokens.id = sessions.token_id;
-- A command that was cancelled in the queue never ran, and has no outcome.
UPDATE sessions SET
  last_command_id = ended.id,
  last_command_state = ended.state,
  last_exit_code = ended.exit_code,
  last_signal = ended.signal
FROM (
  SELECT commands.*, row_number() OVER (PARTITION BY session_id ORDER BY ended_at DESC, sequence DESC) AS place
  FROM commands WHERE ended_at IS NOT NULL AND started_at IS NOT NULL) AS ended
WHERE ended.session_id = sessions.id AND ended.place = 1;

-- Where two indexes look equally good to SQLite, it takes the older one: that of two filters comes before those of one.
DROP INDEX sessions_page_of_state;
DROP INDEX sessions_token;
DROP INDEX worktrees_of_runner;
CREATE INDEX sessions_page_of_repository_and_state ON sessions (repository_id, state, created_at, id);
CREATE INDEX sessions_page_of_state ON sessions (state, created_at, id);
CREATE INDEX sessions_page_of_commit ON sessions (commit_sha, created_at, id);
CREATE INDEX sessions_page_of_token ON sessions (token_id, created_at, id) WHERE token_id IS NOT NULL;
CREATE INDEX sessions_page_of_account ON sessions (account_id, created_at, id) WHERE account_id IS NOT NULL;
CREATE INDEX sessions_page_of_requester ON sessions (requested_by, created_at, id) WHERE requested_by IS NOT NULL;
CREATE INDEX commands_page_of_runner ON commands (runner_id, created_at, id) WHERE runner_id IS NOT NULL;
CREATE INDEX worktrees_page_of_repository_and_state ON worktrees (repository_id, state, created_at, id);
CREATE INDEX worktrees_page_of_state ON worktrees (state, created_at, id);
CREATE INDEX worktrees_page_of_runner ON worktrees (lease_runner_id, created_at, id) WHERE lease_runner_id IS NOT NULL;
CREATE INDEX runners_page_of_state ON runners (state, created_at, id);
CREATE INDEX runners_page_of_name ON runners (name, created_at, id);
CREATE INDEX artifacts_page_of_kind_and_state ON artifacts (kind, state, created_at, id);
CREATE INDEX artifacts_page_of_kind ON artifacts (kind, created_at, id);
CREATE INDEX artifacts_page_of_state ON artifacts (state, created_at, id);
CREATE INDEX accounts_page_of_live ON accounts (created_at, id) WHERE disabled_at IS NULL;
CREATE INDEX repositories_page_of_live ON repositories (created_at, id) WHERE archived_at IS NULL;

-- down

DROP INDEX repositories_page_of_live;
DROP INDEX accounts_page_of_live;
DROP INDEX artifacts_page_of_state;
DROP INDEX artifacts_page_of_kind;
DROP INDEX artifacts_page_of_kind_and_state;
DROP INDEX runners_page_of_name;
DROP INDEX runners_page_of_state;
DROP INDEX worktrees_page_of_runner;
DROP INDEX worktrees_page_of_state;
DROP INDEX worktrees_page_of_repository_and_state;
DROP INDEX commands_page_of_runner;
DROP INDEX sessions_page_of_requester;
DROP INDEX sessions_page_of_account;
DROP INDEX sessions_page_of_token;
DROP INDEX sessions_page_of_commit;
DROP INDEX sessions_page_of_repository_and_state;
CREATE INDEX worktrees_of_runner ON worktrees (lease_runner_id) WHERE lease_runner_id IS NOT NULL;
CREATE INDEX sessions_token ON sessions (token_id) WHERE token_id IS NOT NULL;
ALTER TABLE sessions DROP COLUMN last_signal;
ALTER TABLE sessions DROP COLUMN last_exit_code;
ALTER TABLE sessions DROP COLUMN last_command_state;
ALTER TABLE sessions DROP COLUMN last_command_id;
ALTER TABLE sessions DROP COLUMN account_id;
