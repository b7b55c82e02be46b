// Sums of the events of an adapter: how many there were of each name, and the capabilities that they change.
import { bounds } from "../limits.ts";

/** The name under which the events of further names are counted. */
const otherNames = "…";

/** Names that a parser of JSON refuses as keys. */
const refusedNames: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);

/** Returns the counts of events by name, with one more. */
export function countedEvents(counts: string | null, event: string): string {
  const known = new Map<string, number>(counts === null ? [] : Object.entries(JSON.parse(counts).json));
  const isOther = refusedNames.has(event) || (!known.has(event) && known.size >= bounds.debugEventNames);
  const name = isOther ? otherNames : event;
  return JSON.stringify({ json: Object.fromEntries(known.set(name, (known.get(name) ?? 0) + 1)) });
}

interface StoredJson {
  readonly json: object;
  readonly meta?: { readonly values: Readonly<Record<string, unknown>>; readonly v: number };
}

/**
 * Returns the capabilities with those that have changed; the others keep their values (Debug Adapter Protocol, section
 * Events, Capabilities). What would be too large is left out, and stays in the event.
 */
export function mergedCapabilities(stored: string | null, changed: string | undefined): string | null {
  if (changed === undefined) return stored;
  if (stored === null) return changed;
  const [old, fresh] = [JSON.parse(stored) as StoredJson, JSON.parse(changed) as StoredJson];
  // The notes about values that JSON cannot hold begin with the name of their field.
  const kept = Object.entries(old.meta?.values ?? {}).filter(
    ([path]) => !Object.keys(fresh.json).some((name) => `${path}.`.startsWith(`${name.replaceAll(".", "\\.")}.`)),
  );
  const values = { ...Object.fromEntries(kept), ...fresh.meta?.values };
  const json = { ...old.json, ...fresh.json };
  const merged = JSON.stringify(Object.keys(values).length === 0 ? { json } : { json, meta: { values, v: 1 } });
  return Buffer.byteLength(merged) <= bounds.debugCapabilityBytes ? merged : stored;
}
