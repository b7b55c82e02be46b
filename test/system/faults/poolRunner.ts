// A runner that behaves as its task says, mostly wrongly.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { threadId } from "node:worker_threads";
import { type RunnerTask, storeError } from "../../../src/index.ts";

export type PoolTask =
  | { readonly type: "count" }
  /** Makes reads in one tick, and counts them by outcome. */
  | { readonly type: "burst"; readonly calls: number }
  | { readonly type: "echo"; readonly value: unknown }
  | { readonly type: "thread" }
  /** Counts changes in shared memory, also after the task has ended. */
  | { readonly type: "watch"; readonly seen: SharedArrayBuffer }
  /** Ends when its signal is aborted, with the signal's reason. */
  | { readonly type: "until aborted"; readonly begun?: SharedArrayBuffer }
  /** Parks a call in the store, with the task's signal. */
  | { readonly type: "claim"; readonly runnerId: string; readonly begun: SharedArrayBuffer }
  | { readonly type: "forbidden" }
  | { readonly type: "missing file"; readonly path: string }
  | { readonly type: "throw"; readonly what: "store error" | "text" | "nothing" | "own error" | "unsendable details" }
  | { readonly type: "result that cannot be sent" }
  | { readonly type: "exit" }
  | { readonly type: "uncaught" };

/** Increments a shared counter, so that the test knows how far the task is. */
function countUp(shared: SharedArrayBuffer | undefined): void {
  if (shared === undefined) return;
  const flag = new Int32Array(shared);
  Atomics.add(flag, 0, 1);
  Atomics.notify(flag, 0);
}

const run: RunnerTask<PoolTask> = async (task, { store, signal }) => {
  switch (task.type) {
    case "count":
      return (await store.repositories.list()).items.length;
    case "burst": {
      const calls = await Promise.allSettled(Array.from({ length: task.calls }, () => store.runners.list()));
      const outcomes = Map.groupBy(calls, (call) =>
        call.status === "rejected" ? (call.reason.code as string) : call.status,
      );
      return Object.fromEntries([...outcomes].map(([outcome, group]) => [outcome, group.length]));
    }
    case "echo":
      return task.value;
    case "thread":
      return threadId;
    case "watch":
      void (async () => {
        for await (const _change of store.changes.watch({ waitMs: 60_000 })) countUp(task.seen);
      })().catch(() => undefined);
      return undefined;
    case "until aborted":
      countUp(task.begun);
      if (!signal.aborted) await once(signal, "abort");
      return signal.reason;
    case "claim": {
      const claim = store.commands.claim({ runnerId: task.runnerId, waitMs: 600_000 }, { signal });
      countUp(task.begun);
      return claim;
    }
    case "forbidden":
      return store.worktrees.list();
    case "missing file":
      return readFileSync(task.path);
    case "throw":
      throw errorFor(task.what);
    case "result that cannot be sent":
      return () => 1;
    case "exit":
      return process.exit(3);
    case "uncaught":
      setImmediate(() => {
        throw new Error("an uncaught error");
      });
      return once(signal, "abort");
  }
};

function errorFor(what: Extract<PoolTask, { type: "throw" }>["what"]): unknown {
  if (what === "store error") return storeError("lease_lost", { currentFence: 7 });
  if (what === "own error") return Object.assign(new RangeError("of the task"), { code: 17 });
  if (what === "unsendable details") return storeError("conflict", { call: () => 1 });
  return what === "text" ? "just text" : undefined;
}

export default run;
