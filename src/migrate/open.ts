// Chooses the engine that migrates a store. This is the place to add another one.

import { StoreError } from "../errors.ts";
import { parsePlace } from "../place.ts";
import type { Engine } from "../schema/engine.ts";
import type { LockWait } from "../schema/lockWait.ts";
import type { Dialect } from "../schema/statements.ts";
import { openSqliteEngine } from "../sqlite/migrator.ts";

export interface EngineOptions extends LockWait {
  /** Creates the database when it does not exist. */
  readonly create: boolean;
  /** Called with advice before the first migration when a backup is wanted but cannot be made from here. */
  readonly onBackupAdvice?: ((advice: string) => void) | undefined;
}

/** Opens the engine for the store at a URL. Fails with invalid_input (url), incompatible, busy or corrupt. */
export async function openEngine(url: string, options: EngineOptions): Promise<Engine> {
  const place = parsePlace(url);
  if (place.engine === "postgres") {
    // Loaded on demand, because most stores are files.
    const { openPostgresEngine } = await import("../postgres/migrator.ts");
    return await openPostgresEngine({ url: place.url, ...options });
  }
  if (place.path !== ":memory:") return openSqliteEngine({ path: place.path, ...options });
  throw new StoreError(
    "invalid_input",
    "url: a database in memory cannot be migrated, because it is new each time: name a file, such as sqlite:metadata.db",
  );
}

/** Returns the SQL dialect of the store at a URL. */
export function dialectOf(url: string): Dialect {
  return parsePlace(url).engine;
}
