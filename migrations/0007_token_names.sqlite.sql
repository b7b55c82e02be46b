-- An expired token gives up its name when its account needs it for another token. An index cannot know the time, so the
-- moment is recorded.
-- up

ALTER TABLE tokens ADD COLUMN name_freed_at INTEGER;
DROP INDEX tokens_name;
CREATE UNIQUE INDEX tokens_name ON tokens (account_id, name)
  WHERE revoked_at IS NULL AND rotated_to IS NULL AND name_freed_at IS NULL;

-- down

-- Such a token has expired, so it loses nothing when it is revoked, which frees its name too.
UPDATE tokens SET revoked_at = name_freed_at, revoked_reason = 'expired' WHERE name_freed_at IS NOT NULL AND revoked_at IS NULL;
DROP INDEX tokens_name;
ALTER TABLE tokens DROP COLUMN name_freed_at;
CREATE UNIQUE INDEX tokens_name ON tokens (account_id, name) WHERE revoked_at IS NULL AND rotated_to IS NULL;
