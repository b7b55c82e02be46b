// debug-server-db worktrees: lists worktrees with their holders, takes one from its holder, and brings worktrees out of
// quarantine, back into use or out of the store.
import { type Command, Option } from "commander";
import { type Release, releaseKinds, type WorktreeState, worktreeStates } from "../model/vocabulary.ts";
import type { Worktree } from "../model/worktrees.ts";
import { present } from "../present.ts";
import { CliError } from "../terminal/exit.ts";
import type { CommandLine } from "./commandLine.ts";
import { collect } from "./pages.ts";
import { repositoryFilter, repositoryNames } from "./repositories.ts";
import { column, formatTime, printFields, printPage, printRows, stateColumn } from "./rows.ts";
import {
  commandGroup,
  type ListFlags,
  listCommand,
  reasonOption,
  type StoreFlags,
  stateOption,
  storeCommand,
} from "./storeCommand.ts";
import { visit } from "./visit.ts";
import { addEvict } from "./worktreesEvict.ts";

export function addWorktrees(program: Command, cli: CommandLine): void {
  const group = commandGroup(
    program,
    "worktrees",
    "Lists, releases, restores and removes worktrees, the checkout directories.",
    ["worktrees list --state leased", "worktrees list --state quarantined", "worktrees list --place build-7"],
  );
  listCommand(group, "worktrees", ["worktrees list", "worktrees list --repository demo --state leased"])
    .addOption(stateOption(worktreeStates))
    .option("--repository <name>", "only of this repository, by name or id")
    .option("--runner <id>", "only held by this runner")
    .option("--place <name>", 'only in this place; "" for those without one')
    .action(async (flags: ListFlags & ListFilters) => {
      await visit(cli, flags, async (store) => {
        const filter = {
          ...(await repositoryFilter(store, flags.repository)),
          ...present({ state: flags.state, runnerId: flags.runner, place: flags.place }),
        };
        const page = await collect(flags, (paged) => store.worktrees.list({ ...filter, ...paged }));
        const names = await repositoryNames(store, page.items);
        printPage(cli, flags, page, (rows) => [
          column("id", rows, ({ id }) => id),
          column("repository", rows, ({ repositoryId }) => names.get(repositoryId), { optional: true }),
          stateColumn(rows, ({ state }) => state),
          column("commit", rows, ({ commitSha }) => commitSha?.slice(0, 10) ?? "-", { optional: true }),
          column("holder", rows, ({ leaseOwner, leaseRunnerId }) => leaseOwner ?? leaseRunnerId),
          column("lease until", rows, ({ leaseExpiresAt }) => formatTime(leaseExpiresAt), { optional: true }),
          column("fence", rows, ({ fence }) => fence, { align: "right", optional: true }),
          column("used", rows, ({ lastUsedAt }) => formatTime(lastUsedAt), { optional: true }),
          column("place", rows, ({ place }) => place),
          column("path", rows, ({ path }) => path),
        ]);
      });
    });

  const note =
    "A worktree that is held is released only with --force. After that the calls of its holder fail, but its programs may still write into the directory. The commit and the environment of the worktree are unknown from then on.";
  reasonOption(
    storeCommand(
      group,
      "release",
      "Releases a worktree in place of its holder.",
      ["worktrees release 01890a5d-ac96-774b-bcce-b302099a8057 --force --to keep"],
      note,
    ),
  )
    .argument("<id>", "the id of the worktree")
    .option("--force", "release it although somebody holds it", false)
    .addOption(
      new Option("--to <what>", "clean: ready for use; dirty: scrub it before use; keep, broken: out of use")
        .choices(releaseKinds)
        .default("dirty"),
    )
    .action(async (worktreeId: string, flags: StoreFlags & { force: boolean; to: Release; reason?: string }) => {
      await visit(cli, flags, async (store, options) => {
        const worktree = await store.worktrees.get({ worktreeId });
        if (worktree.leaseExpiresAt === null) throw new CliError("failure", notHeld(worktree));
        if (!flags.force) throw new CliError("failure", isHeld(worktree, worktree.leaseExpiresAt));
        const reason = flags.reason ?? "released from the command line";
        // The fencing token keeps a lease that was granted in the meantime.
        const released = await store.worktrees.release(
          // Nobody but the holder knows what the directory contains.
          { worktreeId, fence: worktree.fence, to: flags.to, reason, commitSha: null, environmentHash: null },
          options,
        );
        printFields(cli, flags, released, { worktree: released.id, state: released.state, path: released.path });
      });
    });

  const restoreNote =
    "Restore a worktree when its directory is there and its next holder can clean it. Otherwise remove it: worktrees evict.";
  storeCommand(
    group,
    "restore",
    "Puts a quarantined worktree back into use, as dirty.",
    ["worktrees restore 01890a5d-ac96-774b-bcce-b302099a8057"],
    restoreNote,
  )
    .argument("<id>", "the id of the worktree")
    .action(async (worktreeId: string, flags: StoreFlags) => {
      const restored = await visit(cli, flags, (store, options) => store.worktrees.restore({ worktreeId }, options));
      printFields(cli, flags, restored, { worktree: restored.id, state: restored.state, path: restored.path });
    });

  const adoptNote =
    "Runners get worktrees of their own place alone. The runner of this package takes those in its folder by itself, when they are in no place or in that of its host.";
  storeCommand(
    group,
    "adopt",
    "Says that the directories of worktrees are in another place.",
    ["worktrees adopt 01890a5d-ac96-774b-bcce-b302099a8057 --place build-7"],
    adoptNote,
  )
    .argument("<ids...>", "the ids of the worktrees")
    .requiredOption("--place <name>", "the place, such as the host of a runner")
    .action(async (ids: readonly string[], flags: StoreFlags & { place: string }) => {
      const rows = await visit(cli, flags, async (store, options) => {
        const adopted: Worktree[] = [];
        for (const worktreeId of ids)
          adopted.push(await store.worktrees.adopt({ worktreeId, place: flags.place }, options));
        return adopted;
      });
      printRows(cli, flags, rows, (shown) => [
        column("id", shown, ({ id }) => id),
        stateColumn(shown, ({ state }) => state),
        column("place", shown, ({ place }) => place),
        column("path", shown, ({ path }) => path),
      ]);
    });

  addEvict(group, cli);
}

interface ListFilters {
  readonly state?: WorktreeState[];
  readonly repository?: string;
  readonly runner?: string;
  readonly place?: string;
}

/**
 * Returns the sentence about a worktree that is released only by force. Also one whose lease has run out has its holder
 * until the store ends the lease, and keeps it while a command runs (D-079).
 */
function isHeld({ leaseOwner, leaseRunnerId }: Worktree, expiresAt: Date): string {
  const holder = leaseOwner ?? `runner ${leaseRunnerId}`;
  const time = formatTime(expiresAt);
  return expiresAt.getTime() > Date.now()
    ? `${holder} holds the worktree until ${time}: use --force to release it anyway`
    : `the lease of ${holder} ran out at ${time}, but a command may still run in the worktree: use --force to release it anyway`;
}

/** Returns the sentence about a worktree that no release can take from anybody, with the way out if there is one. */
function notHeld({ id, state }: Worktree): string {
  return state === "quarantined"
    ? `the worktree is quarantined, and has no holder: put it back into use with worktrees restore ${id}, or remove it with worktrees evict ${id}`
    : `the worktree is ${state}, and has no holder to release it from`;
}
