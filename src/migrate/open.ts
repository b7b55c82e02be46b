// Which engine migrates which store. The one place to add another.
import { StoreError } from "../errors.ts";
import { pathOf } from "../store.ts";
import type { Engine } from "./engine.ts";
import type { Dialect } from "./files.ts";
import { openSqliteEngine } from "./sqlite.ts";

export interface EngineOptions {
  /** Makes the database when there is none. */
  readonly create: boolean;
  /** How long to wait for others that write. */
  readonly lockTimeoutMs: number;
  /** Heard while waiting for the lock, and between two migrations. */
  readonly signal?: AbortSignal | undefined;
}

/** Fails invalid_input (url) | incompatible | busy | corrupt. */
export async function openEngine(url: string, options: EngineOptions): Promise<Engine> {
  const path = pathOf(url);
  if (path === ":memory:") throw new StoreError("invalid_input", "url: a database in memory is new each time: name a file, such as sqlite:metadata.db");
  return openSqliteEngine({ path, ...options });
}

export function dialectOf(url: string): Dialect {
  pathOf(url);
  return "sqlite";
}
