-- Consumers of the change feed are read by one holder at a time, which has a lease on the position.
-- up

-- The name that the holder has given, for people.
ALTER TABLE feed_consumers ADD COLUMN owner TEXT;
ALTER TABLE feed_consumers ADD COLUMN fence INTEGER NOT NULL DEFAULT 0 CHECK (fence >= 0);
-- Null while nobody has asked for changes, or when all of them are acknowledged.
ALTER TABLE feed_consumers ADD COLUMN lease_expires_at INTEGER;
CREATE INDEX feed_consumers_leased ON feed_consumers (lease_expires_at) WHERE lease_expires_at IS NOT NULL;

-- down

DROP INDEX feed_consumers_leased;
ALTER TABLE feed_consumers DROP COLUMN lease_expires_at;
ALTER TABLE feed_consumers DROP COLUMN fence;
ALTER TABLE feed_consumers DROP COLUMN owner;
