// Where a migration shall go, as people write it: a revision, so many steps, or one of the ends.
import { StoreError } from "../errors.ts";
import type { Migration } from "../schema/migrationFiles.ts";

/**
 * How many migrations are applied at the target.
 *
 * Input    text: a revision ("0002" or "2"), "+N", "-N", "head" or "base"; at: how many are applied now
 * Fails    invalid_input
 */
export function parseTarget(text: string, migrations: readonly Migration[], at: number): number {
  if (text === "head") return migrations.length;
  if (text === "base") return 0;
  if (/^[+-]\d{1,4}$/.test(text)) return stepsFrom(text, migrations.length, at);
  const index = migrations.findIndex(({ revision }) => /^\d{1,4}$/.test(text) && revision === text.padStart(4, "0"));
  if (index === -1)
    throw new StoreError(
      "invalid_input",
      `${text}: there is no such revision; known are ${known(migrations)}, head and base`,
    );
  return index + 1;
}

function stepsFrom(text: string, length: number, at: number): number {
  const target = at + Number(text);
  if (target >= 0 && target <= length) return target;
  const [there, way] = target < 0 ? [at, "down"] : [length - at, "up"];
  throw new StoreError("invalid_input", `${text}: there are only ${there} migrations on the way ${way}`);
}

function known(migrations: readonly Migration[]): string {
  return migrations.map(({ revision }) => revision).join(", ");
}

/** After so many migrations. */
export function revisionAt(migrations: readonly Migration[], count: number): string {
  return migrations[count - 1]?.revision ?? "base";
}
