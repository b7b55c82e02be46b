// The list of all checks, in the order in which they run: what a check relies on is checked before it.
import { commandChecks } from "./commandChecks.ts";
import { debugChecks } from "./debugChecks.ts";
import { feedChecks } from "./feedChecks.ts";
import { logChecks } from "./logChecks.ts";
import { placeChecks } from "./placeChecks.ts";
import { recordChecks } from "./recordChecks.ts";
import { sessionChecks } from "./sessionChecks.ts";

export const checks = [
  ...placeChecks,
  ...commandChecks,
  ...sessionChecks,
  ...logChecks,
  ...recordChecks,
  ...debugChecks,
  ...feedChecks,
] as const;

export const checkNames: readonly string[] = checks.map(({ name }) => name);
