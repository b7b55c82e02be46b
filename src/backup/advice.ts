// PostgreSQL has its own tools for backups: which line to run. https://www.postgresql.org/docs/current/backup-dump.html
import { StoreError } from "../errors.ts";

/** `name`: of the database, without its password, which pg_dump reads from PGPASSWORD or ~/.pgpass. */
export function dumpAdvice(name: string) {
  return {
    dump: `pg_dump --format=custom --file=metadata.dump ${name}`,
    list: "pg_restore --list metadata.dump",
    restore: `pg_restore --clean --if-exists --single-transaction --dbname=${name} metadata.dump`,
  } as const;
}

export function notHere(name: string, what: "dump" | "list" | "restore"): StoreError {
  const { [what]: line, ...others } = dumpAdvice(name);
  return new StoreError("incompatible", `backups of PostgreSQL are made with its own tools: run ${line}`, {
    details: { reason: "postgres", [what]: line, ...others },
  });
}
