// Hashes the input of a request, so that the repeated use of an idempotency key can be compared with the first. Hashes
// the caller's own input, because defaults such as new ids differ every time.
import { createHash, type Hash } from "node:crypto";
import { types } from "node:util";
import { isUrl } from "./realms.ts";

/** Returns a SHA-256 in hexadecimal. The order of keys does not matter, and an absent field equals an undefined one. */
export function hashRequest(input: unknown): string {
  const hash = createHash("sha256");
  feed(hash, input, new Set());
  return hash.digest("hex");
}

/**
 * Feeds a value to the hash. Each value starts with its kind and, where needed, its length, so different inputs feed
 * different bytes.
 */
function feed(hash: Hash, value: unknown, within: Set<object>): void {
  if (typeof value === "string") hash.update(`s${value.length}:${value}`);
  else if (types.isUint8Array(value)) hash.update(`b${value.byteLength}:`).update(value);
  else if (types.isDate(value)) hash.update(`d${value.getTime()};`);
  else if (isUrl(value)) hash.update(`u${value.href.length}:${value.href}`);
  else if (typeof value !== "object" || value === null)
    hash.update(`${typeof value}${Object.is(value, -0) ? "-0" : String(value)};`);
  else feedEntries(hash, value, within);
}

function feedEntries(hash: Hash, value: object, within: Set<object>): void {
  if (within.has(value)) throw new TypeError("it contains itself");
  within.add(value);
  const [kind, entries] = entriesOf(value);
  hash.update(`${kind}${entries.length}:`);
  for (const entry of entries) feed(hash, entry, within);
  within.delete(value);
}

function entriesOf(value: object): readonly [kind: string, entries: readonly unknown[]] {
  if (Array.isArray(value)) return ["a", value];
  if (types.isSet(value)) return ["e", [...value]];
  if (types.isMap(value)) return ["m", [...value].flat()];
  const fields = Object.entries(value).filter(([, field]) => field !== undefined);
  return ["o", fields.sort(([left], [right]) => (left < right ? -1 : 1)).flat()];
}
