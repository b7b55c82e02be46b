// The advisory locks with which the processes of this package exclude each other.

/** "DSDB" in ASCII: the first key of each advisory lock. The second key is one of those below. */
export const lockClass = 0x44534442;

/** The lock held while a database is opened or migrated. */
export const migrationLock = 1;

/**
 * The lock held from the first change row of a transaction to the end of its COMMIT, so that change rows are numbered
 * in commit order.
 */
export const commitOrderLock = 2;
