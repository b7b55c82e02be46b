// Prepares the statements of one SQLite connection, and converts their values to SQLite's types.

import { types } from "node:util";
import type Database from "better-sqlite3";
import { requireValue } from "../driverOutcome.ts";
import type { SqlValue } from "../sql.ts";
import { translate } from "./errors.ts";

export interface Prepared {
  readonly statement: Database.Statement<unknown[]>;
  readonly readonly: boolean;
}

/**
 * Prepares each statement once and finds it again by the identity of its template, so there is one prepared statement
 * for each place in the code.
 */
export class PreparedStatements {
  readonly #db: Database.Database;
  readonly #prepared = new Map<readonly string[], Prepared>();

  constructor(db: Database.Database) {
    this.#db = db;
  }

  get(strings: readonly string[]): Prepared {
    return this.#prepared.get(strings) ?? this.#prepare(strings);
  }

  #prepare(strings: readonly string[]): Prepared {
    try {
      const statement = this.#db.prepare<unknown[]>(strings.join(parameter));
      const prepared = { statement, readonly: statement.readonly };
      this.#prepared.set(strings, prepared);
      return prepared;
    } catch (error) {
      throw translate(error);
    }
  }
}

/**
 * A parameter, behind a plus that changes no value. Without it, SQLite prepares a statement such as `WHERE a = ? ORDER BY
 * b` again for each new value, to plan for this value; that takes longer than to run the statement (D-109).
 */
const parameter = "+?";

/** Converts values to those that SQLite stores: times are milliseconds, booleans 0 or 1. */
export function encode(values: readonly SqlValue[]): unknown[] {
  const encoded: unknown[] = new Array(values.length);
  for (let index = 0; index < values.length; index++) encoded[index] = encodeOne(values[index] as SqlValue);
  return encoded;
}

function encodeOne(value: SqlValue): unknown {
  if (typeof value === "string" || typeof value === "number" || value === null) return value;
  if (typeof value === "boolean") return value ? 1 : 0;
  return types.isDate(value) ? value.getTime() : requireValue(value);
}
