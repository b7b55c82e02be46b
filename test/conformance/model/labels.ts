// Labels in the model: what commands and sessions require, and runners have.

export const requirements = [[], [], [], ["os"], ["os=linux"], ["gpu", "os=linux"]];
export const runnerLabels = [{}, { os: "linux" }, { os: "mac" }, { gpu: "2", os: "linux" }];

/** Checks whether a runner or a session has all of these labels. */
export function has(row: { readonly labels: object } | undefined, required: readonly string[]): boolean {
  const labels = Object.entries(row?.labels ?? {});
  return required.every((label) => labels.some(([key, value]) => label === key || label === `${key}=${value}`));
}
