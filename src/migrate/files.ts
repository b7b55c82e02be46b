// Migrations are plain SQL files, numbered, one for each dialect, each with an up and a down part.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { StoreError } from "../errors.ts";
import { packageRoot } from "../package.ts";

export type Dialect = "sqlite" | "postgres";

export interface Migration {
  /** Four digits; the order of application. */
  readonly revision: string;
  readonly name: string;
  readonly up: string;
  readonly down: string;
  /** Of the whole file, in hexadecimal. */
  readonly sha256: string;
}

/** All migrations of a dialect, oldest first. The last one is the head. */
export function readMigrations(dialect: Dialect, folder: URL = new URL("migrations/", packageRoot)): readonly Migration[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(`.${dialect}.sql`))
    .sort()
    .map((file) => parseMigration(file, readFileSync(new URL(file, folder), "utf8")));
}

export function parseMigration(file: string, content: string): Migration {
  const [, revision, name] = /^(\d{4})_(\w+)\.\w+\.sql$/.exec(file) ?? [];
  const parts = content.split(/^-- (up|down)$/m);
  const [, first, up, second, down] = parts;
  if (revision === undefined || name === undefined || parts.length !== 5 || first !== "up" || second !== "down") {
    throw new StoreError("incompatible", `${file}: expected NNNN_name.dialect.sql with one line "-- up" and, after it, one line "-- down"`);
  }
  return { revision, name, up: (up as string).trim(), down: (down as string).trim(), sha256: createHash("sha256").update(content).digest("hex") };
}
