// Facts about a SQLite file for health checks and statistics: its sizes, the free space, and the settings in force.

import { statfsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type Database from "better-sqlite3";
import type { DatabaseFacts } from "../context.ts";
import type { StoreError } from "../errors.ts";
import { readMigrations } from "../schema/migrationFiles.ts";
import { pragma, sqliteVersion } from "./connection.ts";
import { describeReaders } from "./walPins.ts";
import type { WalWatch } from "./walWatch.ts";

/** The sizes, and the settings that a build of SQLite may silently ignore: https://www.sqlite.org/pragma.html */
const reportedPragmas = [
  "page_size",
  "page_count",
  "freelist_count",
  "max_page_count",
  "journal_mode",
  "synchronous",
  "foreign_keys",
  "auto_vacuum",
  "trusted_schema",
];

/**
 * Collects the facts about a database. `path` is undefined for a database in memory, `refusal` the reason why it takes
 * no writes, `wal` the watch of its WAL, `vacuumedBytes` what the file has given back.
 */
export function fileFacts(
  db: Database.Database,
  path: string | undefined,
  refusal: StoreError | undefined,
  wal?: Pick<WalWatch, "pendingBytes" | "readers" | "checkpointAgoMs">,
  vacuumedBytes = 0,
): DatabaseFacts {
  const figures = Object.fromEntries(reportedPragmas.map((name) => [name, pragma(db, name) as number | string]));
  const { page_size, page_count, freelist_count, max_page_count } = figures as Record<string, number>;
  const inFileBytes =
    ((max_page_count as number) - (page_count as number) + (freelist_count as number)) * (page_size as number);
  const walBytes = path === undefined ? 0 : (statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0);
  const onDiskBytes = path === undefined ? Number.POSITIVE_INFINITY : freeBytesOf(dirname(path));
  return {
    schemaHead: schemaHead(),
    fileProblem: (refusal?.details.reason as string | undefined) ?? null,
    leftBytes: Math.min(inFileBytes, onDiskBytes),
    figures: {
      engine: "sqlite",
      sqlite_version: sqliteVersion(db),
      ...figures,
      wal_bytes: walBytes,
      wal_pending_bytes: wal?.pendingBytes ?? 0,
      wal_pinned_by: describeReaders(wal?.readers),
      ...(wal?.checkpointAgoMs === undefined ? {} : { wal_checkpoint_ago_ms: wal.checkpointAgoMs }),
      file_bytes: (page_count as number) * (page_size as number),
      free_bytes: (freelist_count as number) * (page_size as number),
      vacuumed_bytes: vacuumedBytes,
    },
  };
}

/** Returns the free space of a folder; infinity when that is unknown, as of a folder that was moved away. */
function freeBytesOf(folder: string): number {
  try {
    const { bavail, bsize } = statfsSync(folder);
    return bavail * bsize;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

let head: string | undefined;

function schemaHead(): string {
  head ??= readMigrations("sqlite").at(-1)?.revision ?? "none";
  return head;
}
