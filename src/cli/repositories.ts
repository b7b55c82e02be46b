// debug-server-db repositories: lists and renames the upstream projects. Also finds and names those of other rows.
import type { Command } from "commander";
import { idPattern } from "../model/ids.ts";
import { maskUrl } from "../model/masking.ts";
import type { OwnedStore } from "../storeTypes.ts";
import { CliError } from "../terminal/exit.ts";
import type { CommandLine } from "./commandLine.ts";
import { collect } from "./pages.ts";
import { column, formatTime, printFields, printPage } from "./rows.ts";
import { commandGroup, type ListFlags, listCommand, type StoreFlags, storeCommand } from "./storeCommand.ts";
import { visit } from "./visit.ts";

export function addRepositories(program: Command, cli: CommandLine): void {
  const group = commandGroup(program, "repositories", "Lists and renames repositories, the upstream projects.", [
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
        column("remote", rows, ({ remoteUrl }) => remoteUrl && maskUrl(remoteUrl)),
      ]);
    });

  storeCommand(
    group,
    "rename",
    "Renames a repository. Its id and everything that belongs to it stay, and its old name is free.",
    ["repositories rename demo demo-archive"],
  )
    .argument("<name>", "the name or id of the repository")
    .argument("<new-name>", "a name that no other repository has, ignoring case")
    .action(async (nameOrId: string, name: string, flags: StoreFlags) => {
      const repository = await visit(cli, flags, async (store, options) =>
        store.repositories.rename({ repositoryId: await repositoryIdOf(store, nameOrId), name }, options),
      );
      printFields(cli, flags, repository, { repository: repository.name, id: repository.id });
    });
}

/** Returns the filter for the rows of one repository, which a flag names by its name or id. */
export async function repositoryFilter(
  store: OwnedStore,
  nameOrId: string | undefined,
): Promise<{ readonly repositoryId?: string }> {
  return nameOrId === undefined ? {} : { repositoryId: await repositoryIdOf(store, nameOrId) };
}

/** Returns the id of a repository that a flag names by its name or id. */
export async function repositoryIdOf(store: OwnedStore, nameOrId: string): Promise<string> {
  if (idPattern.test(nameOrId)) return nameOrId;
  const repository = await store.repositories.find({ name: nameOrId });
  if (repository === undefined) throw new CliError("failure", `there is no repository ${nameOrId}`);
  return repository.id;
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
