-- Labels: what commands and sessions require of runners, as sets of labels in one sorted text, a label on each line.
-- up

ALTER TABLE sessions ADD COLUMN requires text COLLATE "C" NOT NULL DEFAULT '';
-- With those of the session.
ALTER TABLE commands ADD COLUMN requires text COLLATE "C" NOT NULL DEFAULT '';
-- Those of the command at the head of the queue, while a runner may claim it.
ALTER TABLE sessions ADD COLUMN ready_requires text COLLATE "C" NOT NULL DEFAULT '';

DROP INDEX sessions_ready;
CREATE INDEX sessions_ready ON sessions (ready_requires, ready_at, id) WHERE ready_at IS NOT NULL AND worktree_id IS NULL;
CREATE INDEX commands_requires ON commands (requires) WHERE requires <> '' AND ended_at IS NULL;

-- down

DROP INDEX commands_requires;
DROP INDEX sessions_ready;
CREATE INDEX sessions_ready ON sessions (ready_at, id) WHERE ready_at IS NOT NULL AND worktree_id IS NULL;
ALTER TABLE sessions DROP COLUMN ready_requires;
ALTER TABLE commands DROP COLUMN requires;
ALTER TABLE sessions DROP COLUMN requires;
