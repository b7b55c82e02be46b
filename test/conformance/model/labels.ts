// Labels in the model: what commands and sessions require, and runners have.
import type { Runner } from "./state.ts";

export const requirements = [[], [], [], ["os"], ["os=linux"], ["gpu", "os=linux"]];
export const runnerLabels = [{}, { os: "linux" }, { os: "mac" }, { gpu: "2", os: "linux" }];

/** Checks whether a runner has all of these labels. */
export function has(runner: Runner | undefined, required: readonly string[]): boolean {
  const labels = Object.entries((runner?.labels ?? {}) as Record<string, string>);
  return required.every((label) => labels.some(([key, value]) => label === key || label === `${key}=${value}`));
}
