// A thread with a connection of its own: each call is one transaction, and a failed one for lack of the lock is repeated.
import type Database from "better-sqlite3";
import type { Cell, Opened } from "../cells/cell.ts";
import { leaseMs } from "../setup.ts";
import { connect } from "../statements.ts";
import { artifact, type Calls, type Held, unitOf } from "./calls.ts";
import { untilUnlocked } from "./untilUnlocked.ts";

/** The data of a thread of any contender with these tables. */
export interface ConnectionThread {
  readonly path: string;
  readonly runnerId: number;
}

export const statements = {
  enqueue: "INSERT INTO commands (argv, state, fence, queued_at) VALUES (?, 'queued', 0, ?)",
  claim: `UPDATE commands SET state = 'running', fence = fence + 1, runner_id = ?, expires_at = ?
    WHERE id = (SELECT id FROM commands WHERE state = 'queued' ORDER BY id LIMIT 1) RETURNING id, fence`,
  reserve: `UPDATE worktrees SET runner_id = ?, fence = fence + 1, expires_at = ?
    WHERE id = (SELECT id FROM worktrees WHERE runner_id IS NULL ORDER BY id LIMIT 1) RETURNING id, fence`,
  advance: "UPDATE commands SET log_bytes = log_bytes + ? WHERE id = ? AND fence = ? AND log_bytes = ?",
  chunk: "INSERT INTO log_chunks (command_id, start_offset, at, data) VALUES (?, ?, ?, ?)",
  runner: "UPDATE runners SET expires_at = ? WHERE id = ?",
  renewCommand: "UPDATE commands SET expires_at = ? WHERE id = ? AND fence = ? AND state = 'running'",
  renewWorktree: "UPDATE worktrees SET expires_at = ? WHERE id = ? AND fence = ? AND runner_id IS NOT NULL",
  record: "INSERT INTO artifacts (command_id, name, sha256, uri, created_at) VALUES (?, ?, ?, ?, ?)",
  finish: "UPDATE commands SET state = 'succeeded', expires_at = NULL, ended_at = ? WHERE id = ? AND fence = ?",
  release: "UPDATE worktrees SET runner_id = NULL, expires_at = NULL WHERE id = ? AND fence = ?",
} as const;
export type Name = keyof typeof statements;

export function open(cell: Cell, { path, runnerId }: ConnectionThread): Opened {
  const db = connect(path, 5_000);
  return { unit: unitOf(cell, callsOf(db, runnerId)), close: () => void db.close() };
}

function callsOf(db: Database.Database, runnerId: number): Calls {
  const prepared = Object.fromEntries(
    Object.entries(statements).map(([name, text]) => [name, db.prepare<unknown[], Held>(text)]),
  ) as Record<Name, Database.Statement<unknown[], Held>>;
  const changeOne = (name: Name, ...values: unknown[]): void => {
    if (prepared[name].run(...values).changes !== 1) throw new Error(`${name} was refused`);
  };
  const take = (name: "claim" | "reserve"): Held => {
    const held = prepared[name].get(runnerId, Date.now() + leaseMs);
    if (held === undefined) throw new Error(`there is nothing to ${name}`);
    return held;
  };
  const call = <Args extends unknown[], Result>(run: (...args: Args) => Result) => {
    const { immediate } = db.transaction(run);
    return (...args: Args) => untilUnlocked(() => immediate(...args) as Result);
  };
  return {
    enqueue: call((argv) => changeOne("enqueue", argv, Date.now())),
    claim: call(() => take("claim")),
    reserve: call(() => take("reserve")),
    append: call(({ id, fence }, offset, data) => {
      changeOne("advance", data.byteLength, id, fence, offset);
      changeOne("chunk", id, offset, Date.now(), data);
    }),
    heartbeat: call((command, worktree) => {
      const expiresAt = Date.now() + leaseMs;
      changeOne("runner", expiresAt, runnerId);
      changeOne("renewCommand", expiresAt, command.id, command.fence);
      changeOne("renewWorktree", expiresAt, worktree.id, worktree.fence);
    }),
    record: call(({ id }) => changeOne("record", id, artifact.name, artifact.sha256, artifact.uri, Date.now())),
    finish: call(({ id, fence }) => changeOne("finish", Date.now(), id, fence)),
    release: call(({ id, fence }) => changeOne("release", id, fence)),
  };
}
