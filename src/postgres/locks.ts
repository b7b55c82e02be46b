// The advisory locks with which the processes of this package exclude each other.

/** "DSDB" in ASCII: the first key of each advisory lock. The second key is one of those below. */
export const lockClass = 0x44534442;

/**
 * The class of the locks that connections of stores hold while they are open, shared with each other. The second key is
 * the number of the schema, because several stores may be in one database.
 */
export const openClass = 0x44534f50;

/** The second key of the lock above. It has no value, and nothing is locked, without a schema. */
export const openKey = "(SELECT oid::int FROM pg_namespace WHERE nspname = current_schema())";

/** The lock held while a database is opened or migrated. */
export const migrationLock = 1;

/**
 * The lock held from the first change row of a transaction to the end of its COMMIT, so that change rows are numbered
 * in commit order.
 */
export const commitOrderLock = 2;
