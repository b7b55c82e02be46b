// A thread that calls the store of this package.
import type { MessagePort } from "node:worker_threads";
import { attachStore, type Limits, type Store } from "../../src/index.ts";
import { type Cell, day, type Opened } from "../cells/cell.ts";
import { lineOf } from "../load.ts";
import { leaseMs } from "../setup.ts";

export interface StoreThread {
  readonly port: MessagePort;
  readonly limits: Limits;
  readonly repositoryId: string;
  readonly runnerId: string;
  /** The session to add commands to. */
  readonly sessionId?: string;
  /** The log to append to. */
  readonly log?: { readonly commandId: string; readonly fence: number };
}

const line = lineOf(day.bytes);

export function open(cell: Cell, data: StoreThread): Opened {
  const store = attachStore(data.port, { limits: data.limits });
  return { unit: unitOf(cell, data, store), close: () => store.close() };
}

function unitOf({ scenario, inFlight }: Cell, data: StoreThread, store: Store): Opened["unit"] {
  const { runnerId, sessionId = "", log } = data;
  if (scenario === "runner-day") return () => runDay(store, data, inFlight);
  if (scenario === "enqueue")
    return async () => void (await store.commands.enqueue({ sessionId, commands: [{ argv: ["true"] }] }));
  if (scenario === "work")
    return async () => {
      const claim = await store.commands.claim({ runnerId, ttlMs: leaseMs });
      if (claim === undefined) throw new Error("too few commands were prepared");
      await store.commands.finish({ commandId: claim.command.id, fence: claim.fence, outcome: "succeeded" });
    };
  let offset = 0;
  return async () => {
    if (log === undefined) throw new Error("there is no log");
    await store.logs.append({ ...log, offset, data: line });
    offset += line.byteLength;
  };
}

/** Runs a command as a runner does, with this many appends in flight. */
async function runDay(store: Store, { runnerId, repositoryId }: StoreThread, inFlight: number): Promise<void> {
  const claim = await store.commands.claim({ runnerId, ttlMs: leaseMs });
  if (claim === undefined) throw new Error("too few commands were prepared");
  const { command, session, fence } = claim;
  const { worktree, fence: worktreeFence } = await store.worktrees.reserve({
    repositoryId,
    runnerId,
    sessionId: session.id,
    ttlMs: leaseMs,
  });
  const held = { worktreeId: worktree.id, fence: worktreeFence };
  if (worktree.state === "creating") await store.worktrees.ready({ ...held, commitSha: session.commitSha });
  const pending: Promise<unknown>[] = [];
  for (let index = 0; index < day.appends; index++) {
    if (pending.length >= inFlight) await pending.shift();
    const offset = index * line.byteLength;
    pending.push(store.logs.append({ commandId: command.id, fence, offset, data: line }));
  }
  await Promise.all(pending);
  await store.runners.heartbeat({
    runnerId,
    worktrees: [{ id: worktree.id, fence: worktreeFence }],
    commands: [{ id: command.id, fence }],
    ttlMs: leaseMs,
  });
  await store.artifacts.record({
    sessionId: session.id,
    commandId: command.id,
    name: "output.txt",
    sizeBytes: 4,
    sha256: "0".repeat(64),
    uri: "file:///srv/artifacts/output.txt",
  });
  await store.commands.finish({ commandId: command.id, fence, outcome: "succeeded" });
  await store.worktrees.release({ ...held, to: "clean" });
}
