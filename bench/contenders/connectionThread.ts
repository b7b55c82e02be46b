// A thread with a connection of its own: each call is one transaction, and a failed one for lack of the lock is repeated.
import type Database from "better-sqlite3";
import { type Cell, day, type Opened } from "../cells/cell.ts";
import { lineOf } from "../load.ts";
import { leaseMs } from "../setup.ts";
import { connect } from "../statements.ts";
import { untilUnlocked } from "./untilUnlocked.ts";

const line = lineOf(day.bytes);

export function open({ scenario }: Cell, { path, runnerId }: { path: string; runnerId: number }): Opened {
  const db = connect(path, 5_000);
  const calls = callsOf(db, runnerId);
  let offset = 0;
  const units = {
    enqueue: () => calls.enqueue(JSON.stringify(["true"])),
    work() {
      const command = calls.claim();
      calls.finish(command.id, command.fence);
    },
    lone() {
      calls.append(1, 0, offset);
      offset += line.byteLength;
    },
    "runner-day"() {
      const command = calls.claim();
      const worktree = calls.reserve();
      for (let index = 0; index < day.appends; index++)
        calls.append(command.id, command.fence, index * line.byteLength);
      calls.heartbeat(command, worktree);
      calls.record(command.id);
      calls.finish(command.id, command.fence);
      calls.release(worktree);
    },
  };
  return { unit: units[scenario], close: () => void db.close() };
}

interface Held {
  readonly id: number;
  readonly fence: number;
}

function callsOf(db: Database.Database, runnerId: number) {
  const text = {
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
  };
  const prepared = Object.fromEntries(
    Object.entries(text).map(([name, sql]) => [name, db.prepare<unknown[], Held>(sql)]),
  ) as Record<keyof typeof text, Database.Statement<unknown[], Held>>;
  const changeOne = (name: keyof typeof text, ...values: unknown[]): void => {
    if (prepared[name].run(...values).changes !== 1) throw new Error(`${name} was refused`);
  };
  const take = (name: "claim" | "reserve"): Held => {
    const held = prepared[name].get(runnerId, Date.now() + leaseMs);
    if (held === undefined) throw new Error(`there is nothing to ${name}`);
    return held;
  };
  const call = <Args extends unknown[], Result>(run: (...args: Args) => Result): ((...args: Args) => Result) => {
    const { immediate } = db.transaction(run);
    return (...args) => untilUnlocked(() => immediate(...args) as Result);
  };
  return {
    enqueue: call((argv: string) => changeOne("enqueue", argv, Date.now())),
    claim: call(() => take("claim")),
    reserve: call(() => take("reserve")),
    append: call((id: number, fence: number, offset: number) => {
      changeOne("advance", line.byteLength, id, fence, offset);
      changeOne("chunk", id, offset, Date.now(), line);
    }),
    heartbeat: call((command: Held, worktree: Held) => {
      const expiresAt = Date.now() + leaseMs;
      changeOne("runner", expiresAt, runnerId);
      changeOne("renewCommand", expiresAt, command.id, command.fence);
      changeOne("renewWorktree", expiresAt, worktree.id, worktree.fence);
    }),
    record: call((id: number) =>
      changeOne("record", id, "output.txt", "0".repeat(64), "file:///srv/artifacts/output.txt", Date.now()),
    ),
    finish: call((id: number, fence: number) => changeOne("finish", Date.now(), id, fence)),
    release: call(({ id, fence }: Held) => changeOne("release", id, fence)),
  };
}
