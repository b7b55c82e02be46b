// A valid row of each entity with one call, and with it what the row needs to exist.
import { newId } from "../model/ids.ts";
import type { Store } from "../store.ts";

type Input<Call extends (...args: never[]) => unknown> = Partial<NonNullable<Parameters<Call>[0]>>;

export function fixtures(store: Store) {
  const commitSha = "0123456789abcdef0123456789abcdef01234567";

  const repository = async (input: Input<Store["repositories"]["upsert"]> = {}) => {
    const name = `repository-${newId()}`;
    return {
      repository: await store.repositories.upsert({ name, remoteUrl: `https://git.example/${name}.git`, worktreeRoot: `/srv/worktrees/${name}`, ...input }),
    };
  };

  const runner = async (input: Input<Store["runners"]["register"]> = {}) => ({
    runner: await store.runners.register({ name: `runner-${newId()}`, host: "localhost", pid: 1, ...input }),
  });

  /** A lease on a new tree that is ready for use. */
  const lease = async (input: Input<Store["worktrees"]["reserve"]> = {}) => {
    const repositoryId = input.repositoryId ?? (await repository()).repository.id;
    const reserved = await store.worktrees.reserve({ owner: "fixture", commitSha, ...input, repositoryId });
    const { worktree, fence } = reserved;
    const ready = worktree.state === "creating" ? await store.worktrees.ready({ worktreeId: worktree.id, fence, commitSha }) : worktree;
    return { lease: { ...reserved, worktree: ready }, worktree: ready, fence };
  };

  /** A tree that is free and clean. */
  const worktree = async (input: Input<Store["worktrees"]["reserve"]> = {}) => {
    const { worktree: leased, fence } = await lease(input);
    return { worktree: await store.worktrees.release({ worktreeId: leased.id, fence, to: "clean" }) };
  };

  const session = async (input: Input<Store["sessions"]["create"]> = {}) => {
    const parent = input.repositoryId === undefined ? (await repository()).repository : await store.repositories.get({ repositoryId: input.repositoryId });
    const created = await store.sessions.create({ commitSha, ...input, repositoryId: parent.id });
    return { repository: parent, ...created };
  };

  /** A queued command, in a session of its own unless one is named. */
  const command = async (input: Partial<Parameters<Store["commands"]["enqueue"]>[0]["commands"][number]> & { sessionId?: string } = {}) => {
    const { sessionId, ...fields } = input;
    const parent = sessionId === undefined ? (await session()).session : await store.sessions.get({ sessionId });
    const [row] = await store.commands.enqueue({ sessionId: parent.id, commands: [{ argv: ["true"], ...fields }] });
    return { session: parent, command: row as NonNullable<typeof row> };
  };

  /** A running command and its attempt. */
  const claim = async (input: Parameters<typeof command>[0] = {}) => {
    const queued = await command(input);
    const { runner: claimant } = await runner();
    const claimed = await store.commands.claim({ runnerId: claimant.id, sessionId: queued.session.id });
    if (claimed === undefined) throw new Error("fixtures: the session has a command at the head of its queue that cannot be claimed");
    return { runner: claimant, claim: claimed, command: claimed.command, session: claimed.session, fence: claimed.fence };
  };

  /** A running command with something in its log. */
  const log = async (text = "hello\n") => {
    const claimed = await claim();
    const { ackOffset } = await store.logs.append({ commandId: claimed.command.id, fence: claimed.fence, offset: 0, data: new TextEncoder().encode(text) });
    return { ...claimed, nextOffset: ackOffset };
  };

  return { commitSha, repository, runner, lease, worktree, session, command, claim, log };
}
