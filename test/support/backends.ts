// The backends that the conformance suite runs on. A new one is an entry here and a test file in test/conformance.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Limits, type OwnedStore, openStore, type Store } from "../../src/index.ts";
import { attachStore } from "../../src/store.ts";
import { openTestStore, type TestClock, testClock } from "../../src/testing/index.ts";
import { dropDatabase, newDatabase } from "./postgres.ts";
import { openRunnerStore } from "./runnerStore.ts";

export interface OpenOptions {
  readonly limits?: Partial<Limits>;
}

/** A store that was opened for a test, and the clock that moves it. */
export interface Opened {
  readonly store: Store;
  readonly clock: TestClock;
  /** Another client of the same store, which reaches only the named operations. */
  connect(options?: { readonly operations?: readonly string[] }): Promise<Store>;
  /** Closes the store and opens what it left; on backends that persist. */
  reopen(): Promise<void>;
  close(): Promise<void>;
}

export interface TestedBackend {
  readonly name: string;
  /** The capabilities that the backend declares; a test that needs more is skipped. */
  readonly capabilities: {
    /** A store that is opened again has what was acknowledged. */
    readonly persists: boolean;
    /** Calls under way when the store is closed are answered first. */
    readonly drains: boolean;
  };
  open(options?: OpenOptions): Promise<Opened>;
}

/** A busy machine may be slow to say what became of a call that was given up. */
export const patience = { settleGraceMs: 5_000 } as const;

export const backends = {
  memory: {
    name: "memory",
    capabilities: { persists: false, drains: true },
    async open({ limits = {} } = {}) {
      const clock = testClock();
      const store = await openTestStore({ clock, limits: { ...patience, ...limits } });
      return opened(clock, store, async () => store.close());
    },
  },
  actor: {
    name: "actor",
    capabilities: { persists: true, drains: true },
    open: (options) => openFile(options, async (owned) => ({ store: owned, close: async () => undefined })),
  },
  runnerPool: {
    name: "runner pool",
    capabilities: { persists: true, drains: false },
    open: (options) => openFile(options, (owned, reached) => openRunnerStore(owned, { ...reached, limits: patience })),
  },
  postgres: {
    name: "postgres",
    capabilities: { persists: true, drains: true },
    async open(options) {
      const url = await newDatabase();
      return openLasting(
        url,
        () => dropDatabase(url),
        options,
        async (owned) => ({ store: owned, close: async () => undefined }),
      );
    },
  },
} satisfies Record<string, TestedBackend>;

function opened(clock: TestClock, store: OwnedStore, close: () => Promise<void>): Opened {
  return {
    store,
    clock,
    connect: async (options) => attachStore(store.connect(options)),
    reopen: () => Promise.reject(new Error("this backend does not persist")),
    close,
  };
}

type Reach = (
  owned: OwnedStore,
  options: { readonly operations?: readonly string[] | undefined },
) => Promise<{ store: Store; close(): Promise<void> }>;

/** A real file and a real thread. */
async function openFile(options: OpenOptions | undefined, reach: Reach): Promise<Opened> {
  const folder = await mkdtemp(join(tmpdir(), "debug-server-db-"));
  return openLasting(
    `sqlite:${join(folder, "metadata.db")}`,
    () => rm(folder, { recursive: true, force: true }),
    options,
    reach,
  );
}

/** Opens a store whose rows outlive it. `reach` chooses where the calls come from. */
async function openLasting(
  url: string,
  remove: () => Promise<void>,
  { limits = {} }: OpenOptions = {},
  reach: Reach,
): Promise<Opened> {
  const clock = testClock();
  const open = () => openStore({ url, clock, limits: { ...patience, reapEveryMs: 0, ...limits } });
  let owned = await open();
  let ways: { store: Store; close(): Promise<void> }[] = [await reach(owned, {})];
  const shut = async () => {
    for (const way of ways) await way.close();
    ways = [];
    await owned.close();
  };
  return {
    clock,
    get store() {
      return (ways[0] as { store: Store }).store;
    },
    async connect({ operations } = {}) {
      const way = await reach(owned, { operations });
      ways.push(way);
      return way.store === owned
        ? attachStore(owned.connect(operations === undefined ? {} : { operations }))
        : way.store;
    },
    async reopen() {
      await shut();
      owned = await open();
      ways = [await reach(owned, {})];
    },
    async close() {
      await shut();
      await remove();
    },
  };
}
