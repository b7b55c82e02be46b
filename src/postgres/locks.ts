// The advisory locks with which the processes of this package exclude each other. Each has a class of its own, which is
// four letters in ASCII; its second key is the number of the schema, because several stores may be in one database.

/** The class of the locks that connections of stores hold while they are open, shared with each other: DSOP. */
export const openClass = 0x44534f50;

/** The class of the lock held while a database is opened or migrated: DSMI. */
export const migrationClass = 0x44534d49;

/**
 * The class of the lock held from the first change row of a transaction to the end of its COMMIT, so that change rows are
 * numbered in commit order: DSCO.
 */
export const commitOrderClass = 0x4453434f;

/** The second key of these locks. It has no value, and nothing is locked, without a schema. */
export const schemaKey = "(SELECT oid::int FROM pg_namespace WHERE nspname = current_schema())";
