// Kills process groups, and on Linux also the processes that have left their group.
import { readdir, readFile } from "node:fs/promises";

/** Sends a signal to a whole process group, which may be empty by now. */
export function killGroup(pid: number, signal: NodeJS.Signals): void {
  send(-pid, signal);
}

/** Checks whether a process group has a process, be it one that has ended and that nobody has waited for. */
export function isGroupAlive(pid: number): boolean {
  return send(-pid, 0);
}

/** A process that starts others while they are looked for is found in a later round. */
const roundsMax = 10;

/**
 * Kills the processes that have this variable, as "NAME=value", in the environment with which they were started, until
 * none is left. It looks at those that began after `pid`: the ids of processes grow, until they begin anew at the maximum
 * of the system, and a process on the other side of that is not found. Linux only.
 */
export async function killMarked(variable: string, pid: number): Promise<void> {
  if (process.platform !== "linux") return;
  for (let round = 0; round < roundsMax; round++) if (!(await killMarkedOnce(variable, pid))) return;
}

/** Returns true if there was one. */
async function killMarkedOnce(variable: string, pid: number): Promise<boolean> {
  const names = await readdir("/proc").catch((): string[] => []);
  const candidates = names.map(Number).filter((candidate) => candidate > pid && candidate !== process.pid);
  const killed = await Promise.all(
    candidates.map(async (candidate) => {
      // A process that has ended meanwhile, or that belongs to another user, cannot be read. A zombie has none.
      const environment = await readFile(`/proc/${candidate}/environ`, "latin1").catch(() => "");
      return environment.split("\0").includes(variable) && send(candidate, "SIGKILL");
    }),
  );
  return killed.includes(true);
}

/** Returns false if there is no such process, or if it cannot be reached because it belongs to another user. */
function send(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ESRCH" || code === "EPERM") return false;
    throw error;
  }
}
