// Migrations tried on a copy: what they would do, and whether they can be undone.

import type { Engine } from "../schema/engine.ts";
import { readHistory, requireNoViolations, requireSound, type SchemaObject } from "../schema/ledger.ts";
import type { Migration } from "../schema/migrationFiles.ts";
import { compareSchemas, type Difference, schemasByRevision, usingEngine } from "./differences.ts";
import { parseTarget, revisionAt } from "./target.ts";
import { type Migrator, type MoveResult, move, runStep, type Step } from "./upgrade.ts";

export interface Plan extends Omit<MoveResult, "safety"> {
  /** How to make a backup before the real thing, where it is not made by itself. */
  readonly backupAdvice?: string;
  readonly differences: readonly Difference[];
}

/** A dry run: the real migrations on a copy of the database, with what they change and how long they take. */
export async function plan(migrator: Migrator, target: string): Promise<Plan> {
  const { engine, migrations } = migrator;
  return await onCopy(migrator, async (copy, at) => {
    const before = await copy.read((run) => run(copy.catalog.objects()));
    const direction = parseTarget(target, migrations, at) < at ? "down" : "up";
    const moved = await move({ ...migrator, engine: copy }, direction, target, { backup: false, allowDataLoss: true });
    const after = await copy.read((run) => run(copy.catalog.objects()));
    const advice = engine.backupAdvice === undefined ? {} : { backupAdvice: engine.backupAdvice };
    return { ...moved, differences: compareSchemas(before, after, copy), ...advice };
  });
}

export interface VerifyResult {
  readonly steps: readonly Step[];
  /** Where the schema was not what the migrations make of an empty database. */
  readonly faults: readonly { readonly after: Step; readonly differences: readonly Difference[] }[];
}

/** Up to the head, down to base and up again, on a copy, step by step: each revision has one schema, whichever way it was reached. */
export async function verify(migrator: Migrator): Promise<VerifyResult> {
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
      const differences = compareSchemas(expected.get(revision) as SchemaObject[], objects, copy);
      if (differences.length > 0) faults.push({ after: done, differences });
    };
    for (const migration of migrations.slice(at)) await go(migration, "up", migration.revision);
    for (const [index, migration] of [...migrations.entries()].toReversed())
      await go(migration, "down", revisionAt(migrations, index));
    for (const migration of migrations) await go(migration, "up", migration.revision);
    return { steps, faults };
  });
}

/** `at`: how many migrations are applied. */
async function onCopy<Result>(
  { engine, migrations }: Migrator,
  work: (copy: Engine, at: number) => Promise<Result>,
): Promise<Result> {
  const history = await engine.read((run) => run(readHistory(engine.catalog, migrations)));
  requireSound(history, migrations);
  const at = history.applied.length;
  return await usingEngine(await engine.copy(migrations.slice(0, at)), (copy) => work(copy, at));
}
