// Runs steps on a store and on the model of a process, and compares them after each. Two observers read the store meanwhile:
// one with get, the other with follow.
import assert from "node:assert/strict";
import fc from "fast-check";
import type { DebugView, Store } from "../../../src/index.ts";
import { StoreError } from "../../../src/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { type ModelBreakpoint, ModelProcess, type ModelThread, type Style } from "./process.ts";

const kinds = {
  ...{ start: 4, exit: 2, stop: 8, resume: 6, read: 5, readLate: 3, deliver: 3, repeat: 2, late: 3, old: 1, output: 2 },
  ...{ stale: 2, set: 3, bind: 4, change: 3, own: 2, remove: 1, hit: 4, restart: 1, end: 1, outdated: 2 },
} as const;
type Kind = keyof typeof kinds;

interface Step {
  readonly kind: Kind;
  readonly pick: number;
  readonly other: number;
}

export const sequences = fc.record({
  style: fc.record({
    ...{ allStop: fc.boolean(), announces: fc.boolean(), namesHits: fc.boolean(), numbers: fc.boolean() },
  }),
  steps: fc.array(
    fc.record({
      kind: fc.oneof(
        ...Object.entries(kinds).map(([kind, weight]) => ({ weight, arbitrary: fc.constant(kind as Kind) })),
      ),
      pick: fc.nat(7),
      other: fc.nat(7),
    }),
    { minLength: 10, maxLength: 50, size: "max" },
  ),
});

const sourcePath = "/srv/main.c";
const place = (line: number) => ({ line, source: { path: sourcePath } });

/** Returns the content of a view in the form of the model. */
function said({ debugSession, threads, runningThreads, breakpoints }: DebugView) {
  return {
    state: debugSession.state,
    stopped: threads.map(({ threadId, stopReason, frames, staleAreas }) => [
      ...[threadId, stopReason ?? undefined, frames[0]?.id, staleAreas !== null],
    ]),
    running: runningThreads.map(({ threadId }) => threadId),
    mine: breakpoints
      .filter(({ origin }) => origin === "client")
      .map(({ id, line, verified, hitCount }) => [id, line, verified, hitCount]),
    own: breakpoints
      .filter(({ origin }) => origin === "adapter")
      .map(({ adapterId, line, verified, hitCount }) => [adapterId, line, verified, hitCount]),
  };
}

type Event = readonly [name: string, body: Record<string, unknown>];
type Put = Parameters<Store["debug"]["putStop"]>[0];

/** Threads that were read, with the numbers of their stops then. */
interface Read {
  readonly put: Put;
  readonly stops: ReadonlyMap<ModelThread, number>;
}

class Run {
  readonly #store: Store;
  readonly #process: ModelProcess;
  readonly #debugSessionId: string;
  readonly #sessionId: string;
  /** The answers of the store after each call, by its revision. */
  readonly told = new Map<number, unknown>();
  readonly applied: string[] = [];
  #adapterRun = 1;
  #seq = 0;
  #epoch = 0;
  #threadId = 0;
  #frameId = 0;
  #last: (Event & { readonly seq?: number }) | undefined;
  #lastSeq = 0;
  /** Threads that were read, and are not stored yet. */
  #pending: Read[] = [];

  constructor(store: Store, style: Style, debugSessionId: string, sessionId: string) {
    this.#store = store;
    this.#process = new ModelProcess(style);
    this.#debugSessionId = debugSessionId;
    this.#sessionId = sessionId;
  }

  get #run() {
    return { debugSessionId: this.#debugSessionId, adapterRun: this.#adapterRun };
  }

  async step({ kind, pick, other }: Step): Promise<void> {
    const process = this.#process;
    if (process.isOver && kind !== "restart" && kind !== "outdated") return;
    const one = <Item>(items: readonly Item[], at = pick): Item | undefined => items[at % Math.max(1, items.length)];
    switch (kind) {
      case "start":
        if (process.threads.size >= 4 || (process.style.allStop && process.stopped.length > 0)) return;
        process.start(++this.#threadId);
        if (process.style.announces) await this.#event("thread", { reason: "started", threadId: this.#threadId });
        return;
      case "exit": {
        const thread = one(process.running);
        if (thread === undefined || (process.style.allStop && process.stopped.length > 0)) return;
        process.threads.delete(thread.id);
        return await this.#event("thread", { reason: "exited", threadId: thread.id });
      }
      case "stop":
        return await this.#stop(one(process.running), other % 2 === 0 ? "step" : "pause", []);
      case "hit": {
        // A breakpoint that is removed or not yet bound for the adapter is not hit.
        const thread = one(process.running);
        const breakpoint = one(
          [...process.mine, ...process.own].filter(({ isBound }) => isBound),
          other,
        );
        if (thread === undefined || breakpoint === undefined) return;
        return await this.#hit(thread, breakpoint.line);
      }
      case "resume":
        return await this.#resume(one(process.stopped), other);
      case "late":
        return await this.#swapped(one(process.running), one(process.stopped, other), pick % 2 === 0);
      case "read":
        this.#read();
        return await this.#deliver(this.#pending.length - 1);
      case "readLate":
        return this.#read();
      case "deliver":
        return await this.#deliver(pick % Math.max(1, this.#pending.length));
      case "repeat":
        return await this.#repeat();
      case "output":
        return await this.#event("output", { output: `${other}` });
      case "stale": {
        const thread = one(process.stopped.filter(({ isKnown }) => isKnown));
        if (thread === undefined) return;
        thread.isStale = true;
        return await this.#event("invalidated", { areas: ["variables"], threadId: thread.id });
      }
      case "set":
        return await this.#set([...new Set([pick, other].filter((line) => line > 0))]);
      case "bind":
        return await this.#bind(one(process.mine.filter(({ isBound }) => !isBound)));
      case "change": {
        const breakpoint = one([...process.mine, ...process.own]);
        if (breakpoint === undefined) return;
        breakpoint.verified = other % 2 === 0;
        return await this.#report("changed", breakpoint);
      }
      case "own": {
        const line = 20 + pick;
        if (process.own.some((breakpoint) => breakpoint.line === line)) return;
        const breakpoint = { ...process.breakpoint(line), isBound: true, verified: true };
        process.own.push(breakpoint);
        return await this.#report("new", breakpoint);
      }
      case "remove": {
        const breakpoint = one(process.own);
        if (breakpoint === undefined) return;
        process.own = process.own.filter((each) => each !== breakpoint);
        return await this.#report("removed", breakpoint);
      }
      case "restart":
        return await this.#restart();
      case "end":
        if (pick > 1) return;
        process.end();
        await this.#event("exited", other % 2 === 0 ? { exitCode: 0 } : {});
        return await this.#event("terminated", {});
      case "outdated":
        return await this.#outdated(pick);
      case "old":
        if (this.#adapterRun > 1)
          await refused(
            this.#store.debug.applyEvent({
              ...{ ...this.#run, adapterRun: this.#adapterRun - 1, seq: this.#seq + 9 },
              ...{ event: "stopped", body: { reason: "step", threadId: 1 } },
            }),
          );
    }
  }

  async #stop(thread: ModelThread | undefined, reason: string, hits: readonly ModelBreakpoint[]): Promise<void> {
    if (thread === undefined) return;
    this.#process.stop(thread, reason);
    await this.#event("stopped", this.#stopOf(thread, reason, hits));
  }

  #stopOf({ id }: ModelThread, reason: string, hits: readonly ModelBreakpoint[]): Record<string, unknown> {
    const { allStop, namesHits } = this.#process.style;
    return {
      ...{ reason, threadId: id },
      ...(allStop ? { allThreadsStopped: true } : {}),
      ...(namesHits && hits.length > 0 ? { hitBreakpointIds: hits.map(({ adapterId }) => adapterId) } : {}),
    };
  }

  async #hit(thread: ModelThread, line: number): Promise<void> {
    await this.#stop(thread, "breakpoint", this.#process.hit(line));
    thread.line = line;
    // Without ids, a hit is counted when the frames are stored; this adapter is asked for them at once.
    if (!this.#process.style.namesHits) await this.#put(this.#readOf([thread]));
  }

  async #resume(thread: ModelThread | undefined, other: number): Promise<void> {
    if (thread === undefined) return;
    const { allStop } = this.#process.style;
    const view = await this.#view();
    const stop = view.threads.find(({ threadId }) => threadId === thread.id);
    this.#process.resume(thread);
    if (other % 2 === 0 || stop === undefined)
      return await this.#event("continued", {
        threadId: thread.id,
        ...(allStop ? {} : { allThreadsContinued: false }),
      });
    const input = allStop
      ? { expectedEpoch: view.debugSession.stopEpoch }
      : { expectedEpoch: stop.stopEpoch, threadId: thread.id };
    await this.#store.debug.patchState({ ...this.#run, ...input, state: "running" });
  }

  /**
   * Two events overtake each other on their way: those of two threads, or those by which one thread goes on and stops
   * again.
   */
  async #swapped(running: ModelThread | undefined, stopped: ModelThread | undefined, isOne: boolean): Promise<void> {
    const { allStop, numbers } = this.#process.style;
    const stops = isOne ? stopped : running;
    if (allStop || !numbers || stops === undefined || stopped === undefined) return;
    this.#process.resume(stopped);
    this.#process.stop(stops, "pause");
    const stop = ["stopped", this.#stopOf(stops, "pause", [])] as const;
    const resume = ["continued", { threadId: stopped.id, allThreadsContinued: false }] as const;
    const [one, two] = [++this.#seq, ++this.#seq];
    await this.#apply(two, isOne ? stop : resume);
    await this.#apply(one, isOne ? resume : stop);
  }

  /** Reads the threads that are stopped, for now or for later. */
  #read(): void {
    const { stopped } = this.#process;
    if (stopped.length > 0) this.#pending.push(this.#readOf(stopped));
  }

  #readOf(stopped: readonly ModelThread[]): Read {
    const threads = stopped.map(({ id, line }) => ({
      ...{ id, name: "" },
      frames: [{ id: ++this.#frameId, name: "f", column: 1, ...place(line) }],
    }));
    const put = { ...this.#run, stopEpoch: this.#epoch, threads };
    return { put, stops: new Map(stopped.map((thread) => [thread, thread.stops])) };
  }

  async #deliver(index: number): Promise<void> {
    const [read] = this.#pending.splice(index, 1);
    if (read !== undefined) await this.#put(read);
  }

  async #put({ put, stops }: Read): Promise<void> {
    const current = put.adapterRun === this.#adapterRun;
    const fresh = [...stops].filter(
      ([thread, number]) =>
        current && this.#process.threads.get(thread.id) === thread && thread.isStopped && thread.stops === number,
    );
    const call = this.#store.debug.putStop(put);
    if (fresh.length === 0) return await refused(call);
    assert.equal((await call).stored, fresh.length);
    for (const [thread] of fresh) {
      const frame = put.threads.find(({ id }) => id === thread.id)?.frames?.[0]?.id;
      Object.assign(thread, { frame, isKnown: true, isStale: false });
    }
  }

  async #set(lines: readonly number[]): Promise<void> {
    const process = this.#process;
    const breakpoints = lines.map((line) => ({ line }));
    const rows = await this.#store.debug.setBreakpoints({
      debugSessionId: this.#debugSessionId,
      sourcePath,
      breakpoints,
    });
    process.mine = lines.map((line, index) => {
      const known = process.mine.find((each) => each.line === line) ?? process.breakpoint(line);
      if (known.id !== undefined) assert.equal(rows[index]?.id, known.id);
      known.id = rows[index]?.id;
      return known;
    });
  }

  /** Binds a breakpoint with the answer of the adapter, which is older than all events about it. */
  async #bind(breakpoint: ModelBreakpoint | undefined): Promise<void> {
    if (breakpoint === undefined) return;
    const { id: breakpointId = "", adapterId, isBound } = breakpoint;
    breakpoint.isBound = true;
    if (!this.#early.has(adapterId)) breakpoint.verified = !isBound;
    const bound = [{ breakpointId, breakpoint: { id: adapterId, verified: true } }];
    await this.#store.debug.bindBreakpoints({ ...this.#run, bound });
  }

  /** The ids of breakpoints of which an event has told. */
  readonly #early = new Set<number>();

  async #report(reason: string, { adapterId: id, verified, line }: ModelBreakpoint): Promise<void> {
    this.#early.add(id);
    await this.#event("breakpoint", { reason, breakpoint: { id, verified, ...(reason === "new" ? place(line) : {}) } });
  }

  async #restart(): Promise<void> {
    this.#process.restart();
    const { name } = (await this.#view()).debugSession;
    const input = { sessionId: this.#sessionId, name, adapter: "a", restartRun: this.#adapterRun };
    const { adapterRun, stopEpoch } = await this.#store.debug.open(input);
    this.#adapterRun = adapterRun;
    this.#epoch = stopEpoch;
    this.#seq = 0;
    this.#last = undefined;
    this.note(await this.#view());
    await this.#begin();
  }

  /** Configures the adapter, so that the program runs. */
  async begin(): Promise<void> {
    await this.#begin();
  }

  async #begin(): Promise<void> {
    await this.#event("initialized", {});
    const { stopEpoch: expectedEpoch } = (await this.#view()).debugSession;
    this.note(await this.#view());
    await this.#store.debug.patchState({ ...this.#run, expectedEpoch, state: "running" });
  }

  /** A client that has seen an earlier stop moves nothing. */
  async #outdated(pick: number): Promise<void> {
    const expectedEpoch = this.#epoch - 1 - pick;
    if (expectedEpoch < 0 || this.#process.isOver) return;
    await refused(this.#store.debug.patchState({ ...this.#run, expectedEpoch, state: "running" }));
  }

  async #repeat(): Promise<void> {
    if (this.#last === undefined || !this.#process.style.numbers) return;
    const [event, body] = this.#last;
    const answer = await this.#store.debug.applyEvent({ ...this.#run, seq: this.#lastSeq, event, body });
    assert.equal(answer.applied, false);
  }

  async #event(name: string, body: Record<string, unknown>): Promise<void> {
    await this.#apply(this.#process.style.numbers ? ++this.#seq : 0, [name, body]);
  }

  async #apply(seq: number, event: Event): Promise<void> {
    const [name, body] = event;
    const { applied, stopEpoch } = await this.#store.debug.applyEvent({ ...this.#run, seq, event: name, body });
    assert.ok(applied, name);
    this.#epoch = stopEpoch;
    this.#last = event;
    this.#lastSeq = seq;
    this.applied.push(name);
    this.note(await this.#view());
  }

  async #view(): Promise<DebugView> {
    return await this.#store.debug.get({ debugSessionId: this.#debugSessionId, events: 0 });
  }

  /** Notes what the store says at a revision. */
  note(view: DebugView): void {
    this.told.set(view.debugSession.revision, said(view));
  }

  /** Compares what the store says with what is true, as far as the adapter has told it. */
  async check(): Promise<void> {
    const view = await this.#view();
    this.note(view);
    this.#epoch = view.debugSession.stopEpoch;
    const { threads, mine, own, isOver, stopped } = this.#process;
    const known = [...threads.values()].filter(({ isKnown }) => isKnown);
    assert.deepEqual(said(view), {
      state: isOver ? "terminated" : stopped.length > 0 ? "stopped" : "running",
      stopped: known
        .filter(({ isStopped }) => isStopped)
        .map(({ id, reason, frame, isStale }) => [id, reason, frame, isStale]),
      running: known.filter(({ isStopped }) => !isStopped).map(({ id }) => id),
      mine: mine.map(({ id, line, verified, hits, isBound }) => [id, line, isBound && verified, hits]),
      own: own.map(({ adapterId, line, verified, hits }) => [adapterId, line, verified, hits]),
    });
  }
}

async function refused(call: Promise<unknown>): Promise<void> {
  await assert.rejects(call, (error) => error instanceof StoreError && error.code === "conflict");
}

/** Runs one sequence. `observer` is another client of the same store. */
export async function runSequence(
  store: Store,
  observer: Store,
  { style, steps }: { readonly style: Style; readonly steps: readonly Step[] },
): Promise<void> {
  const { session } = await fixtures(store).session();
  const opened = await store.debug.open({ sessionId: session.id, name: "main", adapter: "a" });
  const debugSessionId = opened.id;
  const run = new Run(store, style, debugSessionId, session.id);
  run.note(await store.debug.get({ debugSessionId, events: 0 }));
  const seen: DebugView[] = [];
  const [over, followed] = [new AbortController(), [] as string[]];
  const reading = (async () => {
    while (!over.signal.aborted) seen.push(await observer.debug.get({ debugSessionId, events: 0 }));
  })();
  const following = (async () => {
    for await (const { event } of observer.debug.follow({ debugSessionId })) followed.push(event);
  })();
  try {
    await run.begin();
    await run.check();
    for (const step of steps) {
      await run.step(step);
      await run.check();
    }
  } finally {
    over.abort();
    await reading;
    await store.debug.close({ debugSessionId }).catch(() => undefined);
    await following;
  }
  // The last state of a revision is the only one: each write raises it.
  for (const view of seen) {
    const told = run.told.get(view.debugSession.revision);
    if (told !== undefined) assert.deepEqual(said(view), told);
  }
  assert.deepEqual(followed, run.applied);
}
