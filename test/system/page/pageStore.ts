// A store with something of everything that the page shows.
import type { OwnedStore } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";

const esc = "\u001b";
const bytes = (text: string) => new TextEncoder().encode(text);

/** The output of a program with colors, and with what a program may print to do harm. */
export const colorfulLog = `${[
  `${esc}[1mRunning 3 tests${esc}[0m`,
  `${esc}[32m✔${esc}[0m adds numbers ${esc}[2m(1.2 ms)${esc}[0m`,
  `${esc}[32m✔${esc}[0m subtracts numbers ${esc}[2m(0.4 ms)${esc}[0m`,
  `${esc}[31m✖ divides numbers${esc}[0m`,
  `    ${esc}[38;5;208mAssertionError${esc}[39m: expected ${esc}[48;2;0;95;135m 2 ${esc}[49m`,
  `  10 % done\r 100 % done`,
  `${esc}[33mwarning:${esc}[0m one test has failed`,
].join("\n")}\n`;

export interface FilledStore {
  readonly sessionId: string;
  readonly commandId: string;
  readonly runningCommandId: string;
  readonly runningFence: number;
  readonly debugSessionId: string;
  readonly worktreeId: string;
  readonly quarantinedId: string;
  readonly runnerId: string;
  readonly tokenId: string;
}

export async function fill(store: OwnedStore): Promise<FilledStore> {
  const make = fixtures(store);
  const { repository } = await make.repository({ name: "weather" });
  const { runner } = await make.runner({
    name: "build-1",
    host: "node-a.example",
    labels: { os: "linux", arch: "x64" },
  });
  await make.runner({ name: "build-2", host: "node-b.example" });
  const created = await store.sessions.create({
    repositoryId: repository.id,
    commitSha: "4be1f0c93a7d52e86b1f09ac3d7e5f2810c6b9d4",
    requestedBy: "ada",
    metadata: { branch: "main", pull: 42 },
    maxParallel: 3,
    reserve: { runnerId: runner.id },
    commands: [
      { argv: ["npm", "test"] },
      { argv: ["npm", "run", "lint"], maxAttempts: 2 },
      { argv: ["npm", "run", "build", "--", "--target=it's here"] },
    ],
  });
  const { session, lease } = created;
  const worktreeId = lease?.worktree.id as string;
  await store.worktrees.ready({
    worktreeId,
    fence: lease?.fence as number,
    commitSha: session.commitSha,
    sizeBytes: 48_300_000,
  });
  const sessionId = session.id;
  const claim = async () => {
    const claimed = await store.commands.claim({ runnerId: runner.id, sessionId });
    if (claimed === undefined) throw new Error("nothing to claim");
    return { commandId: claimed.command.id, fence: claimed.fence };
  };
  const first = await claim();
  await store.logs.mark({ sessionId, ...first, phase: "checkout", text: "weather at 4be1f0c93a" });
  await store.logs.mark({ sessionId, ...first, phase: "run" });
  const { ackOffset } = await store.logs.append({ ...first, offset: 0, data: bytes(colorfulLog) });
  await store.logs.append({
    ...first,
    offset: ackOffset,
    stream: "stderr",
    data: bytes("npm error code ELIFECYCLE\n"),
  });
  await store.commands.finish({ ...first, outcome: "failed", exitCode: 1 });
  const second = await claim();
  await store.logs.append({ ...second, offset: 0, data: bytes("Checked 214 files in 310 ms. No fixes applied.\n") });
  await store.commands.finish({ ...second, outcome: "succeeded", exitCode: 0 });
  const running = await claim();
  await store.logs.append({ ...running, offset: 0, data: bytes("building …\n") });
  await store.artifacts.record({
    ...{ sessionId, commandId: first.commandId, name: "report.xml", kind: "junit", contentType: "application/xml" },
    ...{ sizeBytes: 18_402, sha256: "a".repeat(64), uri: "file:///srv/artifacts/report.xml" },
  });
  const { debugSessionId } = await make.debugStop({ sessionId, name: "main" });
  for (const state of ["completed", "cancelled"] as const) {
    const { session: other } = await make.session({ repositoryId: repository.id, requestedBy: "grace" });
    if (state === "cancelled") await store.sessions.cancel({ sessionId: other.id });
    else await store.sessions.complete({ sessionId: other.id });
  }
  await make.command();
  const { worktree, fence } = await make.lease({ repositoryId: repository.id });
  await store.worktrees.quarantine({ worktreeId: worktree.id, fence, reason: "the disk was full" });
  await make.worktree({ repositoryId: repository.id });
  const { token } = await make.token({ name: "ci", scopes: ["sessions:read", "logs:read"] });
  return {
    sessionId,
    commandId: first.commandId,
    runningCommandId: running.commandId,
    runningFence: running.fence,
    debugSessionId,
    worktreeId,
    quarantinedId: worktree.id,
    runnerId: runner.id,
    tokenId: token.id,
  };
}
