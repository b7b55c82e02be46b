-- Counters of rows by state, and of the bytes of sealed logs: figures of the store that cost the same however many rows it
-- has. Every transaction adds to them what it counts, with its rows of changes.
-- up

CREATE TABLE counters (
  entity TEXT NOT NULL,
  state TEXT NOT NULL,
  amount INTEGER NOT NULL,
  PRIMARY KEY (entity, state)
) STRICT, WITHOUT ROWID;
INSERT INTO counters (entity, state, amount)
SELECT 'account', CASE WHEN disabled_at IS NULL THEN 'enabled' ELSE 'disabled' END, count(*) FROM accounts GROUP BY 2
UNION ALL SELECT 'artifact', state, count(*) FROM artifacts GROUP BY 2
UNION ALL SELECT 'command', state, count(*) FROM commands GROUP BY 2
UNION ALL SELECT 'debug_session', state, count(*) FROM debug_sessions GROUP BY 2
UNION ALL SELECT 'file', kind, count(*) FROM discarded_files GROUP BY 2
UNION ALL SELECT 'log', log_state, count(*) FROM attempts GROUP BY 2
UNION ALL SELECT 'log_bytes', log_state, sum(next_offset - dropped_bytes) FROM attempts WHERE log_state = 'sealed' GROUP BY 2
UNION ALL SELECT 'repository', CASE WHEN archived_at IS NULL THEN 'active' ELSE 'archived' END, count(*) FROM repositories GROUP BY 2
UNION ALL SELECT 'runner', state, count(*) FROM runners GROUP BY 2
UNION ALL SELECT 'session', state, count(*) FROM sessions GROUP BY 2
UNION ALL SELECT 'token', CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN rotated_to IS NOT NULL THEN 'rotated' ELSE 'live' END, count(*) FROM tokens GROUP BY 2
UNION ALL SELECT 'worktree', state, count(*) FROM worktrees GROUP BY 2;

-- down

DROP TABLE counters;
