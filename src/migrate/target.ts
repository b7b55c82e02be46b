// Parses the target of a migration: a revision, a number of steps, head or base.
import { StoreError } from "../errors.ts";
import type { Migration } from "../schema/migrationFiles.ts";

/**
 * Returns the number of migrations that are applied at the target.
 *
 * Input    text: a revision ("0002" or "2"), "+N", "-N", "head" or "base"; at: the number of migrations that are
 *          applied now
 * Fails    invalid_input
 */
export function parseTarget(text: string, migrations: readonly Migration[], at: number): number {
  if (text === "head") return migrations.length;
  if (text === "base") return 0;
  if (/^[+-]\d{1,4}$/.test(text)) return stepsFrom(text, migrations.length, at);
  const index = migrations.findIndex(({ revision }) => /^\d{1,4}$/.test(text) && revision === text.padStart(4, "0"));
  if (index === -1)
    throw new StoreError("invalid_input", `${text}: there is no such revision; use ${known(migrations)}, head or base`);
  return index + 1;
}

function stepsFrom(text: string, length: number, at: number): number {
  const target = at + Number(text);
  if (target >= 0 && target <= length) return target;
  const [available, verb] = target < 0 ? [at, "undo"] : [length - at, "apply"];
  const sentence = available === 1 ? "there is only 1 migration" : `there are only ${available} migrations`;
  throw new StoreError("invalid_input", `${text}: ${sentence} to ${verb}`);
}

function known(migrations: readonly Migration[]): string {
  return migrations.map(({ revision }) => revision).join(", ");
}

/** Returns the revision of a schema after a number of migrations, which is "base" after none. */
export function revisionAt(migrations: readonly Migration[], count: number): string {
  return migrations[count - 1]?.revision ?? "base";
}
