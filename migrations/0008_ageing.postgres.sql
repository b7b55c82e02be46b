-- A step of priority is worth a minute of waiting. ready_at is the time from which the head of a session's queue counts as
-- queued: a minute earlier for each step of its priority. So one column says which session comes next.
-- up

UPDATE sessions SET ready_at = ready_at - ready_priority * interval '1 minute' WHERE ready_at IS NOT NULL;
DROP INDEX sessions_ready;
CREATE INDEX sessions_ready ON sessions (ready_at, id) WHERE ready_at IS NOT NULL AND worktree_id IS NULL;

-- down

UPDATE sessions SET ready_at = ready_at + ready_priority * interval '1 minute' WHERE ready_at IS NOT NULL;
DROP INDEX sessions_ready;
CREATE INDEX sessions_ready ON sessions (ready_priority DESC, ready_at, id) WHERE ready_at IS NOT NULL AND worktree_id IS NULL;
