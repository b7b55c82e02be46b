// debug-server-db repositories: upstream projects; and how other commands refer to them.
import type { Command } from "commander";
import { idPattern } from "../model/ids.ts";
import type { OwnedStore } from "../storeTypes.ts";
import { CliError } from "../terminal/exit.ts";
import type { CommandLine } from "./commandLine.ts";
import { collect } from "./pages.ts";
import { column, formatTime, printPage } from "./rows.ts";
import { commandGroup, type ListFlags, listCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

export function addRepositories(program: Command, cli: CommandLine): void {
  const group = commandGroup(program, "repositories", "Upstream projects.", ["repositories list"]);
  listCommand(group, "repositories", ["repositories list", "repositories list --all --json"])
    .option("--all", "archived ones too", false)
    .action(async (flags: ListFlags & { all: boolean }) => {
      const page = await visit(cli, flags, (store) =>
        collect(flags, (paged) => store.repositories.list({ includeArchived: flags.all, ...paged })),
      );
      printPage(cli, flags, page, (rows) => [
        column("id", rows, ({ id }) => id),
        column("name", rows, ({ name }) => name),
        column("branch", rows, ({ defaultBranch }) => defaultBranch, { optional: true }),
        column("worktrees", rows, ({ worktreeCount, maxWorktrees }) => `${worktreeCount} of ${maxWorktrees}`, {
          align: "right",
        }),
        column("created", rows, ({ createdAt }) => formatTime(createdAt), { optional: true }),
        ...(flags.all ? [column("archived", rows, ({ archivedAt }) => formatTime(archivedAt))] : []),
        column("remote", rows, ({ remoteUrl }) => remoteUrl),
      ]);
    });
}

/** By id or name. */
export async function repositoryFilter(
  store: OwnedStore,
  named: string | undefined,
): Promise<{ readonly repositoryId?: string }> {
  if (named === undefined) return {};
  if (idPattern.test(named)) return { repositoryId: named };
  const repository = await store.repositories.find({ name: named });
  if (repository === undefined) throw new CliError("failure", `there is no repository ${named}`);
  return { repositoryId: repository.id };
}

export async function repositoryNames(
  store: OwnedStore,
  rows: readonly { readonly repositoryId: string }[],
): Promise<ReadonlyMap<string, string>> {
  const ids = [...new Set(rows.map(({ repositoryId }) => repositoryId))];
  return new Map(
    (await Promise.all(ids.map((repositoryId) => store.repositories.get({ repositoryId })))).map(({ id, name }) => [
      id,
      name,
    ]),
  );
}
