// PostgreSQL has its own tools for backups: which line to run. https://www.postgresql.org/docs/current/backup-dump.html

import { StoreError } from "../errors.ts";
import { quote } from "../shell.ts";

/** Without the password, which the tools read from PGPASSWORD or ~/.pgpass. */
export function dumpAdvice(url: string) {
  const { username, host, pathname } = new URL(url);
  const server = `postgres://${username === "" ? "" : `${username}@`}${host}`;
  const database = decodeURIComponent(pathname.slice(1));
  const [source, restored] = [quote(`${server}${pathname}`), `${database}_restored`];
  return {
    dump: `pg_dump --format=custom --file=metadata.dump ${source}`,
    list: "pg_restore --list metadata.dump",
    // Into a database of its own: --clean fails where a later migration refers to what the dump would drop.
    restore: `createdb --maintenance-db=${source} ${quote(restored)} && pg_restore --single-transaction --dbname=${quote(`${server}/${encodeURIComponent(restored)}`)} metadata.dump`,
  } as const;
}

export function backupRefusal(url: string, what: "dump" | "list" | "restore"): StoreError {
  const { [what]: line, ...others } = dumpAdvice(url);
  return new StoreError("incompatible", `backups of PostgreSQL are made with its own tools: run ${line}`, {
    details: { reason: "postgres", [what]: line, ...others },
  });
}
