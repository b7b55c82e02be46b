// Names the prepared statements of one driver, and converts their values to the form in which `pg` sends them.

import { types } from "node:util";
import { requireValue } from "../driverOutcome.ts";
import type { SqlValue } from "../sql.ts";

export interface Prepared {
  /** The server prepares a statement when it first sees its name on a connection. */
  readonly name: string;
  readonly text: string;
  readonly readonly: boolean;
}

/**
 * Names each statement once and finds it again by the identity of its template, so there is one name for each place in
 * the code.
 */
export class PreparedStatements {
  readonly #prepared = new Map<readonly string[], Prepared>();

  get(strings: readonly string[]): Prepared {
    return this.#prepared.get(strings) ?? this.#prepare(strings);
  }

  #prepare(strings: readonly string[]): Prepared {
    const text = withPlaceholders(strings)
      // No body changes a key, so rows that refer to a locked row need not wait (D-042):
      // https://www.postgresql.org/docs/current/explicit-locking.html
      .replace(/\/\*\+ FOR UPDATE( OF \w+)?( SKIP LOCKED)? \*\//g, "FOR NO KEY UPDATE$1$2")
      .replace(
        /\/\*\+ (\* interval '1 millisecond'|::timestamptz|::text(?: COLLATE "C")?|::uuid|AND FALSE) \*\//g,
        "$1",
      )
      .replace(/\/\*\+ (\(|ORDER BY [^*]*\)) \*\//g, "$1")
      .trim();
    const prepared = {
      name: `s${this.#prepared.size}`,
      text,
      readonly: /^\(?\s*(?:SELECT|WITH RECURSIVE)\b/i.test(text),
    };
    this.#prepared.set(strings, prepared);
    return prepared;
  }
}

/** Returns the text of a statement with PostgreSQL's placeholders ($1, $2, ...) in the place of its values. */
export function withPlaceholders(strings: readonly string[]): string {
  return strings.reduce((text, part, index) => `${text}$${index}${part}`);
}

/** Converts a value to one that `pg` sends as the schema expects: times are ISO text in UTC. */
export function encode(value: SqlValue): unknown {
  return types.isDate(value) ? value.toISOString() : requireValue(value);
}
