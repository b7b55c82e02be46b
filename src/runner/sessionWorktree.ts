// The worktree of one session while a runner runs its commands: acquired by the first, patched and prepared once.
import type { Release, Session } from "../index.ts";
import { callHook } from "./callHook.ts";
import { applyPatch } from "./git/patch.ts";
import { persistently } from "./persistently.ts";
import type { SessionRunner } from "./sessionRunner.ts";
import type { HeldWorktree } from "./worktrees.ts";

/** A worktree with the environment of the programs that run in it. */
export interface PreparedWorktree extends HeldWorktree {
  readonly env: Readonly<Record<string, string>>;
}

/** Reports of the making of a worktree, in the logs of the command that waits for it and of the session. */
export interface Progress {
  /** Writes a line to the log of the command. */
  note(line: string): Promise<void>;
  /** Marks the beginning of a phase in the log of the session. */
  phase(name: Phase): void;
}

/** The phases of a session that a runner marks. Commands after the first one find the worktree as it is. */
export type Phase = "checkout" | "install" | "run";

export class SessionWorktree {
  readonly #runner: SessionRunner;
  readonly #session: Session;
  readonly #acquired = Promise.withResolvers<void>();
  #acquiring: Promise<PreparedWorktree> | undefined;
  #isReady = false;
  /** The best state in which it may be released, whatever git says. */
  #trust: Release = "clean";
  #isOver = false;
  #held: HeldWorktree | undefined;

  constructor(runner: SessionRunner, session: Session) {
    this.#runner = runner;
    this.#session = session;
  }

  /** The worktree, once it is acquired. */
  get current(): HeldWorktree | undefined {
    return this.#held;
  }

  /** Resolves when the worktree is ready for commands, and never if it cannot be made so. */
  get acquired(): Promise<void> {
    return this.#acquired.promise;
  }

  /** True while further commands can run in the worktree. */
  get isUsable(): boolean {
    return this.#isReady && !this.#isOver && this.#held?.holding.isLost === false;
  }

  /**
   * Returns the worktree with the session's commit and patch, prepared for its commands. Only the first call does
   * something. Fails as the lease, git, the patch and the hook fail, and then no command can run in this worktree.
   */
  acquire(signal: AbortSignal, progress: Progress): Promise<PreparedWorktree> {
    this.#acquiring ??= this.#acquire(signal, progress);
    return this.#acquiring;
  }

  async #acquire(signal: AbortSignal, progress: Progress): Promise<PreparedWorktree> {
    const { worktrees, onEvent } = this.#runner;
    const session = this.#session;
    progress.phase("checkout");
    const held = await worktrees.acquire(session, { signal });
    this.#held = held;
    const { path, how, notes, holding } = held;
    const { commitSha } = session;
    onEvent({ type: "worktree_ready", sessionId: session.id, worktreeId: holding.id, path, commitSha, how, notes });
    await progress.note(`worktree ${path}: ${how}, at ${commitSha.slice(0, 12)}`);
    for (const line of notes) await progress.note(line);
    const stop = AbortSignal.any([signal, holding.signal]);
    try {
      const env = await this.#prepare(held, stop, progress);
      progress.phase("run");
      this.#isReady = true;
      this.#acquired.resolve();
      return { ...held, env: { ...worktrees.environmentOf(path), ...env } };
    } catch (error) {
      // What it has left half done may be where git does not look.
      this.distrust("dirty");
      throw error;
    }
  }

  /** Applies the patch of the session, and lets the user prepare the worktree. Returns variables for its commands. */
  async #prepare(
    { path, holding }: HeldWorktree,
    signal: AbortSignal,
    progress: Progress,
  ): Promise<Readonly<Record<string, string>> | undefined> {
    const { hooks, graceMs } = this.#runner.parts;
    const session = this.#session;
    if (session.patchUri !== null) {
      const { guard } = this.#runner;
      await applyPatch(path, { uri: session.patchUri, hash: session.patchHash, signal, guard, holdings: [holding] });
      await progress.note(`patch applied: ${session.patchHash ?? "its hash was not given"}`);
    }
    if (hooks?.prepare === undefined) return undefined;
    progress.phase("install");
    const context = { session, path, signal, note: (line: string) => void progress.note(line) };
    const limits = { signal, lost: holding.lost, graceMs };
    const prepared = await callHook("the hook prepare", () => hooks.prepare?.(context), limits);
    signal.throwIfAborted();
    return prepared?.env;
  }

  /**
   * Says that the worktree is not clean, whatever git says. What a program that was killed has left half done may be in
   * ignored files and in empty folders. A function that was not waited for may still write in it: then it is broken.
   */
  distrust(trust: "dirty" | "broken"): void {
    if (this.#trust !== "broken") this.#trust = trust;
  }

  /** Asks git in which condition the worktree is, reports its commit, and returns how it can be released. */
  async condition(): Promise<Release> {
    const held = this.#held;
    if (held === undefined || held.holding.isLost) return "dirty";
    const found = await this.#runner.worktrees.inspect(held);
    return this.#trust === "clean" ? found : this.#trust;
  }

  /**
   * Returns how the worktree can be released if the session ends with the command that is about to be reported, and
   * undefined if it goes on: git is not asked for nothing.
   */
  async endCondition(): Promise<Release | undefined> {
    const held = this.#held;
    if (held === undefined || held.holding.isLost) return "dirty";
    if (this.#trust !== "clean") return this.#trust;
    const { id: sessionId } = this.#session;
    const { lost } = held.holding;
    const session = await persistently(() => this.#runner.store.sessions.get({ sessionId }), lost);
    const hasOthers = session.queuedCommands + session.activeCommands > 1;
    return hasOthers || (takesCommands(session) && !session.autoComplete) ? undefined : await this.condition();
  }

  /** Says that the session has ended, and with it the lease: another runner may have the worktree now. */
  sessionEnded(): void {
    this.#isOver = true;
    this.#held?.holding.drop();
  }

  /** Ends the lease of the worktree, unless the end of the session has ended it. */
  async release(): Promise<void> {
    const held = this.#held;
    if (held === undefined || this.#isOver) return;
    const to = await this.condition();
    await this.#runner.worktrees.release(held, to);
    this.#runner.onEvent({
      type: "worktree_released",
      sessionId: this.#session.id,
      worktreeId: held.holding.id,
      to,
    });
  }
}

/** Checks whether a session may get further commands. */
export function takesCommands({ state }: Session): boolean {
  return state === "pending" || state === "running";
}
