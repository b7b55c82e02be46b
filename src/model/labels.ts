// Labels that commands require of runners, as texts `key` or `key=value`, and labels of sessions, by key. A set of required
// labels is one text, sorted and without repetitions, so that an index finds the sessions that require the same (D-147).
import { z } from "zod";
import { bounds } from "../limits.ts";
import { asJson, Name } from "./fields.ts";
import { parseJson } from "./json.ts";

/** The text between the labels of a set, as the codec `lines` reads it. No label contains it. */
const separator = "\n";

const isKeyed = { error: "must have a key before the '='" };

/** The key of a label. */
export const LabelKey = Name.refine((key) => !key.includes("="), { error: "must not contain '='" });

/** A label that something must have: `key` for any value, or `key=value`. */
export const LabelText = Name.overwrite((label) => label.replace(/ ?= ?/, "="))
  .refine((label) => label.length <= bounds.labelLength, {
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

/** The labels of a session, by key. A value may be empty. */
export const SessionLabels = asJson(
  z.record(LabelKey, Name.or(z.literal(""))).check(({ value, issues }) => {
    const labels = Object.entries(value);
    if (labels.length > bounds.sessionLabels)
      issues.push({ code: "custom", message: `must be at most ${bounds.sessionLabels} labels`, input: value });
    for (const [key, text] of labels) {
      if (key.length + text.length < bounds.labelLength) continue;
      const message = `must be at most ${bounds.labelLength} characters long, with its key and '='`;
      issues.push({ code: "custom", message, input: value, path: [key] });
    }
  }),
);

/** Labels that a listed session must all have. */
export const LabelFilter = z.array(LabelText).min(1).max(bounds.filterLabels);

/** Returns key and value of a label text; the value is undefined where any one will do. */
export function keyAndValue(label: string): readonly [key: string, value: string | undefined] {
  const equals = label.indexOf("=");
  return equals === -1 ? [label, undefined] : [label.slice(0, equals), label.slice(equals + 1)];
}

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

/** Labels of a runner or a session, by key. */
export type Labels = Readonly<Record<string, string>>;

/** Returns the labels of a runner's row, or undefined when it has none. */
export function runnerLabels({ labels }: { readonly labels: string }): Labels | undefined {
  return labels === noLabels ? undefined : parseLabels(labels);
}

/** Returns the labels that a column holds. */
export function parseLabels(stored: string): Labels {
  return parseJson(stored) as Labels;
}

/** The text of a column of labels when there are none. */
export const noLabels = '{"json":{}}';

/** Returns the labels of a set that a runner lacks. A runner covers a set when it lacks none. */
export function labelsMissing(set: LabelSet, has: Labels = {}): readonly string[] {
  return labelsOf(set).filter((label) => {
    const [key, value] = keyAndValue(label);
    return !Object.hasOwn(has, key) || (value !== undefined && has[key] !== value);
  });
}

export function covers(has: Labels | undefined, set: LabelSet): boolean {
  return set === "" || (has !== undefined && labelsMissing(set, has).length === 0);
}
