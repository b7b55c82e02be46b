// The reports of one run of a debug adapter to the store: opens its debug session, numbers its events, sends one report
// after the other, and notices what clients change.
import { type DebugSession, type DebugView, type Store, StoreError } from "../../index.ts";
import { present } from "../../present.ts";

type DebugStore = Pick<Store, "debug">;

export interface OpenOptions {
  readonly sessionId: string;
  readonly commandId?: string;
  readonly name: string;
  readonly adapter: string;
  readonly request?: "launch" | "attach";
  readonly capabilities?: Record<string, unknown>;
  readonly payload?: Record<string, unknown>;
  readonly secretNames?: readonly string[];
}

/** The debug session and the run of its adapter, which every call names. */
export interface DebugRun {
  readonly debugSessionId: string;
  readonly adapterRun: number;
}

/** The codes of what the store refuses when a debug session was closed, started again or deleted, or its store closed. */
const closedCodes = ["conflict", "invalid_transition", "not_found", "closed"];

/** Checks whether the store has refused a report because the debug session is no longer as its adapter sees it. */
export function isOutdated(error: unknown): boolean {
  return error instanceof StoreError && closedCodes.includes(error.code);
}

export class Reports {
  readonly debugSession: DebugSession;
  readonly run: DebugRun;
  readonly masking: { readonly secretNames?: string[] };
  /** Rejects with the first error that no report may have. */
  readonly failed: Promise<never>;
  readonly #store: DebugStore;
  readonly #fail: (error: unknown) => void;
  #lastSeq = 0;
  #last: Promise<unknown> = Promise.resolve();

  /** Opens the debug session. One that exists already is started again, and keeps its breakpoints. */
  static async open(store: DebugStore, { secretNames, ...options }: OpenOptions): Promise<Reports> {
    const masking = present({ secretNames: secretNames === undefined ? undefined : [...secretNames] });
    const input = { ...options, ...masking };
    try {
      return new Reports(store, await store.debug.open(input), masking);
    } catch (error) {
      if (!(error instanceof StoreError && error.code === "conflict")) throw error;
      const restartRun = error.details.adapterRun;
      if (typeof restartRun !== "number") throw error;
      return new Reports(store, await store.debug.open({ ...input, restartRun }), masking);
    }
  }

  private constructor(store: DebugStore, debugSession: DebugSession, masking: { readonly secretNames?: string[] }) {
    this.#store = store;
    this.debugSession = debugSession;
    this.run = { debugSessionId: debugSession.id, adapterRun: debugSession.adapterRun };
    this.masking = masking;
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => undefined);
    this.failed = promise;
    this.#fail = reject;
  }

  /** Sends an event after the reports before it. Resolves when it is stored, or when the debug session was closed. */
  event(event: string, body?: Record<string, unknown>): Promise<void> {
    return this.send(() => this.apply(event, body));
  }

  /** Applies an event at once, as a part of a report. */
  apply(event: string, body?: Record<string, unknown>) {
    const seq = ++this.#lastSeq;
    return this.#store.debug.applyEvent({ ...this.run, ...this.masking, seq, event, ...present({ body }) });
  }

  /** Resolves when the reports so far are sent, and what they have brought back is noted. Never fails. */
  get settled(): Promise<unknown> {
    return this.#last;
  }

  /** Sends a report after those before it. Never fails: what the store refuses is of no use, and other errors fail all. */
  send(report: () => Promise<unknown>): Promise<void> {
    const sent = this.#last.then(report).then(
      () => undefined,
      (error: unknown) => {
        if (!isOutdated(error)) this.#fail(error);
      },
    );
    this.#last = sent;
    return sent;
  }
}

/**
 * Calls back with the debug session now and after each change of it, until the signal fires. Resolves then, and fails as
 * the store or the callback fails.
 */
export async function watchDebugSession(
  store: Pick<Store, "debug" | "changes">,
  { id, sessionId }: DebugSession,
  signal: AbortSignal,
  changed: (view: DebugView) => Promise<void>,
): Promise<void> {
  const look = async () => changed(await store.debug.get({ debugSessionId: id, events: 0 }));
  try {
    while (!signal.aborted) {
      const { nextSeq: after } = await store.changes.since({ limit: 0 });
      await look();
      try {
        for await (const { entityId } of store.changes.watch({ sessionId, after }, { signal }))
          if (entityId === id) await look();
      } catch (error) {
        // What was pruned meanwhile does not matter: the debug session is read again.
        if (!(error instanceof StoreError && error.code === "feed_truncated")) throw error;
      }
    }
  } catch (error) {
    const isOver = error instanceof StoreError && ["aborted", "closed", "not_found"].includes(error.code);
    if (!isOver) throw error;
  }
}
