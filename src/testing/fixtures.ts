// Creates a valid row of each entity with one call, together with the rows that it depends on.
import { newId } from "../model/ids.ts";
import { present } from "../present.ts";
import type { Store } from "../storeTypes.ts";

type Input<Call extends (...args: never[]) => unknown> = Partial<NonNullable<Parameters<Call>[0]>>;

/** Returns functions that each create a row. Their input overrides single fields; other rows are created as needed. */
export function fixtures(store: Store) {
  const commitSha = "0123456789abcdef0123456789abcdef01234567";

  const repository = async (input: Input<Store["repositories"]["upsert"]> = {}) => {
    const name = `repository-${newId()}`;
    return {
      repository: await store.repositories.upsert({
        name,
        remoteUrl: `https://git.example/${name}.git`,
        worktreeRoot: `/srv/worktrees/${name}`,
        ...input,
      }),
    };
  };

  const runner = async (input: Input<Store["runners"]["register"]> = {}) => ({
    runner: await store.runners.register({ name: `runner-${newId()}`, host: "localhost", pid: 1, ...input }),
  });

  /** Creates a lease on a worktree that is ready for use, with the commit and the environment that the input names. */
  const lease = async (input: Input<Store["worktrees"]["reserve"]> = {}) => {
    const repositoryId = input.repositoryId ?? (await repository()).repository.id;
    const asked = { commitSha, ...input };
    const reserved = await store.worktrees.reserve({ owner: "fixture", ...asked, repositoryId });
    const { worktree, fence } = reserved;
    const report = worktree.state === "creating" ? store.worktrees.ready : store.worktrees.update;
    const ready = await report({
      worktreeId: worktree.id,
      fence,
      ...present({ commitSha: asked.commitSha, environmentHash: asked.environmentHash }),
    });
    return { lease: { ...reserved, worktree: ready }, worktree: ready, fence };
  };

  /** Creates a worktree that is free and clean, with the commit and the environment that the input names. */
  const worktree = async (input: Input<Store["worktrees"]["reserve"]> = {}) => {
    const { worktree: leased, fence } = await lease(input);
    return { worktree: await store.worktrees.release({ worktreeId: leased.id, fence, to: "clean" }) };
  };

  const session = async (input: Input<Store["sessions"]["create"]> = {}) => {
    const parent =
      input.repositoryId === undefined
        ? (await repository()).repository
        : await store.repositories.get({ repositoryId: input.repositoryId });
    const created = await store.sessions.create({ commitSha, ...input, repositoryId: parent.id });
    return { repository: parent, ...created };
  };

  /** Creates a queued command, in a new session unless the input names one. */
  const command = async (
    input: Partial<Parameters<Store["commands"]["enqueue"]>[0]["commands"][number]> & { sessionId?: string } = {},
  ) => {
    const { sessionId, ...fields } = input;
    const parent = sessionId === undefined ? (await session()).session : await store.sessions.get({ sessionId });
    const [row] = await store.commands.enqueue({ sessionId: parent.id, commands: [{ argv: ["true"], ...fields }] });
    return { session: parent, command: row as NonNullable<typeof row> };
  };

  /**
   * Creates a running command, claimed by a new runner that has the labels which it requires, and has confirmed the claim
   * with a heartbeat.
   */
  const claim = async (input: Parameters<typeof command>[0] = {}) => {
    const queued = await command(input);
    const required = queued.command.requires.map((label) => label.split(/=(.*)/s));
    const labels = Object.fromEntries(required.map(([key, value = ""]) => [key, value]));
    const { runner: claimant } = await runner({ labels });
    const claimed = await store.commands.claim({ runnerId: claimant.id, sessionId: queued.session.id });
    if (claimed === undefined) throw new Error("fixtures: the session has no command that can be claimed now");
    const { fence, session: parent } = claimed;
    const commandId = claimed.command.id;
    const { expiresAt } = await store.runners.heartbeat({
      runnerId: claimant.id,
      commands: [{ id: commandId, fence }],
    });
    const running = await store.commands.get({ commandId });
    return {
      runner: claimant,
      claim: { ...claimed, command: running, expiresAt },
      command: running,
      session: parent,
      fence,
    };
  };

  /** Creates a running command with text in its log. */
  const log = async (text = "hello\n") => {
    const claimed = await claim();
    const { ackOffset } = await store.logs.append({
      commandId: claimed.command.id,
      fence: claimed.fence,
      offset: 0,
      data: new TextEncoder().encode(text),
    });
    return { ...claimed, nextOffset: ackOffset };
  };

  const account = async (input: Input<Store["accounts"]["create"]> = {}) => ({
    account: await store.accounts.create({ name: `account-${newId()}`, kind: "human", ...input }),
  });

  let admin: Promise<string> | undefined;
  /** Returns the id of the admin token that issues the others. Creates the first admin unless the store has one. */
  const adminTokenId = () => {
    admin ??= store.tokens.bootstrapAdmin({ accountName: `admin-${newId()}` }).then(
      ({ token }) => token.id,
      async () => {
        for await (const { id, scopes, revokedAt, expiresAt } of store.tokens.all({ limit: 500 }))
          if (scopes.includes("admin") && revokedAt === null && expiresAt === null) return id;
        throw new Error(
          "fixtures: every live admin token of the store expires; create one that does not, or name `createdBy`",
        );
      },
    );
    return admin;
  };

  /** Creates a token and its secret, for a new account unless the input names one. */
  const token = async (input: Input<Store["tokens"]["mint"]> = {}) => {
    const accountId = input.accountId ?? (await account()).account.id;
    const createdBy = input.createdBy ?? (await adminTokenId());
    const minted = await store.tokens.mint({
      name: `token-${newId()}`,
      scopes: ["sessions:read"],
      ...input,
      accountId,
      createdBy,
    });
    return { token: minted.token, secret: minted.secret as string };
  };

  /** Creates a ready artifact, of a running command unless the input names a session. */
  const artifact = async (input: Input<Store["artifacts"]["record"]> = {}) => {
    const running = input.sessionId === undefined ? await claim() : undefined;
    const owner =
      running === undefined
        ? { sessionId: input.sessionId as string }
        : { sessionId: running.session.id, commandId: running.command.id };
    const name = `output-${newId()}.txt`;
    const content = { sizeBytes: 4, sha256: "0".repeat(64), uri: `file:///srv/artifacts/${name}` };
    return await store.artifacts.record({ name, ...content, ...owner, ...input });
  };

  /** Records a patch that no session refers to yet. */
  const patch = async (input: Input<Store["patches"]["record"]> = {}) => {
    const sha256 = newId().replaceAll("-", "").repeat(2);
    return await store.patches.record({ sha256, uri: `file:///srv/patches/${sha256}`, sizeBytes: 4, ...input });
  };

  /** Creates an environment that is ready, in a new repository unless the input names one. */
  const environment = async (input: Input<Store["environments"]["acquire"]> = {}) => {
    const repositoryId = input.repositoryId ?? (await repository()).repository.id;
    const { environment: made, lease: granted } = await store.environments.acquire({
      hash: `environment-${newId()}`,
      owner: "fixture",
      ...input,
      repositoryId,
    });
    if (granted === null) return { environment: made };
    const uri = `file:///srv/environments/${made.id}`;
    return {
      environment: await store.environments.ready({
        environmentId: made.id,
        fence: granted.fence,
        uri,
        sizeBytes: 4,
      }),
    };
  };

  /** Creates a debug session whose debugger runs, in a new session unless the input names one. */
  const debugSession = async (input: Input<Store["debug"]["open"]> = {}) => {
    const sessionId = input.sessionId ?? (await session()).session.id;
    const opened = await store.debug.open({ name: `debug-${newId()}`, adapter: "node", ...input, sessionId });
    const adapter = { debugSessionId: opened.id, adapterRun: opened.adapterRun };
    await store.debug.applyEvent({ ...adapter, seq: 1, event: "initialized" });
    return {
      debugSession: await store.debug.patchState({ ...adapter, expectedEpoch: opened.stopEpoch, state: "running" }),
      ...adapter,
    };
  };

  /** Creates a debug session that has stopped at a breakpoint, with the variables that are visible there. */
  const debugStop = async (input: Input<Store["debug"]["open"]> = {}) => {
    const { debugSessionId, adapterRun } = await debugSession(input);
    const sourcePath = "/srv/main.js";
    const [breakpoint] = await store.debug.setBreakpoints({ debugSessionId, sourcePath, breakpoints: [{ line: 3 }] });
    const bound = [{ breakpointId: breakpoint?.id as string, breakpoint: { id: 1, verified: true, line: 3 } }];
    await store.debug.bindBreakpoints({ debugSessionId, adapterRun, bound });
    const body = { reason: "breakpoint", threadId: 1, hitBreakpointIds: [1] };
    const { stopEpoch } = await store.debug.applyEvent({ debugSessionId, adapterRun, seq: 2, event: "stopped", body });
    const variables = [{ name: "x", value: "1", type: "number", variablesReference: 0 }];
    const scopes = [{ name: "Locals", variablesReference: 1, expensive: false, variables }];
    const frames = [{ id: 1, name: "main", source: { path: sourcePath }, line: 3, column: 1, scopes }];
    await store.debug.putStop({ debugSessionId, adapterRun, stopEpoch, threads: [{ id: 1, name: "main", frames }] });
    return { debugSessionId, adapterRun, stopEpoch, sourcePath, view: await store.debug.get({ debugSessionId }) };
  };

  return {
    commitSha,
    repository,
    runner,
    lease,
    worktree,
    session,
    command,
    claim,
    log,
    account,
    adminTokenId,
    token,
    artifact,
    patch,
    environment,
    debugSession,
    debugStop,
  };
}
