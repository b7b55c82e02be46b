-- The lease of the bridge that holds the adapter of a debug session: without another call of the bridge, it ends then.
-- up

ALTER TABLE debug_sessions ADD COLUMN bridge_expires_at INTEGER CHECK (bridge_expires_at IS NULL OR ended_at IS NULL);
CREATE INDEX debug_sessions_bridges ON debug_sessions (bridge_expires_at) WHERE bridge_expires_at IS NOT NULL;

-- down

DROP INDEX debug_sessions_bridges;
ALTER TABLE debug_sessions DROP COLUMN bridge_expires_at;
