// Labels that commands require of runners, as texts `key` or `key=value`. A set of them is one text, sorted and without
// repetitions, so that an index finds the sessions that require the same (D-147).
import { z } from "zod";
import { bounds } from "../limits.ts";
import { Name } from "./fields.ts";
import { parseJson } from "./json.ts";

/** The text between the labels of a set, as the codec `lines` reads it. No label contains it. */
const separator = "\n";

const isKeyed = { error: "must have a key before the '='" };

/** The key of a label. */
export const LabelKey = Name.refine((key) => !key.includes("="), { error: "must not contain '='" });

/** One required label: `key` for any value, or `key=value`. */
export const LabelText = Name.refine((label) => label.length <= bounds.labelLength, {
  error: `must be at most ${bounds.labelLength} characters long`,
})
  .refine((label) => !label.startsWith("="), isKeyed)
  .describe("label: key or key=value");

/** The labels that a command or a session requires of a runner. */
export const Requires = z
  .array(LabelText)
  .max(bounds.requiredLabels)
  .overwrite((labels) => [...new Set(labels)].sort())
  .refine((labels) => Buffer.byteLength(labels.join(separator)) <= bounds.requiredBytes, {
    error: `must be at most ${bounds.requiredBytes} bytes long together`,
  });

/** A set of labels as its column holds it. */
export type LabelSet = string;

/** Returns the set of all labels of these lists. */
export function labelSetOf(...lists: readonly (readonly string[])[]): LabelSet {
  const labels = lists.flat();
  return labels.length === 0 ? "" : [...new Set(labels)].sort().join(separator);
}

/** Returns the labels of a set. */
export function labelsOf(set: LabelSet): readonly string[] {
  return set === "" ? [] : set.split(separator);
}

/** The labels of a runner, by key. */
export type RunnerLabels = Readonly<Record<string, string>>;

/** Returns the labels of a runner's row, or undefined when it has none. */
export function runnerLabels({ labels }: { readonly labels: string }): RunnerLabels | undefined {
  return labels === noLabels ? undefined : (parseJson(labels) as RunnerLabels);
}

const noLabels = '{"json":{}}';

/** Returns the labels of a set that a runner lacks. A runner covers a set when it lacks none. */
export function labelsMissing(set: LabelSet, has: RunnerLabels = {}): readonly string[] {
  return labelsOf(set).filter((label) => {
    const equals = label.indexOf("=");
    return equals === -1
      ? !Object.hasOwn(has, label)
      : !Object.hasOwn(has, label.slice(0, equals)) || has[label.slice(0, equals)] !== label.slice(equals + 1);
  });
}

export function covers(has: RunnerLabels | undefined, set: LabelSet): boolean {
  return set === "" || (has !== undefined && labelsMissing(set, has).length === 0);
}
