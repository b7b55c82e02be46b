// Which engine migrates which store. The one place to add another.

import { StoreError } from "../errors.ts";
import { parsePlace } from "../place.ts";
import type { Engine, LockWait } from "../schema/engine.ts";
import type { Dialect } from "../schema/statements.ts";

import { openSqliteEngine } from "../sqlite/migrator.ts";

export interface EngineOptions extends LockWait {
  /** Makes the database when there is none. */
  readonly create: boolean;
  /** Told before the first migration, when a backup is wanted and cannot be made from here. */
  readonly onBackupAdvice?: ((advice: string) => void) | undefined;
}

/** Fails invalid_input (url) | incompatible | busy | corrupt. */
export async function openEngine(url: string, options: EngineOptions): Promise<Engine> {
  const place = parsePlace(url);
  if (place.engine === "postgres") {
    // Loaded when it is asked for: most stores are files.
    const { openPostgresEngine } = await import("../postgres/migrator.ts");
    return await openPostgresEngine({ url: place.url, ...options });
  }
  if (place.path !== ":memory:") return openSqliteEngine({ path: place.path, ...options });
  throw new StoreError(
    "invalid_input",
    "url: a database in memory is new each time: name a file, such as sqlite:metadata.db",
  );
}

export function dialectOf(url: string): Dialect {
  return parsePlace(url).engine;
}
