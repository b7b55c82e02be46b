// Stops a process with SIGSTOP for good, and at a moment at which it holds no lock of a SQLite file.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import Database from "better-sqlite3";

/** Stops a process while it does not hold the write lock of the database, which a stopped process would keep. */
export async function stopWithoutLock(pid: number, path: string): Promise<void> {
  const db = new Database(path, { timeout: 0 });
  for (;;) {
    process.kill(pid, "SIGSTOP");
    while (!isStopped(pid)) await setImmediate();
    try {
      db.exec("BEGIN IMMEDIATE; ROLLBACK");
      break;
    } catch {
      process.kill(pid, "SIGCONT");
      await setImmediate();
    }
  }
  db.close();
}

/**
 * Checks whether every thread of the process has stopped. The signal is sent before they have: until then one of them
 * may still take the lock. Where there is no /proc, it counts as stopped.
 */
function isStopped(pid: number): boolean {
  const tasks = `/proc/${pid}/task`;
  if (!existsSync(tasks)) return true;
  return readdirSync(tasks).every((task) => {
    const file = `${tasks}/${task}/stat`;
    // A thread that ends meanwhile has no file any more.
    if (!existsSync(file)) return false;
    const stat = readFileSync(file, "utf8");
    // The state follows the name, which is in parentheses and may hold any character.
    return stat[stat.lastIndexOf(")") + 2] === "T";
  });
}
