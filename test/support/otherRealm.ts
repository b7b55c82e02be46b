// Makes values as code of another realm makes them: a test runner such as jest, `node:vm` and Electron have classes of
// their own.
import { types } from "node:util";
import vm from "node:vm";
import { isPlainObject } from "../../src/model/plainObject.ts";

/** The other realm has no URL of its own, so it gets one that is made as those of other implementations are. */
const realm = vm.runInNewContext(`({
  array: (items) => [...items],
  object: (entries) => Object.fromEntries(entries),
  date: (ms) => new Date(ms),
  map: (entries) => new Map(entries),
  set: (items) => new Set(items),
  bytes: (items) => new Uint8Array(items),
  error: (message) => new TypeError(message),
  rejection: () => Promise.reject(new Error("mine")),
  url: (text) => new (class URL {
    get href() { return text; }
    get [Symbol.toStringTag]() { return "URL"; }
  })(),
})`);

/** Returns a value of another realm that equals this one. */
export function ofOtherRealm(value: unknown): unknown {
  if (Array.isArray(value)) return realm.array(value.map(ofOtherRealm));
  if (types.isDate(value)) return realm.date(value.getTime());
  if (types.isMap(value)) return realm.map([...value].map((entry) => entry.map(ofOtherRealm)));
  if (types.isSet(value)) return realm.set([...value].map(ofOtherRealm));
  if (types.isUint8Array(value)) return realm.bytes(value);
  if (value instanceof URL) return realm.url(value.href);
  if (!isPlainObject(value)) return value;
  return realm.object(Object.entries(value).map(([name, child]) => [name, ofOtherRealm(child)]));
}

export const errorOfOtherRealm = (message: string): unknown => realm.error(message);
export const rejectionOfOtherRealm = (): Promise<never> => realm.rejection();
