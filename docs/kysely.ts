// Renders the types of the tables for Kysely, from a database to which all migrations are applied.
import Database from "better-sqlite3";
import { createSchema } from "../src/schema/ledger.ts";
import { readMigrations } from "../src/schema/migrationFiles.ts";
import { runBody } from "../src/sqlite/body.ts";
import { sqliteCatalog } from "../src/sqlite/catalog.ts";

export type ColumnKind = "text" | "number" | "time" | "flag" | "json" | "bytes";

export interface Column {
  readonly name: string;
  readonly kind: ColumnKind;
  readonly isNullable: boolean;
  /** The texts that a CHECK allows; empty when it allows any. */
  readonly values: readonly string[];
}

export interface Table {
  readonly name: string;
  readonly columns: readonly Column[];
}

interface ColumnRow {
  readonly table: string;
  readonly definition: string;
  readonly name: string;
  readonly type: string;
  readonly notnull: 0 | 1;
  readonly pk: number;
}

/** Reads the tables of a new SQLite database. */
export function sqliteTables(): readonly Table[] {
  const db = new Database(":memory:");
  runBody(
    db,
    createSchema(sqliteCatalog, readMigrations("sqlite"), () => 0),
  );
  const rows = db
    .prepare<[], ColumnRow>(`
      SELECT tables.name AS "table", tables.sql AS definition, columns.name, columns.type, columns."notnull", columns.pk
      FROM sqlite_schema AS tables JOIN pragma_table_xinfo(tables.name) AS columns
      WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
      ORDER BY tables.name, columns.cid`)
    .all();
  db.close();
  return [...Map.groupBy(rows, ({ table }) => table)].map(([name, columns]) => ({
    name,
    columns: columns.map((column) => ({
      name: column.name,
      kind: kindOf(column),
      // A primary key that is the number of the row is never null, and does not say so.
      isNullable: column.notnull === 0 && column.pk === 0,
      values: valuesOf(column),
    })),
  }));
}

function kindOf({ name, type, definition }: ColumnRow): ColumnKind {
  if (type === "BLOB") return "bytes";
  if (type === "TEXT") return definition.includes(`json_valid(${name})`) ? "json" : "text";
  const isFlag = [`${name} IN (0, 1)`, `${name} = 0 OR ${name} = 1`].some((check) =>
    definition.includes(`CHECK (${check})`),
  );
  if (isFlag) return "flag";
  // SQLite has no type for times; the names of their columns end alike.
  return /(?:^|_)(?:at|not_before)$/.test(name) ? "time" : "number";
}

/** Reads a CHECK that lists what a column may hold: CHECK (state = 'idle' OR state = 'dirty'). */
function valuesOf({ name, definition }: ColumnRow): readonly string[] {
  const one = `${name} = '[^']*'`;
  const list = new RegExp(`CHECK \\((${one}(?: OR ${one})*)\\)`).exec(definition)?.[1] ?? "";
  return [...list.matchAll(/'([^']*)'/g)].map(([, value]) => value as string);
}

const types: Readonly<Record<ColumnKind, string>> = {
  text: "string",
  number: "number",
  time: "Milliseconds",
  flag: "Flag",
  json: "JsonText",
  bytes: "Uint8Array",
};

export function renderDatabase(tables: readonly Table[] = sqliteTables()): string {
  const interfaces = tables.map(
    ({ name, columns }) => `export interface ${interfaceOf(name)} {\n${columns.map(renderColumn).join("")}}\n`,
  );
  const database = tables.map(({ name }) => `  readonly ${name}: ${interfaceOf(name)};\n`).join("");
  return `${head}\n${interfaces.join("\n")}
/** The tables of a store, the same on SQLite and PostgreSQL. They follow the migrations, so a version may change them. */
export interface DebugServerDatabase {
${database}}
`;
}

const head = `// The tables of a store as Kysely knows them. Generated from the migrations by \`npm run docs\`.
import type { ColumnType } from "kysely";

/** A time: milliseconds since 1970-01-01 UTC. */
export type Milliseconds = number;

/** A truth value: 1 or 0. */
export type Flag = 0 | 1;

/** The text of a JSON column, which \`parseJson\` turns into the value. */
export type JsonText = string;

/** Stands where a value would be written. There is no value of this type. */
export interface OnlyReads {
  readonly [onlyReads]: never;
}
declare const onlyReads: unique symbol;

type Column<Value> = ColumnType<Value, OnlyReads, OnlyReads>;
`;

function renderColumn({ name, kind, isNullable, values }: Column): string {
  const kinds = values.length === 0 ? [types[kind]] : values.map((value) => JSON.stringify(value));
  const type = [...kinds, ...(isNullable ? ["null"] : [])];
  const line = `  readonly ${name}: Column<${type.join(" | ")}>;\n`;
  if (line.length <= lineLength) return line;
  const inner = `    ${type.join(" | ")}\n`;
  const broken = inner.length <= lineLength ? inner : type.map((part) => `    | ${part}\n`).join("");
  return `  readonly ${name}: Column<\n${broken}  >;\n`;
}

/** The length at which the formatter breaks a line, with the line end. */
const lineLength = 121;

function interfaceOf(table: string): string {
  return `${table.replaceAll(/(?:^|_)(\w)/g, (_, letter: string) => letter.toUpperCase())}Table`;
}
