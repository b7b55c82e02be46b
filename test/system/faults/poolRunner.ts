// A runner that does what its task says, mostly something that goes wrong.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { threadId } from "node:worker_threads";
import { type RunnerTask, storeError } from "../../../src/index.ts";

export type PoolTask =
  | { readonly type: "count" }
  /** Reads of one tick, counted by what became of them. */
  | { readonly type: "burst"; readonly calls: number }
  | { readonly type: "echo"; readonly value: unknown }
  | { readonly type: "thread" }
  /** Goes on after the task has ended: counts changes into shared memory. */
  | { readonly type: "watch"; readonly seen: SharedArrayBuffer }
  /** Ends when its signal fires, with the signal's reason. */
  | { readonly type: "until aborted"; readonly begun?: SharedArrayBuffer }
  /** Waits in the store, under its own signal. */
  | { readonly type: "claim"; readonly runnerId: string; readonly begun: SharedArrayBuffer }
  | { readonly type: "forbidden" }
  | { readonly type: "missing file"; readonly path: string }
  | { readonly type: "throw"; readonly what: "store error" | "text" | "nothing" | "own error" | "unsendable details" }
  | { readonly type: "result that cannot be sent" }
  | { readonly type: "exit" }
  | { readonly type: "uncaught" };

/** Tells the test that the task has come so far. */
function tell(shared: SharedArrayBuffer | undefined): void {
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
      const outcomes = Map.groupBy(calls, (one) =>
        one.status === "rejected" ? (one.reason.code as string) : one.status,
      );
      return Object.fromEntries([...outcomes].map(([outcome, same]) => [outcome, same.length]));
    }
    case "echo":
      return task.value;
    case "thread":
      return threadId;
    case "watch":
      void (async () => {
        for await (const _change of store.changes.watch({ waitMs: 60_000 })) tell(task.seen);
      })().catch(() => undefined);
      return undefined;
    case "until aborted":
      tell(task.begun);
      if (!signal.aborted) await once(signal, "abort");
      return signal.reason;
    case "claim": {
      const claim = store.commands.claim({ runnerId: task.runnerId, waitMs: 600_000 }, { signal });
      tell(task.begun);
      return claim;
    }
    case "forbidden":
      return store.worktrees.list();
    case "missing file":
      return readFileSync(task.path);
    case "throw":
      throw thrown(task.what);
    case "result that cannot be sent":
      return () => 1;
    case "exit":
      return process.exit(3);
    case "uncaught":
      setImmediate(() => {
        throw new Error("nobody catches this");
      });
      return once(signal, "abort");
  }
};

function thrown(what: Extract<PoolTask, { type: "throw" }>["what"]): unknown {
  if (what === "store error") return storeError("lease_lost", { currentFence: 7 });
  if (what === "own error") return Object.assign(new RangeError("of mine"), { code: 17 });
  if (what === "unsendable details") return storeError("conflict", { call: () => 1 });
  return what === "text" ? "just text" : undefined;
}

export default run;
