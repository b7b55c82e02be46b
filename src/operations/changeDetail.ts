// The detail of an update in the change feed: what has changed. The feed is also the audit log and outlives the rows, so
// it holds no secret and nothing large.
import type { Details } from "../errors.ts";
import { defaultSecretNames, maskingOf, maskUrl } from "../model/masking.ts";

/** The way in which the value of a column is shown. JSON is only named: it can be large, and hold anything. */
type Kind = "plain" | "text" | "url" | "flag" | "time" | "json";

/** The fields that an update may change, by the names that the API gives them. */
export type Changeable = Readonly<Record<string, Kind>>;

type Columns = Readonly<Record<string, unknown>>;

/** The number of characters of a value that the feed keeps. */
const shownLength = 200;

/**
 * Returns `{ changed: { field: { from, to } } }` for the fields that differ, or undefined when none does. Secrets are
 * masked, long text is cut, and a JSON column is named as `field: {}`.
 */
export function changedFields(
  fields: Changeable,
  before: Columns,
  after: Columns,
): { readonly changed: Details } | undefined {
  const changed: Record<string, Details> = {};
  for (const [field, kind] of Object.entries(fields)) {
    const column = field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    const [from, to] = [before[column] ?? null, after[column] ?? null];
    if (from !== to) changed[field] = kind === "json" ? {} : { from: shown(kind, from), to: shown(kind, to) };
  }
  return Object.keys(changed).length === 0 ? undefined : { changed };
}

function shown(kind: Kind, value: unknown): unknown {
  if (value === null) return null;
  if (kind === "flag") return value === 1;
  if (kind === "time") return new Date(value as number).toISOString();
  if (typeof value !== "string") return value;
  if (kind === "url") return cut(maskUrl(value));
  return cut(kind === "text" ? maskingOf(defaultSecretNames).text(value) : value);
}

function cut(text: string): string {
  return text.length <= shownLength ? text : `${text.slice(0, shownLength - 1).replace(/[\ud800-\udbff]$/, "")}…`;
}
