// debug-server-db config and info: what is in force, without a secret.

import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { defaultLimits } from "../limits.ts";
import { packageRoot, packageVersion } from "../package.ts";
import { parsePlace, redactUrl } from "../place.ts";
import { backupFolder } from "../schema/manifest.ts";
import { migrationsFolder } from "../schema/migrationFiles.ts";
import { formatBytes } from "../terminal/units.ts";
import type { CommandLine } from "./commandLine.ts";
import { column, printFields, printRows } from "./rows.ts";
import { commandGroup, type StoreFlags, storeCommand } from "./storeCommand.ts";
import { urlVariable } from "./url.ts";
import { visit } from "./visit.ts";

interface Setting {
  readonly name: string;
  readonly value: string | number;
  readonly from: "flag" | "environment" | "default";
}

const tokenVariable = "DEBUG_SERVER_DB_TOKEN";

export function addConfig(program: Command, cli: CommandLine): void {
  const group = commandGroup(program, "config", "What the command line and servers go by.", ["config show"]);
  storeCommand(group, "show", "Shows each setting and where it comes from; secrets are masked.", [
    "config show",
    "config show --json",
  ]).action((flags: StoreFlags, command: Command) => {
    printRows(cli, flags, settings(cli, flags.url, command.getOptionValueSource("url")), (rows) => [
      column("setting", rows, ({ name }) => name),
      column("value", rows, ({ value }) => value),
      column("from", rows, ({ from }) => from),
    ]);
  });
}

/** Variables of ours that nothing reads are shown too: they may be misspelt. */
function settings({ env }: CommandLine, url: string, source: string | undefined): readonly Setting[] {
  const from = source === "cli" ? "flag" : source === "env" ? "environment" : "default";
  const others = Object.keys(env)
    .filter((name) => name.startsWith("DEBUG_SERVER_DB_") && name !== urlVariable)
    .map(
      (name): Setting => ({
        name: name === tokenVariable ? name : `${name} (not read)`,
        value: "***",
        from: "environment",
      }),
    );
  const limits = Object.entries(defaultLimits).map(
    ([name, value]): Setting => ({ name: `limits.${name}`, value, from: "default" }),
  );
  const colour = env.NO_COLOR ? [{ name: "NO_COLOR", value: env.NO_COLOR, from: "environment" } as const] : [];
  return [
    { name: "url", value: redactUrl(url), from },
    ...others,
    ...colour,
    { name: "synchronous", value: "full", from: "default" },
    ...limits,
  ];
}

export function addInfo(program: Command, cli: CommandLine): void {
  storeCommand(
    program,
    "info",
    "Shows versions, paths, sizes, the revision of the schema, and the settings of the database that are in force.",
    ["info", "info --json --url sqlite:/srv/data/metadata.db"],
  ).action(async (flags: StoreFlags) => {
    const { health, stats } = await visit(cli, flags, async (store) => {
      const [health, stats] = await Promise.all([store.maintenance.health(), store.maintenance.stats()]);
      return { health, stats };
    });
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
      revision: at === head ? `${at} (head)` : `${at}, and ${head} is needed`,
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

interface Place {
  readonly path: string;
  /** Null of a folder. */
  readonly bytes: number | null;
}

function pathsOf(url: string): Readonly<Record<string, Place>> {
  const place = parsePlace(url);
  const own = {
    migrations: { path: resolve(migrationsFolder), bytes: null },
    package: { path: fileURLToPath(packageRoot), bytes: null },
  };
  if (place.engine === "postgres") return own;
  const path = resolve(place.path);
  const file = { path, bytes: statSync(path, { throwIfNoEntry: false })?.size ?? 0 };
  const folder = backupFolder(path);
  return { file, ...(existsSync(folder) ? { backups: { path: folder, bytes: null } } : {}), ...own };
}
