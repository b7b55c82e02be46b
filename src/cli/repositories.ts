// debug-server-db repositories: lists the upstream projects. Also finds and names the repositories of other rows.
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
  const group = commandGroup(program, "repositories", "Lists repositories, the upstream projects.", [
    "repositories list",
  ]);
  listCommand(group, "repositories", ["repositories list", "repositories list --all --json"])
    .option("--all", "include archived repositories", false)
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

/** Returns the filter for the rows of one repository, which a flag names by its name or id. */
export async function repositoryFilter(
  store: OwnedStore,
  nameOrId: string | undefined,
): Promise<{ readonly repositoryId?: string }> {
  if (nameOrId === undefined) return {};
  if (idPattern.test(nameOrId)) return { repositoryId: nameOrId };
  const repository = await store.repositories.find({ name: nameOrId });
  if (repository === undefined) throw new CliError("failure", `there is no repository ${nameOrId}`);
  return { repositoryId: repository.id };
}

/** Returns the names of the repositories of these rows, by id. */
export async function repositoryNames(
  store: OwnedStore,
  rows: readonly { readonly repositoryId: string }[],
): Promise<ReadonlyMap<string, string>> {
  const ids = [...new Set(rows.map(({ repositoryId }) => repositoryId))];
  const repositories = await Promise.all(ids.map((repositoryId) => store.repositories.get({ repositoryId })));
  return new Map(repositories.map(({ id, name }) => [id, name]));
}
