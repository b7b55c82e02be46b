-- Breakpoints that a debug adapter has made by itself are told from those that clients asked for, and reports about a
-- breakpoint that come before the answer which binds it wait for that answer.
-- up

ALTER TABLE debug_breakpoints ADD COLUMN origin text COLLATE "C" NOT NULL DEFAULT 'client' CHECK (origin = 'client' OR origin = 'adapter');
-- The position of the last event when the breakpoint was set, or was reported by an event.
ALTER TABLE debug_breakpoints ADD COLUMN as_of bigint NOT NULL DEFAULT 0 CHECK (as_of >= 0);

CREATE TABLE debug_early_reports (
  debug_session_id uuid NOT NULL REFERENCES debug_sessions (id) ON DELETE CASCADE,
  adapter_id bigint NOT NULL,
  -- The position of the last event about it.
  position bigint NOT NULL CHECK (position > 0),
  removed boolean NOT NULL,
  -- Nothing if it was only hit.
  bound json,
  hit_count bigint NOT NULL CHECK (hit_count >= 0),
  PRIMARY KEY (debug_session_id, adapter_id)
);
CREATE INDEX debug_early_reports_age ON debug_early_reports (debug_session_id, position);

-- down

DROP TABLE debug_early_reports;
ALTER TABLE debug_breakpoints DROP COLUMN as_of;
ALTER TABLE debug_breakpoints DROP COLUMN origin;
