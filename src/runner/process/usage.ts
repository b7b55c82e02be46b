// Measures what a program and its descendants use, by samples of /proc. Elsewhere than on Linux nothing is known.
import { readdirSync, readFileSync } from "node:fs";
import { realTime } from "../../realTime.ts";

/** The use of a program with its descendants, as far as samples show it. Null where nothing is known. */
export interface Usage {
  /**
   * CPU time in milliseconds, in steps of 10 ms, up to the last sample; at most 2 s of time are missing at the end. Time
   * of descendants that have ended counts if their parents have waited for them. Null for a program that ended before
   * the first sample, after 20 ms.
   */
  readonly cpuMs: number | null;
  /**
   * The larger of two figures, in bytes: the largest sum of the resident memory of all processes in one sample, where
   * pages that they share count for each; and the peak of the largest process, which no sample misses that comes after it.
   */
  readonly memoryBytesMax: number | null;
  /**
   * The bytes that were to be written to disks, up to the last sample, as the kernel counts them: pages that were made
   * dirty, and not what is written to pipes. Null where the kernel does not count them, or where they may not be read.
   */
  readonly writtenBytes: number | null;
}

/** The use of a program of which there is no sample. */
export const unknownUsage: Usage = { cpuMs: null, memoryBytesMax: null, writtenBytes: null };

/** The time of the first sample. The time between two doubles with each, up to the last one. */
const [firstMs, lastMs] = [20, 2_000];
/** The part of this thread's time that the samples of one program may take. */
const timeShareMax = 0.01;
/** Linux gives CPU time in hundredths of a second, on every machine that Node.js runs on. */
const msPerTick = 10;
/** A program may start new processes faster than they are read. */
const processesMax = 1_000;

/** Samples a process and its descendants from now on. */
export class UsageMeter {
  readonly #pid: number;
  #timer: NodeJS.Timeout | undefined;
  #usage = unknownUsage;

  constructor(pid: number) {
    this.#pid = pid;
    if (process.platform === "linux") this.#schedule(firstMs);
  }

  /** Stops, and returns what was seen. */
  end(): Usage {
    realTime.clearTimeout(this.#timer);
    return this.#usage;
  }

  #schedule(afterMs: number): void {
    this.#timer = realTime.setTimeout(() => {
      const startedAtMs = realTime.elapsed();
      this.#sample();
      const tookMs = realTime.elapsed() - startedAtMs;
      this.#schedule(Math.max(Math.min(lastMs, 2 * afterMs), tookMs / timeShareMax));
    }, afterMs);
    this.#timer.unref();
  }

  #sample(): void {
    let [cpuMs, memoryBytes, peakBytes, seen] = [0, 0, 0, 0];
    let writtenBytes: number | undefined;
    const pids = [this.#pid];
    for (let pid = pids.pop(); pid !== undefined; pid = pids.pop()) {
      const own = readProcess(pid);
      if (own === undefined) continue;
      cpuMs += own.cpuMs;
      memoryBytes += own.memoryBytes;
      peakBytes = Math.max(peakBytes, own.peakBytes);
      const written = writtenBy(pid);
      if (written !== undefined) writtenBytes = (writtenBytes ?? 0) + written;
      if (++seen === processesMax) break;
      pids.push(...own.children);
    }
    if (seen === 0) return;
    this.#usage = {
      cpuMs: Math.max(this.#usage.cpuMs ?? 0, cpuMs),
      // A process that has ended, and that nobody has waited for yet, has no memory.
      memoryBytesMax: Math.max(this.#usage.memoryBytesMax ?? 0, memoryBytes, peakBytes) || null,
      writtenBytes:
        writtenBytes === undefined ? this.#usage.writtenBytes : Math.max(this.#usage.writtenBytes ?? 0, writtenBytes),
    };
  }
}

/** Reads one process. Its CPU time has that of children that it has waited for. */
function readProcess(pid: number) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // Fields 14 to 17 are CPU times, and 20 is the number of threads. The name, field 2, may hold spaces.
    const fields = stat
      .slice(stat.lastIndexOf(")") + 2)
      .split(" ")
      .map(Number);
    const [userTicks = 0, systemTicks = 0, childUserTicks = 0, childSystemTicks = 0, , , threads = 1] =
      fields.slice(11);
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    const bytesOf = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? 0) * 1_024;
    // Each thread has the children that it has started.
    const tasks = threads === 1 ? [pid] : readdirSync(`/proc/${pid}/task`);
    return {
      cpuMs: (userTicks + systemTicks + childUserTicks + childSystemTicks) * msPerTick,
      memoryBytes: bytesOf("VmRSS"),
      peakBytes: bytesOf("VmHWM"),
      children: tasks.flatMap((task) => childrenOf(pid, task)),
    };
  } catch {
    // It has ended.
    return undefined;
  }
}

/**
 * Returns the bytes that a process, and the children for which it has waited, have caused to be written:
 * https://docs.kernel.org/filesystems/proc.html. Undefined without task I/O accounting, for a process of another user, and
 * for one that has ended.
 */
function writtenBy(pid: number): number | undefined {
  try {
    const bytes = /^write_bytes: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "latin1"))?.[1];
    return bytes === undefined ? undefined : Number(bytes);
  } catch {
    return undefined;
  }
}

/** Returns the children of a thread; none if the thread has ended, or if the kernel does not list them. */
function childrenOf(pid: number, task: number | string): readonly number[] {
  try {
    return (readFileSync(`/proc/${pid}/task/${task}/children`, "latin1").match(/\d+/g) ?? []).map(Number);
  } catch {
    return [];
  }
}
