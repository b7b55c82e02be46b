// The backends on which the conformance suite runs. A new backend needs an entry here and a file in test/conformance.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Limits,
  type LogArchive,
  type OwnedStore,
  openStore,
  type Store,
  type StoreEvent,
} from "../../src/index.ts";
import { present } from "../../src/present.ts";
import { attachStore } from "../../src/store.ts";
import { openTestStore, type TestClock, testClock } from "../../src/testing/index.ts";
import { wrongCountersAt } from "./counters.ts";
import { migratedDatabase, migratedFile } from "./migrated.ts";
import { dropDatabase } from "./postgres.ts";
import { openRemoteStore } from "./remoteStore.ts";
import { openRunnerStore } from "./runnerStore.ts";

export interface OpenOptions {
  readonly limits?: Partial<Limits>;
  /** The archive of logs, such as a memory of the test. */
  readonly logArchive?: LogArchive;
  readonly onEvent?: (event: StoreEvent) => void;
}

/** A store that a test uses, and the clock that the test moves. */
export interface Opened {
  readonly store: Store;
  readonly clock: TestClock;
  /** Connects another client of the same store, which can call only the named operations. */
  connect(options?: { readonly operations?: readonly string[] }): Promise<Store>;
  /** Closes the store and opens it again. Fails on backends that do not persist. */
  reopen(): Promise<void>;
  close(): Promise<void>;
}

export interface TestedBackend {
  readonly name: string;
  /** The abilities of the backend. A test that needs others is skipped. */
  readonly capabilities: {
    /** True if a store that is opened again holds all acknowledged writes. */
    readonly persists: boolean;
    /** True if closing the store first answers the calls in flight. */
    readonly drains: boolean;
  };
  /**
   * The subjects whose tests open stores of their own. By default all do, and those that need an ability always do. A
   * thread takes longer to start than such a test takes to run.
   */
  readonly ownStores?: ReadonlySet<string>;
  /** The subjects in which the backend differs from another one. By default all do. A long run tests the others too. */
  readonly subjects?: ReadonlySet<string>;
  open(options?: OpenOptions): Promise<Opened>;
}

/** Limits for busy machines, which may take long to answer a call, and to report its outcome after its deadline. */
export const patience = { callMs: 120_000, settleGraceMs: 60_000 } as const;

/** The tests of a backend behind which the actor's server does the work: what differs is how calls reach it. */
const overOthers = {
  ownStores: new Set([
    "calls",
    "concurrency and order",
    "errors",
    "iterations",
    "read your writes",
    "test clock",
    "transactions",
    "waiting",
  ]),
  subjects: new Set([
    ...["calls", "concurrency and order", "errors", "iterations", "read your writes", "test clock", "transactions"],
    ...["waiting", "answers", "bounds", "names", "pages", "references", "repetitions", "sizes", "values"],
    ...["artifacts", "authority", "changes", "consumers", "debug requests", "idempotency", "logs", "session logs"],
    ...["reads", "tokens"],
  ]),
};

export const backends = {
  memory: {
    name: "memory",
    capabilities: { persists: false, drains: true },
    async open({ limits = {}, ...options } = {}) {
      const clock = testClock();
      const store = await openTestStore({ clock, limits: { ...patience, ...limits }, ...options });
      return inMemory(clock, store);
    },
  },
  actor: {
    name: "actor",
    capabilities: { persists: true, drains: true },
    // Its rules run as the same statements in memory. What differs is how calls, answers and texts travel, how calls
    // wait, and which reads leave the thread.
    ownStores: new Set([
      "bounds",
      "calls",
      "concurrency and order",
      "errors",
      "health",
      "iterations",
      "life cycle",
      "lists",
      "log archive",
      "read your writes",
      "reads",
      "sizes",
      "test clock",
      "transactions",
      "waiting",
    ]),
    open: (options) => openFile(options, async (owned) => ({ store: owned, close: async () => undefined })),
  },
  runnerPool: {
    name: "runner pool",
    // Its file is the actor's, on which the tests of reopening run.
    capabilities: { persists: false, drains: false },
    ...overOthers,
    open: (options) =>
      openFile(options, (owned, clientOptions) => openRunnerStore(owned, { ...clientOptions, limits: patience })),
  },
  remote: {
    name: "remote",
    // Its file is the actor's, on which the tests of reopening run.
    capabilities: { persists: false, drains: false },
    ...overOthers,
    open: (options) => openFile(options, (owned, clientOptions) => openRemoteStore(owned, clientOptions, patience)),
  },
  postgres: {
    name: "postgres",
    capabilities: { persists: true, drains: true },
    async open(options) {
      const url = await migratedDatabase();
      return openPersistent(
        url,
        () => dropDatabase(url),
        options,
        async (owned) => ({ store: owned, close: async () => undefined }),
      );
    },
  },
} satisfies Record<string, TestedBackend>;

function inMemory(clock: TestClock, store: OwnedStore): Opened {
  return {
    store,
    clock,
    connect: async (options) => attachStore(store.connect(options)),
    reopen: () => Promise.reject(new Error("a store in memory cannot be opened again")),
    close: () => store.close(),
  };
}

/** Connects a client that calls the store from where the backend is used: this thread or a runner thread. */
type Connect = (
  owned: OwnedStore,
  options: { readonly operations?: readonly string[] | undefined },
) => Promise<{ store: Store; close(): Promise<void> }>;

/** Opens a store with a real file and a real thread. */
async function openFile(options: OpenOptions | undefined, connectClient: Connect): Promise<Opened> {
  const folder = await mkdtemp(join(tmpdir(), "debug-server-db-"));
  const path = join(folder, "metadata.db");
  await migratedFile(path);
  return openPersistent(`sqlite:${path}`, () => rm(folder, { recursive: true, force: true }), options, connectClient);
}

/** Opens a store whose data outlives it. `remove` deletes that data. */
async function openPersistent(
  url: string,
  remove: () => Promise<void>,
  { limits = {}, ...options }: OpenOptions = {},
  connectClient: Connect,
): Promise<Opened> {
  const clock = testClock();
  const limitsOfAll = { ...patience, reapEveryMs: 0, pruneEveryMs: 0, ...limits };
  const open = () => openStore({ url, clock, limits: limitsOfAll, ...options });
  let owned = await open();
  let clients: { store: Store; close(): Promise<void> }[] = [await connectClient(owned, {})];
  const closeAll = async () => {
    for (const client of clients) await client.close();
    clients = [];
    await owned.close();
  };
  return {
    clock,
    get store() {
      return (clients[0] as { store: Store }).store;
    },
    async connect({ operations } = {}) {
      const client = await connectClient(owned, { operations });
      clients.push(client);
      return client.store === owned ? attachStore(owned.connect(present({ operations }))) : client.store;
    },
    async reopen() {
      await closeAll();
      owned = await open();
      clients = [await connectClient(owned, {})];
    },
    async close() {
      await closeAll();
      try {
        assert.deepEqual(await wrongCountersAt(url), []);
      } finally {
        await remove();
      }
    },
  };
}
