// What the commands of `migrate` do, on whatever engine: each is one function that gives plain data. Nothing here prints.
import { StoreError } from "../errors.ts";
import { all, change, step } from "../sql.ts";
import type { Engine, EngineTransaction, Safety } from "./engine.ts";
import type { Migration } from "./files.ts";
import {
  type AppliedMigration,
  applyMigration,
  asStatement,
  type Catalog,
  type History,
  hasLedger,
  ownTables,
  readHistory,
  requireNoViolations,
  requireSound,
  revertMigration,
  type SchemaObject,
  stampMigrations,
} from "./schema.ts";
import { canonicalSql } from "./statements.ts";
import { targetOf } from "./target.ts";

export interface Migrator {
  readonly engine: Engine;
  readonly migrations: readonly Migration[];
  readonly now: () => number;
}

export interface Step {
  readonly revision: string;
  readonly name: string;
  readonly direction: "up" | "down";
  readonly durationMs: number;
}

/** What a downgrade takes away for good. Values that a migration overwrites are not found. */
export interface Loss {
  readonly table: string;
  /** Absent when whole rows go. */
  readonly column?: string;
  readonly rows: number;
}

export interface Difference {
  readonly change: "added" | "removed" | "changed";
  readonly type: string;
  readonly name: string;
  readonly before?: string;
  readonly after?: string;
}

export interface Moved {
  /** A revision, or "base". */
  readonly from: string;
  readonly to: string;
  readonly steps: readonly Step[];
  readonly losses: readonly Loss[];
  /** Absent when nothing was done, the database holds no data, or none was wanted. */
  readonly safety?: Safety;
}

export interface MoveOptions {
  readonly backup: boolean;
  readonly allowDataLoss: boolean;
}

/** Applies what is pending up to the target. Of several at once, one does it and the others find it done. */
export async function upgrade(migrator: Migrator, target: string, options: Pick<MoveOptions, "backup">): Promise<Moved> {
  return await move(migrator, "up", target, { ...options, allowDataLoss: true });
}

/**
 * Undoes migrations down to the target, the last one first.
 *
 * Fails    conflict { reason: "data_loss", losses } unless data may go
 */
export async function downgrade(migrator: Migrator, target: string, options: MoveOptions): Promise<Moved> {
  return await move(migrator, "down", target, options);
}

async function move(
  { engine, migrations, now }: Migrator,
  direction: Step["direction"],
  target: string,
  { backup, allowDataLoss }: MoveOptions,
): Promise<Moved> {
  return await engine.transact(async (transaction) => {
    const { run } = transaction;
    const history = await run(historyOrNew(engine.catalog, migrations));
    requireSound(history, migrations);
    const at = history.applied.length;
    const route = routeTo(migrations, at, targetOf(target, migrations, at), direction);
    const [from, to] = [revisionAt(migrations, at), revisionAt(migrations, at + (direction === "up" ? route.length : -route.length))];
    if (route.length === 0) return { from, to, steps: [], losses: [] };
    const losses = direction === "down" ? await run(lossesOf(engine.catalog, route, now)) : [];
    if (losses.length > 0 && !allowDataLoss) throw lossRefused(losses);
    const safety = backup && (await run(holdsData(engine.catalog))) ? await transaction.backUp(`before ${direction}grade from ${from} to ${to}`) : undefined;
    if (at === 0 && direction === "up") await run(stampMigrations(engine.catalog, [], now));
    const steps: Step[] = [];
    for (const migration of route) steps.push(await runStep(transaction, migration, direction, now));
    await run(requireNoViolations(engine.catalog));
    return { from, to, steps, losses, ...(safety === undefined ? {} : { safety }) };
  });
}

function lossRefused(losses: readonly Loss[]): StoreError {
  const message = `this downgrade drops data: ${losses.map(describeLoss).join(", ")}; nothing was changed. To let it go: --allow-data-loss`;
  return new StoreError("conflict", message, { outcome: "rolled_back", details: { reason: "data_loss", losses } });
}

export function describeLoss({ table, column, rows }: Loss): string {
  const [what, place] = column === undefined ? ["row", table] : ["value", `${table}.${column}`];
  return `${rows} ${what}${rows === 1 ? "" : "s"} of ${place}`;
}

function routeTo(migrations: readonly Migration[], from: number, to: number, direction: Step["direction"]): readonly Migration[] {
  if (direction === "up" ? to < from : to > from) {
    const [at, wanted] = [revisionAt(migrations, from), revisionAt(migrations, to)];
    const other = direction === "up" ? "downgrade" : "upgrade";
    throw new StoreError("invalid_input", `the schema is at ${at}, and ${wanted} lies the other way: run debug-server-db migrate ${other} ${wanted}`);
  }
  return direction === "up" ? migrations.slice(from, to) : migrations.slice(to, from).toReversed();
}

function revisionAt(migrations: readonly Migration[], count: number): string {
  return migrations[count - 1]?.revision ?? "base";
}

async function runStep({ run }: Pick<EngineTransaction, "run">, migration: Migration, direction: Step["direction"], now: () => number): Promise<Step> {
  const durationMs = await run(direction === "up" ? applyMigration(migration, now) : revertMigration(migration, now));
  return { revision: migration.revision, name: migration.name, direction, durationMs };
}

/** A new database has no ledger and needs none to be said so. */
const historyOrNew = step(function* (catalog: Catalog, migrations: readonly Migration[]) {
  if (!catalog.isNew(yield* catalog.tables())) return yield* readHistory(catalog, migrations);
  return { applied: [], pending: migrations, edited: [], newer: [], skipped: [] } satisfies History;
});

const holdsData = step(function* (catalog: Catalog) {
  for (const { name } of yield* catalog.tables()) {
    if (!ownTables.includes(name) && (yield* all(asStatement(`SELECT 1 FROM ${quoted(name)} LIMIT 1`))).length > 0) return true;
  }
  return false;
});

/** The migrations are undone within a savepoint to see what is gone then, and that is counted where it still is. */
const lossesOf = step(function* (catalog: Catalog, route: readonly Migration[], now: () => number) {
  const before = yield* contents(catalog);
  yield* change(asStatement("SAVEPOINT probe"));
  for (const migration of route) yield* revertMigration(migration, now);
  const after = yield* contents(catalog);
  yield* change(asStatement("ROLLBACK TO SAVEPOINT probe"));
  yield* change(asStatement("RELEASE SAVEPOINT probe"));
  const losses: Loss[] = [];
  for (const [table, { columns, rows }] of before) {
    const left = after.get(table) ?? { columns: [], rows: 0 };
    if (left.rows < rows) losses.push({ table, rows: rows - left.rows });
    for (const column of after.has(table) ? columns : []) {
      const values = left.columns.includes(column) ? 0 : yield* count(`SELECT count(${quoted(column)}) AS count FROM ${quoted(table)}`);
      if (values > 0) losses.push({ table, column, rows: values });
    }
  }
  return losses;
});

const contents = step(function* (catalog: Catalog) {
  const found = new Map<string, { readonly columns: readonly string[]; readonly rows: number }>();
  for (const { name, columns } of yield* catalog.tables()) {
    if (!ownTables.includes(name)) found.set(name, { columns, rows: yield* count(`SELECT count(*) AS count FROM ${quoted(name)}`) });
  }
  return found;
});

const count = step(function* (text: string) {
  const [row] = yield* all<{ count: number | string }>(asStatement(text));
  return Number(row?.count);
});

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

export interface Current {
  readonly revision: string;
  readonly name: string | undefined;
  readonly head: string;
  readonly atHead: boolean;
}

export async function current({ engine, migrations }: Migrator): Promise<Current> {
  const { applied } = await engine.read((run) => run(readHistory(engine.catalog, migrations)));
  const last = applied.at(-1);
  const head = revisionAt(migrations, migrations.length);
  const revision = last?.revision ?? "base";
  return { revision, name: last?.name, head, atHead: revision === head };
}

export interface Entry {
  readonly revision: string;
  readonly name: string;
  readonly state: "applied" | "pending" | "edited" | "newer" | "skipped";
  readonly appliedAt?: string;
  readonly durationMs?: number;
  readonly appliedBy?: string;
}

/** Every migration that is known or applied, oldest first, between two revisions when asked for ("a:b", either end may be left out). */
export async function listHistory({ engine, migrations }: Migrator, range = ":"): Promise<Entry[]> {
  const [first, last] = rangeOf(range, migrations);
  const history = await engine.read((run) => run(readHistory(engine.catalog, migrations)));
  const names = new Map([...migrations, ...history.newer].map(({ revision, name }) => [revision, name]));
  const applied = new Map(history.applied.map((entry) => [entry.revision, entry]));
  return [...names]
    .filter(([revision]) => revision >= first && revision <= last)
    .map(([revision, name]) => ({ revision, name, state: stateOf(revision, history), ...entryOf(applied.get(revision)) }))
    .sort((left, right) => left.revision.localeCompare(right.revision));
}

export async function listPending(migrator: Migrator): Promise<Entry[]> {
  return (await listHistory(migrator)).filter(({ state }) => state === "pending" || state === "skipped");
}

function rangeOf(range: string, migrations: readonly Migration[]): [first: string, last: string] {
  const [, first, last] = /^([^:]*):([^:]*)$/.exec(range) ?? [];
  if (first === undefined || last === undefined)
    throw new StoreError("invalid_input", `${range}: expected a range of revisions, such as 0001:0002, 0002: or :0001`);
  const revision = (text: string): string => revisionAt(migrations, targetOf(text, migrations, 0)).replace("base", "0000");
  return [first === "" ? "" : revision(first), last === "" ? "9999" : revision(last)];
}

function stateOf(revision: string, { applied, edited, newer, skipped }: History): Entry["state"] {
  const among = (list: readonly { readonly revision: string }[]) => list.some((entry) => entry.revision === revision);
  if (among(newer)) return "newer";
  if (among(edited)) return "edited";
  if (among(applied)) return "applied";
  return among(skipped) ? "skipped" : "pending";
}

function entryOf(entry: AppliedMigration | undefined): Partial<Entry> {
  if (entry === undefined) return {};
  return { appliedAt: new Date(entry.applied_at).toISOString(), durationMs: entry.duration_ms, appliedBy: entry.applied_by };
}

export interface Stamped {
  readonly from: string;
  readonly to: string;
  /** Between what these migrations make and what is there: should be none. */
  readonly differences: readonly Difference[];
}

/** Makes the ledger say that the schema is at a revision, with the files as they are now. Runs no migration. */
export async function stamp({ engine, migrations, now }: Migrator, target: string): Promise<Stamped> {
  const { from, to, objects, known } = await engine.transact(async ({ run }) => {
    const tables = await run(engine.catalog.tables());
    const applied = hasLedger(tables) ? (await run(readHistory(engine.catalog, migrations))).applied : [];
    const known = migrations.slice(0, targetOf(target, migrations, applied.length));
    await run(stampMigrations(engine.catalog, known, now));
    return { from: applied.at(-1)?.revision ?? "base", to: revisionAt(migrations, known.length), objects: await run(engine.catalog.objects()), known };
  });
  return { from, to, differences: differencesOf(await expectedObjects(engine, known, now), objects, engine) };
}

export type Finding =
  | { readonly kind: "pending" | "edited" | "newer" | "skipped"; readonly revision: string; readonly name: string }
  | { readonly kind: "no_ledger" }
  | ({ readonly kind: "drift" } & Difference);

/** What is not as it should be: migrations that are not applied, were edited or come from a later version, and a schema that is not what they make. */
export async function check({ engine, migrations, now }: Migrator): Promise<Finding[]> {
  const { history, objects } = await engine.read(async (run) => {
    const tables = await run(engine.catalog.tables());
    const history = hasLedger(tables) ? await run(readHistory(engine.catalog, migrations)) : undefined;
    return { history, objects: await run(engine.catalog.objects()) };
  });
  if (history === undefined) return [{ kind: "no_ledger" }];
  const findings = ["newer", "edited", "skipped", "pending"] as const;
  const listed = findings.flatMap((kind) =>
    history[kind]
      .filter(({ revision }) => kind !== "pending" || stateOf(revision, history) === "pending")
      .map(({ revision, name }): Finding => ({ kind, revision, name })),
  );
  // What a later version, or an edited file, made is not known here.
  if (history.newer.length > 0 || history.edited.length > 0) return listed;
  const applied = migrations.filter(({ revision }) => history.applied.some((entry) => entry.revision === revision));
  const drift = differencesOf(await expectedObjects(engine, applied, now), objects, engine);
  return [...listed, ...drift.map((difference): Finding => ({ kind: "drift", ...difference }))];
}

export interface Plan extends Omit<Moved, "safety"> {
  /** How to make a backup before the real thing, where it is not made by itself. */
  readonly backupAdvice?: string;
  readonly differences: readonly Difference[];
}

/** A dry run: the real migrations on a copy of the database, with what they change and how long they take. */
export async function plan(migrator: Migrator, target: string): Promise<Plan> {
  const { engine, migrations } = migrator;
  return await onCopy(migrator, async (copy, at) => {
    const before = await copy.read((run) => run(copy.catalog.objects()));
    const direction = targetOf(target, migrations, at) < at ? "down" : "up";
    const moved = await move({ ...migrator, engine: copy }, direction, target, { backup: false, allowDataLoss: true });
    const after = await copy.read((run) => run(copy.catalog.objects()));
    const advice = engine.backupAdvice === undefined ? {} : { backupAdvice: engine.backupAdvice };
    return { ...moved, differences: differencesOf(before, after, copy), ...advice };
  });
}

export interface Verified {
  readonly steps: readonly Step[];
  /** Where the schema was not what the migrations make of an empty database. */
  readonly faults: readonly { readonly after: Step; readonly differences: readonly Difference[] }[];
}

/** Up to the head, down to base and up again, on a copy, step by step: each revision has one schema, whichever way it was reached. */
export async function verify(migrator: Migrator): Promise<Verified> {
  const { engine, migrations, now } = migrator;
  const expected = await schemasByRevision(engine, migrations, now);
  return await onCopy(migrator, async (copy, at) => {
    const steps: Step[] = [];
    const faults: { after: Step; differences: Difference[] }[] = [];
    const go = async (migration: Migration, direction: Step["direction"], revision: string): Promise<void> => {
      const { done, objects } = await copy.transact(async (transaction) => {
        const done = await runStep(transaction, migration, direction, now);
        await transaction.run(requireNoViolations(copy.catalog));
        return { done, objects: await transaction.run(copy.catalog.objects()) };
      });
      steps.push(done);
      const differences = differencesOf(expected.get(revision) as SchemaObject[], objects, copy);
      if (differences.length > 0) faults.push({ after: done, differences });
    };
    for (const migration of migrations.slice(at)) await go(migration, "up", migration.revision);
    for (const [index, migration] of [...migrations.entries()].toReversed()) await go(migration, "down", revisionAt(migrations, index));
    for (const migration of migrations) await go(migration, "up", migration.revision);
    return { steps, faults };
  });
}

/** `at`: how many migrations are applied. */
async function onCopy<Result>({ engine, migrations }: Migrator, work: (copy: Engine, at: number) => Promise<Result>): Promise<Result> {
  const history = await engine.read((run) => run(readHistory(engine.catalog, migrations)));
  requireSound(history, migrations);
  const at = history.applied.length;
  return await closing(await engine.copy(migrations.slice(0, at)), (copy) => work(copy, at));
}

async function schemasByRevision(engine: Engine, migrations: readonly Migration[], now: () => number): Promise<Map<string, readonly SchemaObject[]>> {
  return await closing(await engine.empty(), async (empty) => {
    const schemas = new Map<string, readonly SchemaObject[]>();
    await empty.transact(async ({ run }) => {
      await run(stampMigrations(empty.catalog, [], now));
      schemas.set("base", await run(empty.catalog.objects()));
      for (const migration of migrations) {
        await run(applyMigration(migration, now));
        schemas.set(migration.revision, await run(empty.catalog.objects()));
      }
    });
    return schemas;
  });
}

async function expectedObjects(engine: Engine, migrations: readonly Migration[], now: () => number): Promise<readonly SchemaObject[]> {
  const schemas = await schemasByRevision(engine, migrations, now);
  return schemas.get(revisionAt(migrations, migrations.length)) ?? [];
}

async function closing<Result>(engine: Engine, work: (engine: Engine) => Promise<Result>): Promise<Result> {
  try {
    return await work(engine);
  } finally {
    await engine.close();
  }
}

function differencesOf(before: readonly SchemaObject[], after: readonly SchemaObject[], { dialect }: Engine): Difference[] {
  const keyOf = ({ type, name }: SchemaObject) => `${type} ${name}`;
  const [was, is] = [new Map(before.map((object) => [keyOf(object), object])), new Map(after.map((object) => [keyOf(object), object]))];
  const removed = before
    .filter((object) => !is.has(keyOf(object)))
    .map(({ type, name, definition }) => ({ change: "removed" as const, type, name, before: definition }));
  const added = after
    .filter((object) => !was.has(keyOf(object)))
    .map(({ type, name, definition }) => ({ change: "added" as const, type, name, after: definition }));
  const changed = after.flatMap((object) => {
    const old = was.get(keyOf(object));
    if (old === undefined || canonicalSql(old.definition, dialect) === canonicalSql(object.definition, dialect)) return [];
    return [{ change: "changed" as const, type: object.type, name: object.name, before: old.definition, after: object.definition }];
  });
  return [...removed, ...added, ...changed];
}
