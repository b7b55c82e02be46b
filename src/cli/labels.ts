// Labels on the command line: KEY or KEY=VALUE.
import { InvalidArgumentError } from "commander";

/** Adds a label of the form KEY or KEY=VALUE to those before it. */
export function keyedLabel(
  text: string,
  before: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  const [key = "", value = ""] = text.split(/=(.*)/s);
  if (key === "") throw new InvalidArgumentError("expected KEY or KEY=VALUE");
  return { ...before, [key]: value };
}

/** Returns labels as text, or null when there are none. */
export function formatLabels(labels: Readonly<Record<string, string>>): string | null {
  return (
    Object.entries(labels)
      .map(([key, value]) => (value === "" ? key : `${key}=${value}`))
      .join(", ") || null
  );
}
