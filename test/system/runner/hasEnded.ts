// Checks whether a process has ended, be it that nobody has waited for it yet.
import { readFileSync } from "node:fs";

export function hasEnded(pid: number): boolean {
  if (!(pid > 1)) throw new RangeError(`${pid} is no process`);
  try {
    process.kill(pid, 0);
  } catch {
    return true;
  }
  if (process.platform !== "linux") return false;
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat[stat.lastIndexOf(")") + 2] === "Z";
  } catch {
    return true;
  }
}
