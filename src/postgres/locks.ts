// The advisory locks of this package, by which its processes keep out of each other's way.

/** "DSDB" in ASCII: the first key of each advisory lock. The second key says what the lock is for. */
export const lockClass = 0x44534442;

/** Held while a database is opened or migrated. */
export const migrationLock = 1;

/**
 * Held from the first change row of a transaction to the end of its COMMIT, so that change rows are numbered in commit
 * order.
 */
export const commitOrderLock = 2;
