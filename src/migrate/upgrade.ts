// Up and down, on whatever engine, with a backup before and nothing changed after a failure. Gives plain data; nothing here prints.
import { StoreError } from "../errors.ts";
import type { Engine, EngineTransaction, RestorePoint } from "../schema/engine.ts";
import {
  applyMigration,
  type Catalog,
  type History,
  readHistory,
  requireNoViolations,
  requireSound,
  revertMigration,
  stampMigrations,
} from "../schema/ledger.ts";
import type { Migration } from "../schema/migrationFiles.ts";
import { step } from "../sql.ts";
import { dataLossError, holdsData, type Loss, lossesOf } from "./losses.ts";
import { parseTarget, revisionAt } from "./target.ts";

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

export interface MoveResult {
  /** A revision, or "base". */
  readonly from: string;
  readonly to: string;
  readonly steps: readonly Step[];
  readonly losses: readonly Loss[];
  /** Absent when nothing was done, the database holds no data, or none was wanted. */
  readonly safety?: RestorePoint;
}

export interface MoveOptions {
  readonly backup: boolean;
  readonly allowDataLoss: boolean;
}

/** Applies what is pending up to the target. Of several at once, one does it and the others find it done. */
export async function upgrade(
  migrator: Migrator,
  target: string,
  options: Pick<MoveOptions, "backup">,
): Promise<MoveResult> {
  return await move(migrator, "up", target, { ...options, allowDataLoss: true });
}

/**
 * Undoes migrations down to the target, the last one first.
 *
 * Fails    conflict { reason: "data_loss", losses } unless data may go
 */
export async function downgrade(migrator: Migrator, target: string, options: MoveOptions): Promise<MoveResult> {
  return await move(migrator, "down", target, options);
}

export async function move(
  { engine, migrations, now }: Migrator,
  direction: Step["direction"],
  target: string,
  { backup, allowDataLoss }: MoveOptions,
): Promise<MoveResult> {
  return await engine.transact(async (transaction) => {
    const { run } = transaction;
    const history = await run(historyOrNew(engine.catalog, migrations));
    requireSound(history, migrations);
    const at = history.applied.length;
    const route = routeTo(migrations, at, parseTarget(target, migrations, at), direction);
    const [from, to] = [
      revisionAt(migrations, at),
      revisionAt(migrations, at + (direction === "up" ? route.length : -route.length)),
    ];
    if (route.length === 0) return { from, to, steps: [], losses: [] };
    const losses = direction === "down" ? await run(lossesOf(engine.catalog, route, now)) : [];
    if (losses.length > 0 && !allowDataLoss) throw dataLossError(losses);
    const safety =
      backup && (await run(holdsData(engine.catalog)))
        ? await transaction.backUp(`before ${direction}grade from ${from} to ${to}`)
        : undefined;
    if (at === 0 && direction === "up") await run(stampMigrations(engine.catalog, [], now));
    const steps: Step[] = [];
    for (const migration of route) steps.push(await runStep(transaction, migration, direction, now));
    await run(requireNoViolations(engine.catalog));
    return { from, to, steps, losses, ...(safety === undefined ? {} : { safety }) };
  });
}

function routeTo(
  migrations: readonly Migration[],
  from: number,
  to: number,
  direction: Step["direction"],
): readonly Migration[] {
  if (direction === "up" ? to < from : to > from) {
    const [at, wanted] = [revisionAt(migrations, from), revisionAt(migrations, to)];
    const other = direction === "up" ? "downgrade" : "upgrade";
    throw new StoreError(
      "invalid_input",
      `the schema is at ${at}, and ${wanted} lies the other way: run debug-server-db migrate ${other} ${wanted}`,
    );
  }
  return direction === "up" ? migrations.slice(from, to) : migrations.slice(to, from).toReversed();
}

export async function runStep(
  { run }: Pick<EngineTransaction, "run">,
  migration: Migration,
  direction: Step["direction"],
  now: () => number,
): Promise<Step> {
  const durationMs = await run(direction === "up" ? applyMigration(migration, now) : revertMigration(migration, now));
  return { revision: migration.revision, name: migration.name, direction, durationMs };
}

/** A new database has no ledger and needs none to be said so. */
const historyOrNew = step(function* (catalog: Catalog, migrations: readonly Migration[]) {
  if (!catalog.isNew(yield* catalog.tables(), migrations)) return yield* readHistory(catalog, migrations);
  return { applied: [], pending: migrations, edited: [], newer: [], skipped: [] } satisfies History;
});
