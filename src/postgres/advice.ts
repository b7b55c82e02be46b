// Names the commands that back up and restore a PostgreSQL database, which has its own tools for that:
// https://www.postgresql.org/docs/current/backup-dump.html

import { StoreError } from "../errors.ts";
import { quote } from "../shell.ts";

/** Returns the commands, without the password, which the tools read from PGPASSWORD or ~/.pgpass. */
export function dumpAdvice(url: string) {
  const { username, host, pathname } = new URL(url);
  const server = `postgres://${username === "" ? "" : `${username}@`}${host}`;
  const database = decodeURIComponent(pathname.slice(1));
  const [source, restored] = [quote(`${server}${pathname}`), `${database}_restored`];
  return {
    dump: `pg_dump --format=custom --file=metadata.dump ${source}`,
    list: "pg_restore --list metadata.dump",
    // It restores into a new database, because --clean fails when a later migration refers to a table of the dump.
    restore: `createdb --maintenance-db=${source} ${quote(restored)} && pg_restore --single-transaction --dbname=${quote(`${server}/${encodeURIComponent(restored)}`)} metadata.dump`,
  } as const;
}

/** Builds the error for a backup command on PostgreSQL, with the command to run instead. */
export function backupRefusal(url: string, command: "dump" | "list" | "restore"): StoreError {
  const { [command]: line, ...others } = dumpAdvice(url);
  return new StoreError("incompatible", `PostgreSQL is backed up with its own tools: run ${line}`, {
    details: { reason: "postgres", [command]: line, ...others },
  });
}
