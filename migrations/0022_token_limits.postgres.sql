-- Limits of tokens: to repositories, or to one session, with which the token ends.
-- up

-- Ids separated by blanks, in their order. Null: all repositories.
ALTER TABLE tokens ADD COLUMN repository_ids text COLLATE "C" CHECK (repository_ids <> '');
-- No foreign key: a token outlives its session as a record of who had access.
ALTER TABLE tokens ADD COLUMN session_id uuid;
CREATE INDEX tokens_session ON tokens (session_id) WHERE session_id IS NOT NULL;

-- down

-- Without its limits, a token would reach everything.
UPDATE tokens SET revoked_at = now(), revoked_reason = 'its limits were removed with the schema', version = version + 1
WHERE (repository_ids IS NOT NULL OR session_id IS NOT NULL) AND revoked_at IS NULL;
DROP INDEX tokens_session;
ALTER TABLE tokens DROP COLUMN session_id;
ALTER TABLE tokens DROP COLUMN repository_ids;
