-- Times in archived logs: when which of their parts were written, so that logs.timeline needs no object of the archive.
-- up

-- A JSON list of [time, offset, line] for some of the chunks in the block; null for logs that were archived before.
ALTER TABLE log_blocks ADD COLUMN times text COLLATE "C";

-- down

ALTER TABLE log_blocks DROP COLUMN times;
