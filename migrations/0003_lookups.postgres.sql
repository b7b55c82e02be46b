-- Two look-ups that walked: the history of one session, past the changes of all others, and the commands in one state, past those that have
-- ended. And what befell a session's worktree becomes a part of that history: such changes did not name their session.
-- up

CREATE INDEX commands_page_of_state ON commands (state, created_at, id);

-- A fence is granted once, and an ended session still knows the one it held.
UPDATE changes SET session_id = sessions.id
FROM sessions
WHERE changes.entity = 'worktree' AND changes.session_id IS NULL
  AND sessions.worktree_id::text = changes.entity_id AND sessions.worktree_fence = changes.fence;

CREATE INDEX changes_of_session ON changes (session_id, seq) WHERE session_id IS NOT NULL;

-- down

-- The changes keep their sessions, which are true before and after.
DROP INDEX changes_of_session;
DROP INDEX commands_page_of_state;
