// The worktree of one session while a runner runs its commands: acquired by the first, patched and prepared once.
import type { Release, Session } from "../index.ts";
import { applyPatch } from "./git/patch.ts";
import type { SessionRunner } from "./sessionRunner.ts";
import type { HeldWorktree } from "./worktrees.ts";

/** A worktree with the environment of the programs that run in it. */
export interface PreparedWorktree extends HeldWorktree {
  readonly env: Readonly<Record<string, string>>;
}

export class SessionWorktree {
  readonly #runner: SessionRunner;
  readonly #session: Session;
  readonly #acquired = Promise.withResolvers<void>();
  #acquiring: Promise<PreparedWorktree> | undefined;
  #isReady = false;
  #isTrusted = true;
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
  acquire(signal: AbortSignal, note: (line: string) => Promise<void>): Promise<PreparedWorktree> {
    this.#acquiring ??= this.#acquire(signal, note);
    return this.#acquiring;
  }

  async #acquire(signal: AbortSignal, note: (line: string) => Promise<void>): Promise<PreparedWorktree> {
    const { worktrees, parts, onEvent } = this.#runner;
    const session = this.#session;
    const held = await worktrees.acquire(session, { signal });
    this.#held = held;
    const { path, how, notes, holding } = held;
    const { commitSha } = session;
    onEvent({ type: "worktree_ready", sessionId: session.id, worktreeId: holding.id, path, commitSha, how, notes });
    await note(`worktree ${path}: ${how}, at ${commitSha.slice(0, 12)}`);
    for (const line of notes) await note(line);
    const stop = AbortSignal.any([signal, holding.signal]);
    if (session.patchUri !== null) {
      await applyPatch(path, { uri: session.patchUri, hash: session.patchHash, signal: stop });
      await note(`patch applied: ${session.patchHash ?? "its hash was not given"}`);
    }
    const prepared = await parts.hooks?.prepare?.({ session, path, signal: stop, note: (line) => void note(line) });
    stop.throwIfAborted();
    this.#isReady = true;
    this.#acquired.resolve();
    return { ...held, env: { ...worktrees.environmentOf(path), ...prepared?.env } };
  }

  /**
   * Says that a program was killed in the worktree. What it has left half done may be where git does not look: in ignored
   * files and in empty folders.
   */
  distrust(): void {
    this.#isTrusted = false;
  }

  /** Asks git in which condition the worktree is, reports its commit, and returns how it can be released. */
  async condition(): Promise<Release> {
    const held = this.#held;
    if (held === undefined || held.holding.isLost) return "dirty";
    const found = await this.#runner.worktrees.inspect(held);
    return this.#isTrusted ? found : "dirty";
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
