// Are two requests the same? Their hashes tell. Of the caller's input as it was given, because defaults, such as new ids, differ every time.
import { createHash, type Hash } from "node:crypto";

/** SHA-256 in hexadecimal. The order of keys does not count, and an absent field is an undefined one. */
export function hashRequest(input: unknown): string {
  const hash = createHash("sha256");
  feed(hash, input, new Set());
  return hash.digest("hex");
}

/** Each value begins with its kind and, where its end is not plain, its length: no two different inputs feed the same bytes. */
function feed(hash: Hash, value: unknown, within: Set<object>): void {
  if (typeof value === "string") hash.update(`s${value.length}:${value}`);
  else if (value instanceof Uint8Array) hash.update(`b${value.byteLength}:`).update(value);
  else if (value instanceof Date) hash.update(`d${value.getTime()};`);
  else if (value instanceof URL) hash.update(`u${value.href.length}:${value.href}`);
  else if (typeof value !== "object" || value === null)
    hash.update(`${typeof value}${Object.is(value, -0) ? "-0" : String(value)};`);
  else feedEntries(hash, value, within);
}

function feedEntries(hash: Hash, value: object, within: Set<object>): void {
  if (within.has(value)) throw new TypeError("it holds itself");
  within.add(value);
  const [kind, entries] = entriesOf(value);
  hash.update(`${kind}${entries.length}:`);
  for (const entry of entries) feed(hash, entry, within);
  within.delete(value);
}

function entriesOf(value: object): readonly [kind: string, entries: readonly unknown[]] {
  if (Array.isArray(value)) return ["a", value];
  if (value instanceof Set) return ["e", [...value]];
  if (value instanceof Map) return ["m", [...value].flat()];
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return ["o", fields.sort(([left], [right]) => (left < right ? -1 : 1)).flat()];
}
