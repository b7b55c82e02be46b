// debug-server-db health: checks whether a store is ready, for supervisors and scripts.
import type { Command } from "commander";
import { StoreError } from "../errors.ts";
import { CliError, exitCodes } from "../terminal/exit.ts";
import { formatTable, type Style } from "../terminal/table.ts";
import { formatBytes } from "../terminal/units.ts";
import type { CommandLine } from "./commandLine.ts";
import { addHelp } from "./help.ts";
import { urlOption } from "./url.ts";

const note =
  "Opens the database briefly and never creates one; checks its schema and its free space. Only the server knows the result of its last write and the length of its queues, and reports them at /readyz.";

export function addHealth(program: Command, cli: CommandLine): void {
  const command = program
    .command("health")
    .description("Checks whether the store is ready. Exits with 0 if it is, and with 7 if not.")
    .addOption(urlOption());
  addHelp(command, ["health", "health --url sqlite:/srv/data/metadata.db"], note).action(
    async ({ url }: { readonly url: string }) => {
      cli.exitCode = await printHealth(cli, url);
    },
  );
}

async function printHealth({ stdout }: CommandLine, url: string): Promise<number> {
  const { ready, checks } = await readHealth(url);
  const { schema, file, space } = checks;
  const revision = `revision ${schema.at}`;
  const rows = [
    ["schema", schema.ok, schema.ok ? revision : `${revision}, but this version needs ${schema.head}`],
    ["last write", undefined, unknown],
    ["file", file.ok, file.problem?.replace("_", "-") ?? ""],
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
    { title: "", cells: rows.map(([, , text]) => text) },
  ];
  stdout.write(formatTable(columns, stdout));
  return ready ? exitCodes.ok : exitCodes.notReady;
}

/** The figures of this process are not those of the server: it has its own queue, and has written nothing. */
const unknown = "not known from outside";

function verdict(ok: boolean): string {
  return ok ? "ok" : "not ok";
}

/** A store that cannot be opened is not ready, whatever the reason. A URL that names no store is a usage error. */
async function readHealth(url: string) {
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
