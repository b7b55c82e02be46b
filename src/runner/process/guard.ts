// Starts the guardian, a process that outlives this one: it kills programs whose runner has died or stands still.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Writable } from "node:stream";
import { realTime } from "../../realTime.ts";
import { guardianScript } from "./guardian.ts";

/** A guardian of process groups. */
export interface ProcessGuard {
  /**
   * Kills the process group of `pid` after this time in milliseconds, or up to 0.5 s earlier, unless it is renewed or
   * ended before. An infinite time means that only the death of this thread ends the group. With a variable, as
   * "NAME=value" without spaces, on Linux also the processes that have left the group and still have it in their
   * environment.
   */
  watch(pid: number, holdMs: number, variable?: string): WatchedGroup;
  /** Kills what is still watched, and ends the guardian. */
  close(): Promise<void>;
}

/** A process group that is watched. */
export interface WatchedGroup {
  /** Lets it live for this time from now, in milliseconds. */
  renew(holdMs: number): void;
  /** Watches it no longer. */
  end(): void;
}

/**
 * Starts a guardian for this thread. It reads from a pipe that the system closes when the thread or its process ends, in
 * whatever way, and then kills every group that is watched. One is enough for all programs of a thread. It does not keep
 * the process alive, and ends by itself. Fails if there is no `sh`.
 */
export async function startGuard(): Promise<ProcessGuard> {
  const guard = new Guard();
  await guard.started;
  return guard;
}

/** The time after which a guardian that was killed is replaced. */
const restartMs = 100;

class Guard implements ProcessGuard {
  readonly started: Promise<unknown>;
  /** The last line about each group, with the time that remains. */
  readonly #groups = new Map<number, () => string>();
  #child: ChildProcess;
  #isClosed = false;

  constructor() {
    this.#child = this.#start();
    this.started = once(this.#child, "spawn");
  }

  watch(pid: number, holdMs: number, variable = ""): WatchedGroup {
    if (!Number.isInteger(pid) || pid <= 1) throw new RangeError(`pid: ${pid} is no process group that can be watched`);
    // A line ends at a line break, and a group in the guardian's list at a space: without it, only the group is killed.
    const known = /\s/.test(variable) ? "" : variable;
    const renew = (ms: number): void => {
      const untilMs = realTime.elapsed() + ms;
      const line = () => {
        const remainingMs = Math.max(0, untilMs - realTime.elapsed());
        return `w ${pid} ${Number.isFinite(remainingMs) ? Math.floor(remainingMs / 10) : "-"} ${known}\n`;
      };
      this.#groups.set(pid, line);
      this.#send(line());
    };
    renew(holdMs);
    return {
      renew,
      end: () => {
        this.#groups.delete(pid);
        this.#send(`e ${pid}\n`);
      },
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.ref();
    child.stdin?.end();
    await exited;
  }

  /** Starts the process. One that was killed is replaced, and told what to watch. */
  #start(): ChildProcess {
    // In a session of its own, so that no signal to the group of this process reaches it.
    const child = spawn("sh", ["-c", guardianScript, "debug-server-db-guardian"], {
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
      cwd: "/",
      env: { PATH: process.env.PATH, LC_ALL: "C" },
    });
    child.unref();
    // The error of a pipe without reader comes before the exit.
    child.stdin.on("error", () => undefined);
    child.on("error", () => undefined);
    child.once("exit", () => {
      if (!this.#isClosed) realTime.setTimeout(() => this.#restart(), restartMs).unref();
    });
    return child;
  }

  #restart(): void {
    if (this.#isClosed) return;
    this.#child = this.#start();
    for (const line of this.#groups.values()) this.#send(line());
  }

  #send(line: string): void {
    const input: Writable | null = this.#child.stdin;
    if (!this.#isClosed && input?.writable === true) input.write(line);
  }
}
