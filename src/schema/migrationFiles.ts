// Migrations: numbered files of plain SQL, one for each dialect, each with an up and a down part.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { StoreError } from "../errors.ts";
import { packageRoot } from "../package.ts";
import { type Dialect, dialects, type SqlStatement, splitStatements } from "./statements.ts";

export interface Migration {
  /** Four digits, which give the order of migrations. */
  readonly revision: string;
  readonly name: string;
  readonly file: string;
  readonly dialect: Dialect;
  readonly up: string;
  readonly down: string;
  /** The lines on which the parts begin, counted from 1. */
  readonly lines: { readonly up: number; readonly down: number };
  /** The checksum of the whole file with LF line ends, in hexadecimal. */
  readonly sha256: string;
}

export const migrationsFolder = fileURLToPath(new URL("migrations/", packageRoot));

/**
 * Reads all migrations of a dialect, oldest first. The last one is the head.
 *
 * Fails    incompatible when a file is not a migration, or two files have the same number
 */
export function readMigrations(dialect: Dialect, folder: string = migrationsFolder): readonly Migration[] {
  const migrations = namesIn(folder)
    .filter((file) => file.endsWith(`.${dialect}.sql`))
    .sort()
    .map((file) => parseMigration(file, readFileSync(join(folder, file), "utf8")));
  migrations.forEach(({ revision, file }, index) => {
    const other = migrations[index - 1];
    if (other?.revision === revision)
      throw new StoreError("incompatible", `${other.file} and ${file} have the same revision: renumber one`);
  });
  return migrations;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    throw new StoreError("invalid_input", `${folder}: there is no such folder of migrations`, { cause: error });
  }
}

/**
 * Parses the content of a file. Line ends of Windows and a byte order mark, which Git or an editor may have added, make
 * no difference to the statements and the checksum.
 *
 * Fails    incompatible when the name or the content has another form
 */
export function parseMigration(file: string, written: string): Migration {
  const content = written.replace(/^\ufeff/, "").replaceAll("\r\n", "\n");
  const [, revision, name, dialect] = /^(\d{4})_(\w+)\.(sqlite|postgres)\.sql$/.exec(file) ?? [];
  const parts = content.split(/^-- (up|down)$/m);
  const [head, first, up, second, down] = parts as [string, string, string, string, string];
  if (revision === undefined || name === undefined || parts.length !== 5 || first !== "up" || second !== "down") {
    throw new StoreError(
      "incompatible",
      `${file}: expected NNNN_name.dialect.sql with one line "-- up" and, after it, one line "-- down"`,
    );
  }
  // The line of the first character that is not white space.
  const lineOf = (part: string, before: string) => `${before}${/^\s*/.exec(part)?.[0]}`.split("\n").length;
  return {
    revision,
    name,
    file,
    dialect: dialect as Dialect,
    up: up.trim(),
    down: down.trim(),
    lines: { up: lineOf(up, head), down: lineOf(down, `${head}${up}`) },
    sha256: createHash("sha256").update(content).digest("hex"),
  };
}

/**
 * Returns the statements of a part, in order.
 *
 * Fails    incompatible when there are none, or when one would end the transaction or change a setting of the
 *          connection
 */
export function statementsOf(migration: Migration, part: "up" | "down"): readonly SqlStatement[] {
  const { file, dialect, lines } = migration;
  const statements = splitStatements(migration[part], dialect, lines[part]);
  if (statements.length === 0) {
    const remedy = part === "up" ? "write it first" : "it cannot be undone, restore a backup";
    throw new StoreError("incompatible", `${file}: the ${part} part is empty: ${remedy}`);
  }
  for (const { text, line } of statements) {
    const [word] =
      /^(BEGIN|START|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|VACUUM|ATTACH|DETACH|PRAGMA|SET|RESET)\b/i.exec(
        text,
      ) ?? [];
    if (word !== undefined)
      throw new StoreError(
        "incompatible",
        `${file}, line ${line}: ${word.toUpperCase()} is not allowed in a migration, which runs in one transaction`,
      );
  }
  return statements;
}

/** Returns the names of all tables that migrations create and keep. */
export function createdTables(migrations: readonly Migration[]): readonly string[] {
  const tables = new Set<string>();
  for (const { up } of migrations) {
    for (const [, verb, name] of up.matchAll(/^(CREATE|DROP) TABLE (\w+)/gm)) {
      if (verb === "CREATE") tables.add(name as string);
      else tables.delete(name as string);
    }
  }
  return [...tables];
}

/** Creates the files of a new migration, one for each dialect, for a person to fill in. Returns their paths. */
export function createMigration(message: string, folder: string = migrationsFolder): string[] {
  const name = message
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "_")
    .replace(/^_+|_+$/g, "")
    .slice(0, 60);
  if (name === "")
    throw new StoreError("invalid_input", "the message must contain letters or digits, because it names the files");
  const last = Math.max(0, ...namesIn(folder).map((file) => Number(/^(\d{4})_/.exec(file)?.[1] ?? 0)));
  const revision = String(last + 1).padStart(4, "0");
  const comment = message.trim().replace(/\s+/g, " ");
  const created: string[] = [];
  try {
    for (const dialect of dialects) {
      const path = join(folder, `${revision}_${name}.${dialect}.sql`);
      // The number keeps a message such as "up" from being read as the line that begins a part.
      writeFileSync(path, `-- ${revision}: ${comment}\n-- up\n\n-- down\n`, { flag: "wx" });
      created.push(path);
    }
    return created;
  } catch (error) {
    for (const path of created) rmSync(path);
    throw new StoreError("invalid_input", `the files cannot be created: ${(error as Error).message}`, { cause: error });
  }
}
