-- Places: where the directory of a worktree is. A runner has a place, and gets worktrees of it alone; the worktrees of a
-- repository are counted by place, and a path is unique within one.
-- up

-- The host says it, unless it is the name that every machine has for itself.
ALTER TABLE runners ADD COLUMN place TEXT NOT NULL DEFAULT '';
UPDATE runners SET place = substr(host, 1, 200) WHERE host <> 'localhost';

-- That of the runner that has the worktree, or else of the one that ran the last command of its last session.
ALTER TABLE worktrees ADD COLUMN place TEXT NOT NULL DEFAULT '';
UPDATE worktrees SET place = coalesce(
  (SELECT runners.place FROM runners WHERE runners.id = worktrees.lease_runner_id),
  (
    SELECT runners.place FROM attempts JOIN runners ON runners.id = attempts.runner_id
    WHERE attempts.session_id = (
      SELECT sessions.id FROM sessions
      WHERE sessions.worktree_id = worktrees.id AND sessions.started_at IS NOT NULL
      ORDER BY sessions.started_at DESC, sessions.id DESC LIMIT 1)
    ORDER BY attempts.id DESC LIMIT 1
  ),
  '');

CREATE TABLE repository_places (
  repository_id TEXT NOT NULL REFERENCES repositories (id),
  place TEXT NOT NULL,
  -- Its worktrees that are not removed: the limit is checked without counting them.
  worktree_count INTEGER NOT NULL CHECK (worktree_count >= 0),
  PRIMARY KEY (repository_id, place)
) STRICT, WITHOUT ROWID;
INSERT INTO repository_places (repository_id, place, worktree_count)
SELECT repository_id, place, count(*) FROM worktrees WHERE state <> 'removed' GROUP BY repository_id, place;

DROP INDEX worktrees_path;
DROP INDEX worktrees_quarantined;
DROP INDEX worktrees_next_free;
DROP INDEX worktrees_evictable;
DROP INDEX worktrees_any;
DROP INDEX worktrees_commit;
DROP INDEX worktrees_environment;
DROP INDEX worktrees_same;
CREATE UNIQUE INDEX worktrees_path ON worktrees (place, path) WHERE state <> 'removed';
CREATE INDEX worktrees_same ON worktrees (repository_id, place, environment_hash, commit_sha, state DESC, last_used_at) WHERE state IN ('idle', 'dirty');
CREATE INDEX worktrees_environment ON worktrees (repository_id, place, environment_hash, state DESC, last_used_at) WHERE state IN ('idle', 'dirty');
CREATE INDEX worktrees_commit ON worktrees (repository_id, place, commit_sha, state DESC, last_used_at) WHERE state IN ('idle', 'dirty');
CREATE INDEX worktrees_any ON worktrees (repository_id, place, state DESC, last_used_at) WHERE state IN ('idle', 'dirty');
CREATE INDEX worktrees_evictable ON worktrees (repository_id, place, last_used_at) WHERE state IN ('idle', 'dirty') AND NOT pinned;
CREATE INDEX worktrees_next_free ON worktrees (repository_id, place, lease_expires_at) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX worktrees_quarantined ON worktrees (repository_id, place, last_used_at) WHERE state = 'quarantined';
CREATE INDEX worktrees_page_of_place ON worktrees (place, created_at, id);

-- down

DROP INDEX worktrees_page_of_place;
DROP INDEX worktrees_quarantined;
DROP INDEX worktrees_next_free;
DROP INDEX worktrees_evictable;
DROP INDEX worktrees_any;
DROP INDEX worktrees_commit;
DROP INDEX worktrees_environment;
DROP INDEX worktrees_same;
DROP INDEX worktrees_path;
-- The same path in several places is one path from here on: all but the oldest worktree get another one.
UPDATE worktrees SET path = path || '.' || id
WHERE id IN (
  SELECT id FROM (
    SELECT id, row_number() OVER (PARTITION BY path ORDER BY created_at, id) AS number
    FROM worktrees WHERE state <> 'removed'
  ) AS numbered
  WHERE number > 1);
CREATE UNIQUE INDEX worktrees_path ON worktrees (path) WHERE state <> 'removed';
CREATE INDEX worktrees_same ON worktrees (repository_id, environment_hash, commit_sha, state DESC, last_used_at) WHERE state IN ('idle', 'dirty');
CREATE INDEX worktrees_environment ON worktrees (repository_id, environment_hash, state DESC, last_used_at) WHERE state IN ('idle', 'dirty');
CREATE INDEX worktrees_commit ON worktrees (repository_id, commit_sha, state DESC, last_used_at) WHERE state IN ('idle', 'dirty');
CREATE INDEX worktrees_any ON worktrees (repository_id, state DESC, last_used_at) WHERE state IN ('idle', 'dirty');
CREATE INDEX worktrees_evictable ON worktrees (repository_id, last_used_at) WHERE state IN ('idle', 'dirty') AND NOT pinned;
CREATE INDEX worktrees_next_free ON worktrees (repository_id, lease_expires_at) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX worktrees_quarantined ON worktrees (repository_id, last_used_at) WHERE state = 'quarantined';

DROP TABLE repository_places;
ALTER TABLE worktrees DROP COLUMN place;
ALTER TABLE runners DROP COLUMN place;
