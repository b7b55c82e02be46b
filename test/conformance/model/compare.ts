// The comparison of all rows of a store with those of the model.
import assert from "node:assert/strict";
import type { Store } from "../../../src/index.ts";
import { comparableConsumers, listConsumers } from "./consumers.ts";
import { shown } from "./explain.ts";
import { figuresOf } from "./feed.ts";
import { feedOf } from "./feedRows.ts";
import type { State } from "./state.ts";
import { comparableToken } from "./tokens.ts";

/** Reads all rows of a store, in small pages. */
export async function rowsOf(store: Store): Promise<object> {
  const commands = await listed(store.commands.all({ limit: 3 }));
  return {
    repositories: await listed(store.repositories.all({ limit: 3, includeArchived: true })),
    runners: await listed(store.runners.all({ limit: 3 })),
    worktrees: await listed(store.worktrees.all({ limit: 3 })),
    sessions: await listed(store.sessions.all({ limit: 3 })),
    commands,
    artifacts: await listed(store.artifacts.all({ limit: 3 })),
    patches: await listed(store.patches.all({ limit: 3 })),
    files: await listed(store.files.all({ limit: 3 })),
    accounts: await listed(store.accounts.all({ limit: 3, includeDisabled: true })),
    tokens: await listed(store.tokens.all({ limit: 3 }), comparableToken),
    attempts: await byCommand(Object.keys(commands), (commandId) => store.commands.attempts({ commandId })),
    consumers: comparableConsumers(await store.changes.consumers()),
    feed: await feedOf(store),
    retention: (await store.maintenance.stats()).retention,
  };
}

/** Fails when the rows of a store, with ticks in place of times, are not those of the model. */
export function requireSame(observed: object, state: State): void {
  const { consumers, feed, retention, ...tables } = observed as Readonly<Record<string, object>>;
  assert.deepEqual(consumers, comparableConsumers(listConsumers(state)), "consumers");
  assert.deepEqual(feed, state.feed, "feed");
  assert.deepEqual(retention, figuresOf(state), "retention");
  for (const [name, rows] of Object.entries(tables)) {
    const expected = state[name as keyof State] as ReadonlyMap<string, unknown>;
    const own = new Map([...expected].filter(([, row]) => !Array.isArray(row) || row.length > 0));
    assert.deepEqual(ofMap(rows), ofMap(shown(Object.fromEntries(own)) as object), name);
  }
}

const ofMap = (rows: object) => Object.entries(rows).toSorted(([one], [other]) => (one < other ? -1 : 1));

async function listed<Row extends { readonly id: string }>(
  rows: AsyncIterable<Row>,
  comparable: (row: Row) => object = (row) => row,
): Promise<Record<string, object>> {
  const found: Record<string, object> = {};
  for await (const row of rows) {
    assert.ok(!(row.id in found), `${row.id} is listed twice`);
    found[row.id] = comparable(row);
  }
  return found;
}

async function byCommand<Item>(ids: Iterable<string>, read: (id: string) => Promise<readonly Item[]>) {
  const found = await Promise.all([...ids].map(async (id) => [id, await read(id)] as const));
  return Object.fromEntries(found.filter(([, items]) => items.length > 0));
}
