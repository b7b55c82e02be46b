// Actions that a token allows on a row, as it is now. Each is confirmed in a dialog.
import { ask, type Field, type Question } from "./dialogs.ts";
import { commandText, h, shortId } from "./dom.ts";
import type { CommandJson, RunnerJson, SessionJson, TokenJson, WorktreeJson } from "./json.ts";
import type { Surroundings } from "./view.ts";

export type Action = Omit<Question, "run"> & {
  readonly scope: string;
  readonly operation: string;
  input(values: Readonly<Record<string, unknown>>): object;
  readonly done: string;
};

const reason: Field = { name: "reason", label: "Reason (optional)", type: "text" };
const force: Field = {
  name: "force",
  label: "By force: end running commands at once, without their runner",
  type: "check",
};
const isOpen = (state: string) => ["pending", "queued", "running", "cancelling"].includes(state);

export function sessionActions(row: SessionJson): Action[] {
  if (!isOpen(row.state)) return [];
  return [
    {
      title: "Cancel this session?",
      text: `Its queued commands are cancelled and its running ones are asked to stop. With force, its worktree is quarantined.`,
      fields: [reason, force],
      label: "Cancel session",
      isDanger: true,
      scope: "sessions:write",
      operation: "sessions.cancel",
      input: (values) => ({ sessionId: row.id, ...values }),
      done: "The session is cancelled",
    },
  ];
}

export function commandActions(row: CommandJson): Action[] {
  if (!isOpen(row.state)) return [];
  return [
    {
      title: "Cancel this command?",
      text: `${commandText(row.argv)}: a queued command ends at once, the runner of a running one is asked to stop it.`,
      fields: [reason, force],
      label: "Cancel command",
      isDanger: true,
      scope: "commands:write",
      operation: "commands.cancel",
      input: (values) => ({ commandId: row.id, ...values }),
      done: "The command is cancelled",
    },
  ];
}

export function worktreeActions(row: WorktreeJson, owner: string): Action[] {
  const common = { scope: "worktrees:write" };
  const own = { worktreeId: row.id, fence: row.fence };
  const actions: Action[] = [];
  if (row.state === "leased" || row.state === "creating")
    actions.push({
      ...common,
      title: "Release this worktree?",
      text: `${row.path} is taken from its holder, who can change nothing from then on. A process of the holder may still write in the directory.`,
      fields: [
        {
          name: "to",
          label: "Then it is",
          type: "choice",
          choices: {
            dirty: "dirty: scrubbed before its next use",
            keep: "quarantined, to keep what is in it",
            broken: "quarantined, because it is broken",
            clean: "clean: used as it is",
          },
        },
        reason,
      ],
      label: "Release worktree",
      isDanger: true,
      operation: "worktrees.release",
      input: (values) => ({ ...own, ...values }),
      done: "The worktree is released",
    });
  if (row.state === "quarantined")
    actions.push({
      ...common,
      title: "Restore this worktree?",
      text: `${row.path} goes back into use as dirty: its next holder scrubs it, and what is in it is lost.`,
      label: "Restore worktree",
      operation: "worktrees.restore",
      input: () => ({ worktreeId: row.id }),
      done: "The worktree is restored",
    });
  if (["idle", "dirty", "quarantined"].includes(row.state))
    actions.push({
      ...common,
      title: "Evict this worktree?",
      text: `Nobody gets ${row.path} any more. Delete the directory on its host within an hour, and confirm it here; otherwise the worktree is quarantined.`,
      label: "Evict worktree",
      isDanger: true,
      operation: "worktrees.evict",
      input: () => ({ repositoryId: row.repositoryId, worktreeId: row.id, owner, ttlMs: 3_600_000 }),
      done: "The worktree is leased for removal",
    });
  if (row.state === "evicting")
    actions.push({
      ...common,
      title: "Is the directory deleted?",
      text: `The store forgets ${row.path}. A directory that is still there would be in nobody's care.`,
      label: "It is deleted",
      isDanger: true,
      operation: "worktrees.completeEvict",
      input: () => own,
      done: "The worktree is removed",
    });
  return actions;
}

export function runnerActions(row: RunnerJson): Action[] {
  if (row.state !== "online" && row.state !== "stalled") return [];
  return [
    {
      title: `Drain ${row.name}?`,
      text: "The runner finishes its commands and gets no more. To undo it, start the runner again.",
      label: "Drain runner",
      isDanger: true,
      scope: "runners:write",
      operation: "runners.drain",
      input: () => ({ runnerId: row.id }),
      done: "The runner is draining",
    },
  ];
}

/** Returns what can be done with a token. Only `admin` revokes those of others. */
export function tokenActions(row: TokenJson, ownId: string): Action[] {
  if (row.revokedAt !== null) return [];
  const isOwn = row.id === ownId;
  return [
    {
      title: `Revoke ${row.name}?`,
      text: `It is refused from the next call on, for good.${isOwn ? " It is the token of this page: you will be signed out." : ""}`,
      fields: [reason],
      label: "Revoke token",
      isDanger: true,
      scope: isOwn ? "tokens:write" : "admin",
      operation: "tokens.revoke",
      input: (values) => ({ tokenId: row.id, ...values }),
      done: `Token ${shortId(row.id)} is revoked`,
    },
  ];
}

/** Returns the buttons of those actions that the token allows. */
export function actionButtons(
  actions: readonly Action[],
  { api, say }: Surroundings,
  onDone: () => void,
): HTMLElement[] {
  return actions
    .filter(({ scope }) => api.may(scope))
    .map((action) =>
      h(
        "button",
        {
          type: "button",
          class: action.isDanger ? "danger" : undefined,
          onclick: () =>
            ask({
              ...action,
              run: async (values) => {
                await api.call(action.operation, action.input(given(values)));
                say(action.done);
                onDone();
              },
            }),
        },
        action.label,
      ),
    );
}

/** Returns the values that a person has given: text that is not empty, and boxes that are checked. */
function given(values: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== false));
}
