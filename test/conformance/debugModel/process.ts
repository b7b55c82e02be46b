// A plain model of a debugged process: its threads and breakpoints as they are, and the adapter that tells of them. What the
// store shows has to be what is true here, as far as the adapter has told it.

/** The ways in which adapters differ. */
export interface Style {
  /** All threads stop and go on together; else each does so by itself. */
  readonly allStop: boolean;
  /** Threads are announced before they do anything. */
  readonly announces: boolean;
  /** Stops name the breakpoints that were hit; else the place of the first frame tells. */
  readonly namesHits: boolean;
  /** Events have numbers. */
  readonly numbers: boolean;
}

export interface ModelThread {
  readonly id: number;
  /** True when the store has heard of it. */
  isKnown: boolean;
  isStopped: boolean;
  /** Why it has stopped by itself; undefined if it stopped because another thread did. */
  reason: string | undefined;
  /** The number of its stops, by which frames that were read before are known to be old. */
  stops: number;
  /** The id of the frame that the store has of the present stop. */
  frame: number | undefined;
  /** The line at which it stands. */
  line: number;
  isStale: boolean;
}

export interface ModelBreakpoint {
  /** The id that the store has given to it, for one that a client has set. */
  id: string | undefined;
  readonly line: number;
  readonly adapterId: number;
  /** The adapter has it; one that was set may not have reached it yet. */
  isBound: boolean;
  verified: boolean;
  hits: number;
}

export class ModelProcess {
  readonly style: Style;
  readonly threads = new Map<number, ModelThread>();
  /** The breakpoints of the client, and those that the adapter has made by itself. */
  mine: ModelBreakpoint[] = [];
  own: ModelBreakpoint[] = [];
  isOver = false;
  #lastAdapterId = 0;

  constructor(style: Style) {
    this.style = style;
  }

  get stopped(): readonly ModelThread[] {
    return [...this.threads.values()].filter(({ isStopped }) => isStopped);
  }

  get running(): readonly ModelThread[] {
    return [...this.threads.values()].filter(({ isStopped }) => !isStopped);
  }

  start(id: number): void {
    const isKnown = this.style.announces;
    this.threads.set(id, {
      id,
      isKnown,
      isStopped: false,
      reason: undefined,
      stops: 0,
      frame: undefined,
      line: 99,
      isStale: false,
    });
  }

  /** Stops a thread that runs, and in an all-stop process the others with it. */
  stop(thread: ModelThread, reason: string): void {
    for (const one of this.style.allStop ? this.running : [thread])
      Object.assign(one, {
        isStopped: true,
        reason: undefined,
        stops: one.stops + 1,
        frame: undefined,
        line: 99,
        isStale: false,
      });
    thread.reason = reason;
    thread.isKnown = true;
  }

  resume(thread: ModelThread): void {
    for (const one of this.style.allStop ? this.stopped : [thread])
      Object.assign(one, { isStopped: false, reason: undefined, frame: undefined, isStale: false });
  }

  /** The breakpoints that a thread hits on a line. */
  hit(line: number): readonly ModelBreakpoint[] {
    const hit = [...this.mine, ...this.own].filter((one) => one.line === line && one.isBound);
    for (const one of hit) one.hits++;
    return hit;
  }

  breakpoint(line: number): ModelBreakpoint {
    const adapterId = ++this.#lastAdapterId;
    return { id: undefined, line, adapterId, isBound: false, verified: false, hits: 0 };
  }

  /** The program has ended, or its adapter has died: nothing is left but what the client has set. */
  end(): void {
    this.threads.clear();
    this.isOver = true;
  }

  /** Another adapter has been started in the place of this one. */
  restart(): void {
    this.end();
    this.isOver = false;
    this.own = [];
    this.mine = this.mine.map(({ id, line }) => ({ ...this.breakpoint(line), id }));
  }
}
