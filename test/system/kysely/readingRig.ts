// A store of each engine with rows in most of its tables, for tests that read it with Kysely.
import { join } from "node:path";
import type { TestContext } from "node:test";
import { openStore, type Store } from "../../../src/index.ts";
import { type KyselyOptions, openKysely, type ReadingKysely } from "../../../src/kysely/index.ts";
import { fixtures } from "../../../src/testing/index.ts";
import { migratedDatabase, migratedFile } from "../../support/migrated.ts";
import { dropDatabase } from "../../support/postgres.ts";
import { temporaryFolder } from "../../support/temporaryFolder.ts";

export const engines = ["sqlite", "postgres"] as const;
export type Engine = (typeof engines)[number];

/** A statement of one row that takes longer than any test. */
export const endless: Readonly<Record<Engine, string>> = {
  sqlite: "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM store_meta, c",
  postgres: "SELECT count(*) FROM generate_series(1, 1000000) AS a, generate_series(1, 1000000) AS b",
};

export interface Rig {
  readonly engine: Engine;
  readonly url: string;
  readonly store: Store;
  open(options?: KyselyOptions): Promise<ReadingKysely>;
}

const folder = temporaryFolder();
let files = 0;

export async function rig(t: TestContext, engine: Engine): Promise<Rig> {
  const path = join(folder, `${files++}.db`);
  if (engine === "sqlite") await migratedFile(path);
  const url = engine === "sqlite" ? `sqlite:${path}` : await migratedDatabase();
  const store = await openStore({ url, limits: { reapEveryMs: 0 } });
  const opened: ReadingKysely[] = [];
  t.after(async () => {
    for (const db of opened) await db.destroy();
    await store.close();
    if (engine === "postgres") await dropDatabase(url);
  });
  return {
    engine,
    url,
    store,
    async open(options = {}) {
      const db = await openKysely({ url, ...options });
      opened.push(db);
      return db;
    },
  };
}

/** Writes rows of most entities, with the values that JSON columns, flags and times can have. */
export async function fill(store: Store) {
  const rows = fixtures(store);
  const { repository } = await rows.repository({ settings: { since: new Date(0) } });
  const { session } = await rows.session({ repositoryId: repository.id, metadata: { labels: new Set(["slow"]) } });
  await rows.runner({ labels: { os: "linux" } });
  await rows.log("hello\nworld\n");
  await rows.token();
  await rows.artifact({ metadata: { lines: 3n } });
  await rows.debugStop();
  await rows.worktree();
  return { repository, session };
}
