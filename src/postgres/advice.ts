// Advice on backups of PostgreSQL, which has its own tools for them:
// https://www.postgresql.org/docs/current/backup-dump.html

import { StoreError } from "../errors.ts";
import { quote } from "../shell.ts";

/** Returns the commands to run. They lack the password, which the tools read from PGPASSWORD or ~/.pgpass. */
export function dumpAdvice(url: string) {
  const { username, host, pathname } = new URL(url);
  const server = `postgres://${username === "" ? "" : `${username}@`}${host}`;
  const database = decodeURIComponent(pathname.slice(1));
  const [source, restored] = [quote(`${server}${pathname}`), `${database}_restored`];
  return {
    dump: `pg_dump --format=custom --file=metadata.dump ${source}`,
    list: "pg_restore --list metadata.dump",
    // Into a new database, because --clean fails where a later migration refers to what the dump would drop.
    restore: `createdb --maintenance-db=${source} ${quote(restored)} && pg_restore --single-transaction --dbname=${quote(`${server}/${encodeURIComponent(restored)}`)} metadata.dump`,
  } as const;
}

/** Builds the error for a backup command on PostgreSQL, with the command to run instead. */
export function backupRefusal(url: string, what: "dump" | "list" | "restore"): StoreError {
  const { [what]: line, ...others } = dumpAdvice(url);
  return new StoreError("incompatible", `backups of PostgreSQL are made with its own tools: run ${line}`, {
    details: { reason: "postgres", [what]: line, ...others },
  });
}
