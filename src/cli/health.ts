// debug-server-db health: is the store ready for work?
import type { Command } from "commander";
import { StoreError } from "../errors.ts";
import { CliError, exitCodeHelp, exitCodes } from "../terminal/exit.ts";
import { formatTable, type Style } from "../terminal/table.ts";
import { formatBytes } from "../terminal/units.ts";
import type { CommandLine } from "./commandLine.ts";
import { urlOption } from "./url.ts";

export function addHealth(program: Command, cli: CommandLine): void {
  program
    .command("health")
    .description("Tells whether the store is ready for work: exit code 0, or 7 when it is not.")
    .addOption(urlOption())
    .addHelpText("after", `${examples}\n${exitCodeHelp}`)
    .action(async ({ url }: { readonly url: string }) => {
      cli.exitCode = await health(cli, url);
    });
}

async function health({ stdout }: CommandLine, url: string): Promise<number> {
  const { ready, checks } = await look(url);
  const { schema, space } = checks;
  const rows = [
    ["schema", schema.ok, schema.ok ? `revision ${schema.at}` : `revision ${schema.at}, and ${schema.head} is needed`],
    ["last write", undefined, unknown],
    ["space", space.ok, space.leftBytes === null ? "" : `${formatBytes(space.leftBytes)} left`],
    ["queue", undefined, unknown],
  ] as const;
  const columns = [
    { title: "check", cells: rows.map(([name]) => name) },
    {
      title: "",
      cells: rows.map(([, ok]) => (ok === undefined ? "" : verdict(ok))),
      style: (cell: string) => (cell === verdict(true) ? "green" : "red") as Style,
    },
    { title: "", cells: rows.map(([, , note]) => note) },
  ];
  stdout.write(formatTable(columns, stdout));
  return ready ? exitCodes.ok : exitCodes.notReady;
}

/** What was seen here would be this process's own, which has written nothing. */
const unknown = "not known from outside";

function verdict(ok: boolean): string {
  return ok ? "ok" : "not ok";
}

/** A store that cannot be opened is not ready, whatever the reason; a URL that names none is a matter of usage. */
async function look(url: string) {
  try {
    const { openStore } = await import("../store.ts");
    const store = await openStore({ url, migrate: "never", role: "visitor" });
    try {
      return await store.maintenance.health();
    } finally {
      await store.close();
    }
  } catch (error) {
    if (!(error instanceof StoreError) || error.code === "invalid_input") throw error;
    throw new CliError("notReady", `not ready: ${error.message}`);
  }
}

const examples = `
Examples:
  debug-server-db health
  debug-server-db health --url sqlite:/srv/data/metadata.db

It opens the database for a moment, and makes none: it tells whether that works, and of schema and space. How a server's last write went,
and how full its queues are, is known to the server alone, which answers for itself at /readyz.`;
