// The commands of debug-server-db admin that manage accounts.
import { type Command, Option } from "commander";
import { type AccountKind, accountKinds } from "../model/vocabulary.ts";
import type { Store } from "../storeTypes.ts";
import { CliError } from "../terminal/exit.ts";
import type { CommandLine } from "./commandLine.ts";
import { collect } from "./pages.ts";
import { column, formatTime, printFields, printPage, stateColumn } from "./rows.ts";
import { type ListFlags, listCommand, type StoreFlags, storeCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

export function addAccounts(admin: Command, cli: CommandLine): void {
  storeCommand(admin, "create-account", "Creates an account.", [
    "admin create-account ops",
    "admin create-account ci --kind runner",
  ])
    .argument("<name>", "a name that no other account has, ignoring case")
    .addOption(new Option("--kind <kind>", "the kind of its owner").choices(accountKinds).default("human"))
    .action(async (name: string, flags: StoreFlags & { kind: AccountKind }) => {
      const account = await visit(cli, flags, (store, options) =>
        store.accounts.create({ name, kind: flags.kind }, options),
      );
      printFields(cli, flags, account, { account: account.name, kind: account.kind, id: account.id });
    });

  storeCommand(admin, "disable-account", "Disables an account: its tokens are rejected from now on.", [
    "admin disable-account ops",
  ])
    .argument("<name>", "the name of the account")
    .action(async (name: string, flags: StoreFlags) => {
      const account = await visit(cli, flags, async (store, options) =>
        store.accounts.disable({ accountId: await accountIdOf(store, name) }, options),
      );
      printFields(cli, flags, account, { disabled: account.name, id: account.id, at: formatTime(account.disabledAt) });
    });

  storeCommand(
    admin,
    "enable-account",
    "Enables a disabled account: its tokens are accepted again, unless they are revoked or expired themselves.",
    ["admin enable-account ops"],
  )
    .argument("<name>", "the name of the account")
    .action(async (name: string, flags: StoreFlags) => {
      const account = await visit(cli, flags, async (store, options) =>
        store.accounts.enable({ accountId: await accountIdOf(store, name) }, options),
      );
      printFields(cli, flags, account, { enabled: account.name, id: account.id });
    });

  storeCommand(admin, "rename-account", "Renames an account. Its id and its tokens stay, and its old name is free.", [
    "admin rename-account ops operations",
  ])
    .argument("<name>", "the name of the account")
    .argument("<new-name>", "a name that no other account has, ignoring case")
    .action(async (name: string, newName: string, flags: StoreFlags) => {
      const account = await visit(cli, flags, async (store, options) =>
        store.accounts.rename({ accountId: await accountIdOf(store, name), name: newName }, options),
      );
      printFields(cli, flags, account, { account: account.name, kind: account.kind, id: account.id });
    });

  listCommand(admin, "accounts", ["admin list-accounts", "admin list-accounts --all --json"], "list-accounts")
    .option("--all", "include disabled accounts", false)
    .action(async (flags: ListFlags & { all: boolean }) => {
      const page = await visit(cli, flags, (store) =>
        collect(flags, (paged) => store.accounts.list({ includeDisabled: flags.all, ...paged })),
      );
      printPage(cli, flags, page, (rows) => [
        column("id", rows, ({ id }) => id),
        column("name", rows, ({ name }) => name),
        column("kind", rows, ({ kind }) => kind),
        stateColumn(rows, ({ disabledAt }) => (disabledAt === null ? "live" : "disabled")),
        column("created", rows, ({ createdAt }) => formatTime(createdAt), { optional: true }),
      ]);
    });
}

/**
 * Returns the id of the account with this name. The error does not repeat the name, which may be a token given by
 * mistake.
 */
export async function accountIdOf(store: Pick<Store, "accounts">, name: string): Promise<string> {
  const account = await store.accounts.find({ name });
  if (account === undefined) throw new CliError("failure", "there is no account of this name");
  return account.id;
}
