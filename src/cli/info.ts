// debug-server-db info: versions, paths, sizes and the settings of the database in effect.
import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { packageRoot, packageVersion } from "../package.ts";
import { parsePlace, redactUrl } from "../place.ts";
import { backupFolder } from "../schema/manifest.ts";
import { migrationsFolder } from "../schema/migrationFiles.ts";
import { formatBytes } from "../terminal/units.ts";
import type { CommandLine } from "./commandLine.ts";
import { printFields } from "./rows.ts";
import { type StoreFlags, storeCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

export function addInfo(program: Command, cli: CommandLine): void {
  storeCommand(
    program,
    "info",
    "Shows versions, paths, sizes, the revision of the schema, and the settings of the database in effect.",
    ["info", "info --json --url sqlite:/srv/data/metadata.db"],
  ).action(async (flags: StoreFlags) => {
    const [health, stats] = await visit(cli, flags, (store) =>
      Promise.all([store.maintenance.health(), store.maintenance.stats()]),
    );
    const versions = { package: packageVersion, node: process.versions.node };
    const { at, head } = health.checks.schema;
    const info = {
      versions,
      store: redactUrl(flags.url),
      revision: at,
      head,
      paths: pathsOf(flags.url),
      database: stats.database,
      rows: stats.rows,
    };
    printFields(cli, flags, info, {
      version: packageVersion,
      node: versions.node,
      store: info.store,
      revision: at === head ? `${at} (head)` : `${at}, but this version needs ${head}`,
      ...Object.fromEntries(
        Object.entries(info.paths).map(([name, { path, bytes }]) => [
          name,
          bytes === null ? path : `${path} (${formatBytes(bytes)})`,
        ]),
      ),
      ...Object.fromEntries(
        Object.entries(stats.database).map(([name, value]) => [
          name,
          name.includes("bytes") ? formatBytes(Number(value)) : String(value),
        ]),
      ),
    });
  });
}

interface FileOrFolder {
  readonly path: string;
  /** Null for a folder. */
  readonly bytes: number | null;
}

function pathsOf(url: string): Readonly<Record<string, FileOrFolder>> {
  const place = parsePlace(url);
  const ofPackage = {
    migrations: { path: resolve(migrationsFolder), bytes: null },
    package: { path: fileURLToPath(packageRoot), bytes: null },
  };
  if (place.engine === "postgres") return ofPackage;
  const path = resolve(place.path);
  const file = { path, bytes: statSync(path, { throwIfNoEntry: false })?.size ?? 0 };
  const folder = backupFolder(path);
  return { file, ...(existsSync(folder) ? { backups: { path: folder, bytes: null } } : {}), ...ofPackage };
}
