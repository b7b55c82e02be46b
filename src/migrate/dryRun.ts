// Runs migrations on a copy of the database, to find out their effects and check that they can be undone.

import { present } from "../present.ts";
import type { Engine } from "../schema/engine.ts";
import { readHistory, requireNoViolations, requireSound, type SchemaObject } from "../schema/ledger.ts";
import type { Migration } from "../schema/migrationFiles.ts";
import { compareSchemas, type Difference, driftOf, schemasByRevision, usingEngine } from "./differences.ts";
import { parseTarget, revisionAt } from "./target.ts";
import { type Migrator, type MoveResult, move, runStep, type Step } from "./upgrade.ts";

export interface Plan extends Omit<MoveResult, "safety"> {
  /** Advice on how to make a backup first, on an engine that does not make one. */
  readonly backupAdvice?: string;
  readonly differences: readonly Difference[];
}

/** Runs the migrations to a target on a copy of the database. Returns what they change and how long they take. */
export async function plan(migrator: Migrator, target: string): Promise<Plan> {
  const { engine, migrations } = migrator;
  return await onCopy(migrator, async (copy, at) => {
    const before = await copy.read((run) => run(copy.catalog.objects()));
    const direction = parseTarget(target, migrations, at) < at ? "down" : "up";
    const moved = await move({ ...migrator, engine: copy }, direction, target, { backup: false, allowDataLoss: true });
    const after = await copy.read((run) => run(copy.catalog.objects()));
    const differences = compareSchemas(before, after, copy);
    return { ...moved, differences, ...present({ backupAdvice: engine.backupAdvice }) };
  });
}

export interface VerifyResult {
  readonly steps: readonly Step[];
  /** The steps after which the schema differed from the one that the migrations produce in an empty database. */
  readonly faults: readonly { readonly after: Step; readonly differences: readonly Difference[] }[];
}

/**
 * Checks on a copy that each revision has one schema, however it is reached: up to the head, down to base, and up
 * again, step by step.
 */
export async function verify(migrator: Migrator): Promise<VerifyResult> {
  const { engine, migrations, now } = migrator;
  const expected = await schemasByRevision(engine, migrations, now);
  return await onCopy(migrator, async (copy, at) => {
    const steps: Step[] = [];
    const faults: { after: Step; differences: Difference[] }[] = [];
    const runAndCompare = async (
      migration: Migration,
      direction: Step["direction"],
      revision: string,
    ): Promise<void> => {
      const { step, objects } = await copy.transact(async (transaction) => {
        const step = await runStep(transaction, migration, direction, now);
        // On the way to base, the rows go to which those of others refer.
        await transaction.run(requireNoViolations(copy.catalog, migrations, false));
        return { step, objects: await transaction.run(copy.catalog.objects()) };
      });
      steps.push(step);
      const differences = driftOf(expected.get(revision) as SchemaObject[], objects, migrations, copy);
      if (differences.length > 0) faults.push({ after: step, differences });
    };
    for (const migration of migrations.slice(at)) await runAndCompare(migration, "up", migration.revision);
    for (const [index, migration] of [...migrations.entries()].toReversed())
      await runAndCompare(migration, "down", revisionAt(migrations, index));
    for (const migration of migrations) await runAndCompare(migration, "up", migration.revision);
    return { steps, faults };
  });
}

/** Runs `work` on a copy of the database. `at` is the number of applied migrations. */
async function onCopy<Result>(
  { engine, migrations }: Migrator,
  work: (copy: Engine, at: number) => Promise<Result>,
): Promise<Result> {
  const history = await engine.read((run) => run(readHistory(engine.catalog, migrations)));
  requireSound(history, migrations);
  const at = history.applied.length;
  return await usingEngine(await engine.openCopy(migrations.slice(0, at)), (copy) => work(copy, at));
}
