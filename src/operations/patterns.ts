// The operations that a port may reach, as its owner names them: "commands.claim", or "commands.*" for all of one
// entity.
import { StoreError } from "../errors.ts";
import { operations } from "./table.ts";

const names: ReadonlySet<string> = new Set(
  Object.entries(operations).flatMap(([entity, verbs]) => Object.keys(verbs).map((verb) => `${entity}.${verb}`)),
);

/**
 * Returns a predicate that accepts the names of the operations matched by one of the patterns; without patterns, those
 * of all operations that a port can reach. Fails with `invalid_input` on a pattern that matches no operation.
 */
export function operationFilter(patterns: readonly string[] | undefined): (name: string) => boolean {
  if (patterns === undefined) return (name) => names.has(name);
  const allowed = new Set<string>();
  for (const pattern of patterns) {
    const matches = [...names].filter(
      (name) => name === pattern || (pattern.endsWith(".*") && name.startsWith(pattern.slice(0, -1))),
    );
    if (matches.length === 0)
      throw new StoreError(
        "invalid_input",
        `operations: ${pattern} matches no operation; name one, such as commands.claim, or commands.*`,
      );
    for (const name of matches) allowed.add(name);
  }
  return (name) => allowed.has(name);
}
