// debug-server-db admin: tokens and accounts. Its commands are in adminTokens.ts and adminAccounts.ts.
import type { Command } from "commander";
import { addAccounts } from "./adminAccounts.ts";
import { addTokens } from "./adminTokens.ts";
import type { CommandLine } from "./commandLine.ts";
import { commandGroup } from "./storeCommand.ts";

export function addAdmin(program: Command, cli: CommandLine): void {
  const admin = commandGroup(program, "admin", "Manages accounts and tokens.", [
    "admin seed --out admin.token",
    "admin create-token --user ops",
    "admin list-tokens",
  ]);
  addTokens(admin, cli);
  addAccounts(admin, cli);
}
