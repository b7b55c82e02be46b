// Starts a runner: in the calling thread, or in threads of a pool; drains it on SIGTERM and SIGINT.
import { randomUUID } from "node:crypto";
import { availableParallelism, hostname } from "node:os";
import { join, resolve } from "node:path";
import { BroadcastChannel } from "node:worker_threads";
import { createRunnerPool, type OwnedStore, type Repository, type Store, StoreError, serverOf } from "../index.ts";
import { realTime, sleep } from "../realTime.ts";
import { isRefused, requireAccess, scopesMissing } from "./access.ts";
import { formatRunnerEvent, messageOf, type RunnerEvent } from "./events.ts";
import { type RunnerParts, runnerOperations } from "./options.ts";
import { folderOf, keepOutOfGit } from "./ownFolder.ts";
import { type ProcessGuard, startGuard } from "./process/guard.ts";
import { registerRepository } from "./registerRepository.ts";
import { runLoop } from "./runLoop.ts";
import type { ThreadStop, ThreadTask } from "./runnerThread.ts";

export interface StartRunnerOptions extends RunnerParts {
  /** The name that the store shows. Defaults to the name of this host. Each place adds its number. */
  readonly name?: string;
  /**
   * A git repository of this machine, which is registered in the store: any folder in it. A runner also serves the other
   * repositories of the store, whose `remoteUrl` is a path of this machine or a URL that git can fetch.
   */
  readonly repositoryPath?: string;
  /**
   * The number of sessions that run at once. Defaults to `threads`, or to the number of cores without threads. A session
   * runs one command at a time unless its `maxParallel` allows more.
   */
  readonly concurrency?: number;
  /**
   * The number of threads that the sessions are spread over. Defaults to 0: the calling thread. Threads help where much
   * output is read. They need the store that `openStore` returned, and take functions from `module`.
   */
  readonly threads?: number;
  /** A module that exports `hooks`, and perhaps `sink`, for threads: functions cannot be sent to them. */
  readonly module?: string | URL;
  /**
   * The time that commands have to end once the runner is asked to stop, in milliseconds. After it they are stopped and
   * given back to the queue. Defaults to 30 000.
   */
  readonly drainMs?: number;
  /** Drains the runner at the first SIGTERM or SIGINT, and stops what runs at the second. Defaults to true. */
  readonly signals?: boolean;
}

/** A runner that has started. */
export interface StartedRunner {
  /** The repository of `repositoryPath`. */
  readonly repository: Repository | undefined;
  /** Resolves when the runner has ended, after `close` or a signal. Fails when the store refused it, or is closed. */
  readonly ended: Promise<void>;
  /**
   * Claims nothing more, and resolves when the commands that run have ended. After `drainMs` they are stopped, and given
   * back to the queue. A second call with a shorter time shortens it.
   */
  close(options?: { readonly drainMs?: number }): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Options that must be checked before anything is started. */
function check({ threads = 0, concurrency, hooks, sink }: StartRunnerOptions, store: Store): void {
  const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0 && value <= 1_024;
  if (!isCount(threads)) throw new RangeError(`threads: ${threads} is not a number from 0 to 1024`);
  if (concurrency !== undefined && (!isCount(concurrency) || concurrency < Math.max(1, threads)))
    throw new RangeError(`concurrency: ${concurrency} is not a number from ${Math.max(1, threads)} to 1024`);
  if (threads === 0) return;
  if (!("serve" in store))
    throw new TypeError(
      "threads: they need the store that openStore returned; leave `threads` out to run in this thread",
    );
  if (hooks !== undefined || sink !== undefined)
    throw new TypeError("hooks and sink cannot be sent to threads: export them from a module, and name it as `module`");
}

/**
 * Starts a runner, which claims commands from the store and runs them in git worktrees until it is closed or signalled.
 * Resolves when it is registered. Without `onEvent`, its problems are warnings of the process. Fails when the options
 * contradict each other, when `repositoryPath` is no git repository, and as the store fails: with `scope_missing` when it lets
 * the caller do less than a runner has to.
 */
export async function startRunner(store: Store | OwnedStore, given: StartRunnerOptions = {}): Promise<StartedRunner> {
  check(given, store);
  const registered = Promise.withResolvers<void>();
  const report = safely(given.onEvent ?? warnOfProblems);
  const onEvent = (event: RunnerEvent): void => {
    if (event.type === "registered") registered.resolve();
    report(event);
  };
  const options: StartRunnerOptions = { ...given, onEvent };
  const { repositoryPath, threads = 0 } = options;
  await keepOutOfGit(options);
  await requireAccess(store, { artifacts: (options.artifacts ?? []).length > 0 });
  const concurrency = options.concurrency ?? (threads === 0 ? availableParallelism() : threads);
  const repository =
    repositoryPath === undefined
      ? undefined
      : await registerRepository(store, {
          path: resolve(repositoryPath),
          worktreesFolder: join(folderOf(options), "worktrees"),
          worktreesMin: concurrency,
        }).catch((error: unknown) => {
          throw isRefused(error) ? scopesMissing(["repositories:write"]) : error;
        });
  const names = Array.from({ length: concurrency }, (_, index) => `${options.name ?? hostname()}-${index + 1}`);
  const places =
    threads === 0 ? await startHere(store, names, options) : startThreads(store as OwnedStore, names, options);
  const runner = new Runner(repository, places, options.drainMs ?? 30_000, options.signals ?? true, onEvent);
  // It can fail, or be signalled, before the store has answered.
  await Promise.race([registered.promise, runner.ended]);
  return runner;
}

/** A thread that ends so soon, in milliseconds, does so again, for example because its module has an error. */
const soonMs = 10_000;
const endedSoonMax = 5;

/** The places of a runner, wherever they are. */
interface Places {
  /** Fails as soon as one place has failed. The others go on until they are drained. */
  readonly failed: Promise<unknown>;
  /** Settles when the last place has ended. Fails as the first one failed. */
  readonly ended: Promise<void>;
  drain(): void;
  interrupt(): void;
}

async function startHere(store: Store, names: readonly string[], parts: StartRunnerOptions): Promise<Places> {
  const [draining, interrupted] = [new AbortController(), new AbortController()];
  const guard: ProcessGuard = await startGuard();
  const signals = { draining: draining.signal, interrupted: interrupted.signal };
  const running = names.map((name) => runLoop(store, { name, parts, guard, ...signals }));
  return {
    ...endsOf(running, () => guard.close()),
    drain: () => draining.abort("drain"),
    interrupt: () => interrupted.abort("interrupted"),
  };
}

/** Returns the ends of places that run: `failed` and `ended`. */
function endsOf(running: readonly Promise<void>[], close: () => Promise<void>): Pick<Places, "failed" | "ended"> {
  const failed = Promise.all(running);
  const end = async (): Promise<void> => {
    await Promise.allSettled(running);
    await close();
    await failed;
  };
  return { failed, ended: end() };
}

function startThreads(store: OwnedStore, names: readonly string[], options: StartRunnerOptions): Places {
  const { threads = 1, module, onEvent } = options;
  const channelName = `debug-server-db:runner:${randomUUID()}`;
  const channel = new BroadcastChannel(channelName);
  channel.unref();
  channel.onmessage = ({ data }: { data: RunnerEvent }) => onEvent?.(data);
  const pool = createRunnerPool(store, {
    filename: new URL(import.meta.url.endsWith(".ts") ? "./runnerThread.ts" : "./runnerThread.js", import.meta.url),
    threads,
    tasksPerThread: Math.ceil(names.length / threads),
    operations: runnerOperations,
  });
  const draining = new AbortController();
  const settings = settingsOf(options);
  const runPlace = async (name: string): Promise<void> => {
    const task: ThreadTask = {
      name,
      settings,
      module: module === undefined ? undefined : String(module),
      server: serverOf(store),
      channel: channelName,
    };
    for (let endedSoon = 0; !draining.signal.aborted; ) {
      const startedAtMs = realTime.elapsed();
      try {
        await pool.run(task, { signal: draining.signal });
      } catch (error) {
        endedSoon = realTime.elapsed() - startedAtMs < soonMs ? endedSoon + 1 : 0;
        if (isFinal(error) || endedSoon > endedSoonMax) throw error;
        // The thread has died: its programs are killed, and its leases run out. Another thread takes its place.
        onEvent?.({ type: "problem", message: `a thread of the runner has ended: ${messageOf(error)}` });
        await sleep(endedSoon * 500, { signal: draining.signal });
      }
    }
  };
  return {
    ...endsOf(names.map(runPlace), async () => {
      await pool.close({ abort: true });
      channel.close();
    }),
    drain: () => draining.abort("drain" satisfies ThreadStop),
    interrupt: () => channel.postMessage("interrupt" satisfies ThreadStop),
  };
}

/** Checks whether another thread would end in the same way: the store refuses it, or the module is missing. */
function isFinal(error: unknown): boolean {
  return error instanceof StoreError || (error as { code?: unknown }).code === "ERR_MODULE_NOT_FOUND";
}

/** Returns the options that reach a thread. */
function settingsOf(options: StartRunnerOptions) {
  const { folder, place, labels, ttlMs, graceMs, idleMs, artifacts, inherit, env, submodules } = options;
  return Object.fromEntries(
    Object.entries({ folder, place, labels, ttlMs, graceMs, idleMs, artifacts, inherit, env, submodules }).filter(
      ([, value]) => value !== undefined,
    ),
  );
}

const endingSignals = ["SIGTERM", "SIGINT"] as const;
/** A longer timer fires at once: https://nodejs.org/api/timers.html#settimeoutcallback-delay-args */
const timerMsMax = 2 ** 31 - 1;

/** The listener of a runner without one. */
function warnOfProblems(event: RunnerEvent): void {
  if (event.type === "problem") process.emitWarning(formatRunnerEvent(event), "RunnerWarning");
}

/** Returns a listener that cannot fail: an error of the caller's own is a warning, and stops no runner. */
function safely(onEvent: StartRunnerOptions["onEvent"]): (event: RunnerEvent) => void {
  return (event) => {
    try {
      onEvent?.(event);
    } catch (error) {
      process.emitWarning(error instanceof Error ? error : String(error));
    }
  };
}

class Runner implements StartedRunner {
  readonly repository: Repository | undefined;
  readonly ended: Promise<void>;
  readonly #places: Places;
  readonly #drainMs: number;
  readonly #onEvent: (event: RunnerEvent) => void;
  #interruptTimer: NodeJS.Timeout | undefined;
  #interruptAtMs = Number.POSITIVE_INFINITY;
  #isDraining = false;
  #hasEnded = false;

  constructor(
    repository: Repository | undefined,
    places: Places,
    drainMs: number,
    signals: boolean,
    onEvent: (event: RunnerEvent) => void,
  ) {
    this.repository = repository;
    this.#places = places;
    this.#drainMs = drainMs;
    this.#onEvent = onEvent;
    if (signals) for (const name of endingSignals) process.on(name, this.#onSignal);
    // One that fails ends the others, within the time that they have: a store that refuses one refuses all.
    places.failed.catch(() => this.#drain(this.#drainMs));
    this.ended = places.ended.finally(() => {
      this.#hasEnded = true;
      realTime.clearTimeout(this.#interruptTimer);
      for (const name of endingSignals) process.off(name, this.#onSignal);
    });
    // Whoever waits for `ended` or `close` gets the error; nobody has to.
    this.ended.catch((error: unknown) => onEvent({ type: "problem", message: messageOf(error) }));
  }

  readonly #onSignal = (): void => this.#drain(this.#isDraining ? 0 : this.#drainMs);

  close({ drainMs = this.#drainMs }: { readonly drainMs?: number } = {}): Promise<void> {
    this.#drain(drainMs);
    return this.ended;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #drain(withinMs: number): void {
    const atMs = realTime.elapsed() + withinMs;
    if (this.#hasEnded || (this.#isDraining && atMs >= this.#interruptAtMs)) return;
    if (!this.#isDraining) {
      this.#isDraining = true;
      this.#places.drain();
    }
    this.#onEvent({ type: "draining", withinMs });
    realTime.clearTimeout(this.#interruptTimer);
    this.#interruptAtMs = atMs;
    if (withinMs <= timerMsMax) this.#interruptTimer = realTime.setTimeout(() => this.#places.interrupt(), withinMs);
  }
}
