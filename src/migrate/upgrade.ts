// Upgrades and downgrades a schema, on any engine, after a backup. A failure leaves the database unchanged. Prints
// nothing.
import { StoreError } from "../errors.ts";
import { present } from "../present.ts";
import type { Engine, EngineTransaction, RestorePoint, Run } from "../schema/engine.ts";
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
  /**
   * The backup, or advice on how to make it. Absent when nothing was done, the database holds no data, or no backup was
   * wanted.
   */
  readonly safety?: RestorePoint;
}

export interface MoveOptions {
  readonly backup: boolean;
  readonly allowDataLoss: boolean;
}

/**
 * Applies the pending migrations up to the target. When several processes upgrade at once, one applies them and the
 * others find nothing to do.
 */
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
 * Fails    conflict { reason: "data_loss", losses } when data would be lost and `allowDataLoss` is false
 */
export async function downgrade(migrator: Migrator, target: string, options: MoveOptions): Promise<MoveResult> {
  return await move(migrator, "down", target, options);
}

/** Migrates in one direction. Used by the two functions above, and by a dry run. */
export async function move(
  { engine, migrations, now }: Migrator,
  direction: Step["direction"],
  target: string,
  { backup, allowDataLoss }: MoveOptions,
): Promise<MoveResult> {
  const find = async (run: Run) => {
    const history = await run(historyOrNew(engine.catalog, migrations));
    requireSound(history, migrations);
    const at = history.applied.length;
    return { at, route: routeTo(migrations, at, parseTarget(target, migrations, at), direction) };
  };
  const needsAlone = async (run: Run) => (await find(run)).route.length > 0;
  return await engine.transact(async (transaction) => {
    const { run } = transaction;
    const { at, route } = await find(run);
    const [from, to] = [
      revisionAt(migrations, at),
      revisionAt(migrations, at + (direction === "up" ? route.length : -route.length)),
    ];
    if (route.length === 0) return { from, to, steps: [], losses: [] };
    if (!transaction.isAlone)
      throw new StoreError("busy", "another process has migrated the database meanwhile: try again");
    const losses = direction === "down" ? await run(lossesOf(engine.catalog, route, now)) : [];
    if (losses.length > 0 && !allowDataLoss) throw dataLossError(losses);
    const safety =
      backup && (await run(holdsData(engine.catalog)))
        ? await transaction.backUp(`before ${direction}grade from ${from} to ${to}`)
        : undefined;
    // Marks a new database as ours, and creates its ledger.
    if (at === 0 && direction === "up") await run(stampMigrations(engine.catalog, [], now));
    const steps: Step[] = [];
    for (const migration of route) steps.push(await runStep(transaction, migration, direction, now));
    await run(requireNoViolations(engine.catalog, migrations));
    return { from, to, steps, losses, ...present({ safety }) };
  }, needsAlone);
}

function routeTo(
  migrations: readonly Migration[],
  from: number,
  to: number,
  direction: Step["direction"],
): readonly Migration[] {
  if (direction === "up" ? to < from : to > from) {
    const [at, wanted] = [revisionAt(migrations, from), revisionAt(migrations, to)];
    const [relation, command] = direction === "up" ? ["after", "downgrade"] : ["before", "upgrade"];
    throw new StoreError(
      "invalid_input",
      `the schema is at ${at}, which is ${relation} ${wanted}: run debug-server-db migrate ${command} ${wanted}`,
    );
  }
  return direction === "up" ? migrations.slice(from, to) : migrations.slice(to, from).toReversed();
}

/** Applies or undoes one migration. */
export async function runStep(
  { run }: Pick<EngineTransaction, "run">,
  migration: Migration,
  direction: Step["direction"],
  now: () => number,
): Promise<Step> {
  const durationMs = await run(direction === "up" ? applyMigration(migration, now) : revertMigration(migration, now));
  return { revision: migration.revision, name: migration.name, direction, durationMs };
}

/** Reads the history. A new database has no ledger yet, and an empty history. */
const historyOrNew = step(function* (catalog: Catalog, migrations: readonly Migration[]) {
  if (!catalog.isNew(yield* catalog.tables(), migrations)) return yield* readHistory(catalog, migrations);
  return { applied: [], pending: migrations, edited: [], newer: [], skipped: [] } satisfies History;
});
