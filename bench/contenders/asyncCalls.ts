// The calls of drivers that answer with promises, by the statements of a connection per thread. A call of one statement
// is that statement alone, and any other is a transaction that begins with a write.
import { leaseMs } from "../setup.ts";
import { artifact, type Calls, type Held } from "./calls.ts";
import { type Name, statements } from "./connectionThread.ts";
import { untilUnlocked } from "./untilUnlocked.ts";

export interface Executor {
  run(sql: string, values: readonly unknown[]): Promise<{ rows: readonly unknown[]; changes: number }>;
}

export interface Driver extends Executor {
  transaction(run: (transaction: Executor) => Promise<void>): Promise<void>;
}

export function asyncCalls(driver: Driver, runnerId: number): Calls {
  const changeOne = async (on: Executor, name: Name, ...values: unknown[]): Promise<void> => {
    const { changes } = await on.run(statements[name], values);
    if (changes !== 1) throw new Error(`${name} was refused`);
  };
  const alone = (name: Name, ...values: unknown[]) => untilUnlocked(() => changeOne(driver, name, ...values));
  const take = async (name: "claim" | "reserve"): Promise<Held> => {
    const { rows } = await untilUnlocked(() => driver.run(statements[name], [runnerId, Date.now() + leaseMs]));
    if (rows.length === 0) throw new Error(`there is nothing to ${name}`);
    return rows[0] as Held;
  };
  const together = (run: (transaction: Executor) => Promise<void>) => untilUnlocked(() => driver.transaction(run));
  return {
    enqueue: (argv) => alone("enqueue", argv, Date.now()),
    claim: () => take("claim"),
    reserve: () => take("reserve"),
    append: ({ id, fence }, offset, data) =>
      together(async (transaction) => {
        await changeOne(transaction, "advance", data.byteLength, id, fence, offset);
        await changeOne(transaction, "chunk", id, offset, Date.now(), data);
      }),
    heartbeat: (command, worktree) =>
      together(async (transaction) => {
        const expiresAt = Date.now() + leaseMs;
        await changeOne(transaction, "runner", expiresAt, runnerId);
        await changeOne(transaction, "renewCommand", expiresAt, command.id, command.fence);
        await changeOne(transaction, "renewWorktree", expiresAt, worktree.id, worktree.fence);
      }),
    record: ({ id }) => alone("record", id, artifact.name, artifact.sha256, artifact.uri, Date.now()),
    finish: ({ id, fence }) => alone("finish", Date.now(), id, fence),
    release: ({ id, fence }) => alone("release", id, fence),
  };
}
