// Names the commands that back up and restore a PostgreSQL database, which has its own tools for that:
// https://www.postgresql.org/docs/current/backup-dump.html

import { StoreError } from "../errors.ts";
import { toolUrl } from "../place.ts";
import { readPostgresUrl } from "../postgresUrl.ts";
import { quote } from "../shell.ts";

/** Returns the commands, without the password, which the tools read from PGPASSWORD or ~/.pgpass. */
export function dumpAdvice(url: string) {
  const restored = (name: string) => `${name}_restored`;
  const [source, target] = [quote(toolUrl(url)), quote(toolUrl(url, restored))];
  const name = quote(restored(readPostgresUrl(url)?.database ?? ""));
  return {
    dump: `pg_dump --format=custom --file=metadata.dump ${source}`,
    list: "pg_restore --list metadata.dump",
    // It restores into a new database, because --clean fails when a later migration refers to a table of the dump.
    restore: `createdb --maintenance-db=${source} ${name} && pg_restore --single-transaction --dbname=${target} metadata.dump`,
  } as const;
}

/** Builds the error for a backup command on PostgreSQL, with the command to run instead. */
export function backupRefusal(url: string, command: "dump" | "list" | "restore"): StoreError {
  const { [command]: line, ...others } = dumpAdvice(url);
  return new StoreError("incompatible", `PostgreSQL is backed up with its own tools: run ${line}`, {
    details: { reason: "postgres", [command]: line, ...others },
  });
}
