// Kills restores with kill -9. Afterwards the old or the new database is complete, and the next restore succeeds.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import Database from "better-sqlite3";
import { restoreSqlite } from "../../../src/sqlite/restore.ts";
import { leftovers, old, restoreFolder, stateOf } from "./restoreFolder.ts";

const script = fileURLToPath(new URL("./restoringProcess.ts", import.meta.url));

export interface Killed {
  readonly signal: NodeJS.Signals | null;
  readonly durationMs: number;
}

/**
 * Restores in a process that is killed `afterMs` after its start, or that kills itself after a step. The delay is the
 * experiment, not a way to wait.
 */
export async function restoreIn(
  backup: string,
  path: string,
  { step = "none", afterMs }: { step?: string; afterMs?: number },
): Promise<Killed> {
  const child = spawn(process.execPath, [script, backup, path, step], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = new Promise<NodeJS.Signals | null>((resolve) => child.once("exit", (_, signal) => resolve(signal)));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  const startedAtMs = performance.now();
  const stop = new AbortController();
  if (afterMs !== undefined)
    void delay(afterMs, undefined, { signal: stop.signal }).then(
      () => child.kill("SIGKILL"),
      () => undefined,
    );
  const signal = await exited;
  stop.abort();
  return { signal, durationMs: performance.now() - startedAtMs };
}

/** Kills restores at random moments, and checks which database each of them left. */
export async function killRestores(times: number): Promise<{ readonly old: number; readonly fresh: number }> {
  const { path, backup, reset } = await restoreFolder();
  let { durationMs } = await restoreIn(backup, path, {});
  const left = { old: 0, fresh: 0 };
  for (let time = 0; time < times; time++) {
    reset();
    const killed = await restoreIn(backup, path, { afterMs: Math.random() * durationMs });
    if (killed.signal === null) durationMs = (durationMs + killed.durationMs) / 2;
    const state = stateOf(path);
    left[state]++;
    if (state === "fresh") requireKept(path);
    restoreSqlite({ backup, path, keep: false });
    if (stateOf(path) !== "fresh" || leftovers(path).length > 0)
      throw new Error(`after another restore: ${stateOf(path)}, ${leftovers(path)}`);
  }
  return left;
}

/** Requires that the replaced database is among the backups, even if its manifest was not written. */
export function requireKept(path: string): void {
  const folder = join(dirname(path), "backups");
  for (const name of readdirSync(folder).filter((one) => one.endsWith(".db"))) {
    const db = new Database(join(folder, name), { readonly: true });
    const names = db.prepare("SELECT name FROM repositories ORDER BY name").pluck().all();
    db.close();
    if (String(names) === String(old)) return;
  }
  throw new Error(`the old database is not in ${folder}`);
}

/** The filter in the kernel stops the process at the named calls only, not at every one. */
const quietly = ["-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"];

/** Checks whether strace can be used, which kills a process at a system call. */
export function hasStrace(): boolean {
  try {
    execFileSync("strace", [...quietly, "true"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/**
 * Kills a restore at the first call of each kind that changes a file, then at the one that `next` names, until a restore
 * comes to its end. Returns how many of them left which database.
 */
export async function killRestoreAtCalls(
  next: (call: string, when: number) => number,
): Promise<{ readonly old: number; readonly fresh: number }> {
  const { path, backup, reset } = await restoreFolder();
  const seen = { old: 0, fresh: 0 };
  for (const call of ["rename", "link", "unlink", "ftruncate", "fsync", "pwrite"]) {
    for (let when = 1, killed = true; killed; when = next(call, when)) {
      reset();
      const inject = `inject=/^${call}:signal=KILL:when=${when}`;
      const child = spawn("strace", [...quietly, "-e", inject, process.execPath, script, backup, path, "none"], {
        stdio: "ignore",
      });
      const [code, signal] = (await once(child, "exit")) as [number | null, string | null];
      killed = signal === "SIGKILL" || code === 137;
      seen[stateOf(path)]++;
      if (when >= 200) throw new Error(`${call} was called ${when} times`);
    }
  }
  return seen;
}
