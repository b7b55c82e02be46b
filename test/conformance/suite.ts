// Gives each subject of the conformance suite a store for its tests, and the assertion that a call fails.
import assert from "node:assert/strict";
import { after, describe, it } from "node:test";
import { type ErrorCode, type Outcome, StoreError } from "../../src/errors.ts";
import type { Store } from "../../src/index.ts";
import type { Opened, OpenOptions, TestedBackend } from "../support/backends.ts";
import { assertSound } from "../support/sound.ts";

type Test = (opened: Opened) => Promise<void>;

export interface Suite {
  /** Defines a test on the store that all tests share. It creates its own rows and reads no others. */
  test(name: string, run: Test, options?: { readonly needs?: keyof TestedBackend["capabilities"] }): void;
  /** Defines a test on a store of its own. */
  alone(
    name: string,
    run: Test,
    options?: OpenOptions & { readonly needs?: keyof TestedBackend["capabilities"] },
  ): void;
}

/**
 * The store that all subjects of a backend share, because a thread takes longer to start than most tests take to run.
 */
const sharedStores = new Map<TestedBackend, Promise<Opened>>();

function sharedStore(backend: TestedBackend): Promise<Opened> {
  // The first list starts a reader, which runs those after it. Tests leave many rows that expire while other tests run;
  // one pass of the reaper must be able to end them all.
  const store = sharedStores.get(backend) ?? backend.open({ limits: { reapRows: 1_000, readerAfterMs: 0 } });
  sharedStores.set(backend, store);
  return store;
}

/**
 * Checks that the shared store breaks no rule, and closes it. Call it in the suite around all subjects, so that a filter of
 * test names cannot skip it.
 */
export function closeSharedStore(backend: TestedBackend): void {
  after(async () => {
    const opened = await sharedStores.get(backend);
    if (opened === undefined) return;
    try {
      await assertSound(opened.store);
    } finally {
      await opened.close();
    }
  });
}

export function subject(backend: TestedBackend, name: string, define: (suite: Suite) => void): void {
  const elsewhere = `${backend.name} differs from another backend only in what other subjects test`;
  const isTested = backend.subjects?.has(name) ?? true;
  describe(`${backend.name}: ${name}`, isTested ? {} : { skip: elsewhere }, () => {
    const skipped = (needs: keyof TestedBackend["capabilities"] | undefined) =>
      needs !== undefined && !backend.capabilities[needs]
        ? { skip: `${backend.name} does not declare that it ${needs}` }
        : {};
    const opensOwnStores = backend.ownStores?.has(name) ?? true;
    define({
      test: (title, run, { needs } = {}) => void it(title, skipped(needs), async () => run(await sharedStore(backend))),
      alone: (title, run, { needs, ...options } = {}) =>
        void it(title, opensOwnStores || needs !== undefined ? skipped(needs) : { skip: elsewhere }, async () => {
          const opened = await backend.open(options);
          try {
            await run(opened);
            // In memory that takes a few milliseconds. The other backends run the same statements.
            if (backend.name === "memory") await assertSound(opened.store).catch(unlessClosed);
          } finally {
            await opened.close();
          }
        }),
    });
  });
}

/** Some tests close their store. */
function unlessClosed(error: unknown): void {
  if (!(error instanceof StoreError) || error.code !== "closed") throw error;
}

/** Returns the cursor of the end of the feed. */
export async function endOfFeed({ changes }: Store): Promise<number> {
  return (await changes.since({ limit: 0 })).nextSeq;
}

/** Cancels all open sessions, so that no command that another test left can be claimed. */
export async function cancelAll({ sessions }: Store): Promise<void> {
  for (const state of ["pending", "running"] as const) {
    for (let more = true; more; ) {
      const { items, nextCursor } = await sessions.list({ state, limit: 500 });
      await Promise.all(items.map(({ id }) => sessions.cancel({ sessionId: id })));
      more = nextCursor !== undefined;
    }
  }
}

/** Returns the error of a call. Fails unless the call fails with this code and has these details, among others. */
export async function fails(
  call: Promise<unknown> | (() => Promise<unknown>),
  code: ErrorCode,
  details: Readonly<Record<string, unknown>> = {},
  outcome?: Outcome,
) {
  const error = await (typeof call === "function" ? call() : call).then(
    (value) => assert.fail(`expected ${code}, but the call answered ${JSON.stringify(value)?.slice(0, 300)}`),
    (reason: unknown) => reason,
  );
  if (!(error instanceof StoreError)) throw error;
  assert.equal(error.code, code, `expected ${code}, not ${error.code}: ${error.message}`);
  for (const [name, value] of Object.entries(details)) assert.deepEqual(error.details[name], value, `details.${name}`);
  if (outcome !== undefined) assert.equal(error.outcome, outcome);
  return error;
}

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
export const text = (data: Uint8Array): string => new TextDecoder().decode(data);

/** Returns the first `count` items of an endless stream. */
export async function take<Item>(stream: AsyncGenerator<Item, void, undefined>, count: number): Promise<Item[]> {
  const items: Item[] = [];
  for await (const item of stream) {
    items.push(item);
    if (items.length === count) break;
  }
  return items;
}

export async function collect<Item>(stream: AsyncIterable<Item>): Promise<Item[]> {
  const items: Item[] = [];
  for await (const item of stream) items.push(item);
  return items;
}

/** Waits until the server reports this number of parked calls. */
export async function parked(store: Store, count: number): Promise<void> {
  const deadlineMs = performance.now() + 60_000;
  for (;;) {
    const { serving } = await store.maintenance.stats();
    if (serving.parked === count) return;
    assert.ok(performance.now() < deadlineMs, `${serving.parked} calls are parked, expected ${count}`);
  }
}
