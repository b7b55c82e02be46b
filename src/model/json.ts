// Formats and parses JSON columns, which hold superjson text. Runs on the caller's thread. Both directions are bounded,
// because a port is not trusted.
import { types } from "node:util";
import superjson from "superjson";
import { StoreError } from "../errors.ts";
import { bounds } from "../limits.ts";
import { parseJsonText } from "./jsonText.ts";
import { isPlainObject } from "./plainObject.ts";
import { isUrl } from "./realms.ts";

const { jsonBytes, jsonDepth, jsonKeys, jsonNumberLength } = bounds;

/**
 * The kinds that superjson may restore. Classes, symbols, RegExp and Error are refused, because with them the writer of
 * a value chooses which objects its reader creates (D-058).
 */
const restorable: ReadonlySet<unknown> = new Set(["Date", "undefined", "bigint", "number", "map", "set", "URL"]);

/**
 * Formats plain data, Date, Map, Set, URL, bigint, NaN, infinities and undefined as superjson text. An object that
 * occurs twice is restored as two objects.
 *
 * Fails    invalid_input when the value exceeds 256 KiB, 32 levels or 10 000 keys, is cyclic, or contains a kind that
 *          would not be restored as it was
 */
export function formatJson(value: unknown): string {
  let recognized = true;
  const oversize = outOfBounds(value, jsonDepth, jsonKeys, (object) => {
    recognized &&= isRecognized(object);
  });
  if (oversize !== undefined) throw refused(oversize);
  const { json, meta } = serialize(recognized ? value : recognizable(value));
  const unrestorable = unrestorableMeta(json, meta?.values);
  if (unrestorable !== undefined) throw refused(unrestorable);
  const text = JSON.stringify(meta?.values === undefined ? { json } : { json, meta: { values: meta.values, v: 1 } });
  const bytes = Buffer.byteLength(text);
  if (bytes > jsonBytes)
    throw new StoreError(
      "invalid_input",
      `takes ${bytes} bytes as JSON, and at most ${jsonBytes} can be stored: put what is larger into a file, and store its path`,
    );
  return text;
}

/**
 * Parses the text of a JSON column.
 *
 * Fails    corrupt when the text is not what formatJson writes
 */
export function parseJson(text: string): unknown {
  if (text.length > jsonBytes) throw hostile(`more than ${jsonBytes} characters`);
  const excess = outOfTextBounds(text, jsonDepth * 4, jsonKeys * 4);
  if (excess !== undefined) throw hostile(excess);
  const stored = orHostile("text that is not JSON", () => parseJsonText(text)) as {
    json: never;
    meta?: { values?: unknown };
  } | null;
  if (stored === null || typeof stored !== "object" || stored.meta === null)
    throw hostile("a value that is not an object");
  const fault = outOfBounds(stored, jsonDepth * 4, jsonKeys * 4) ?? unrestorableMeta(stored.json, stored.meta?.values);
  if (fault !== undefined) throw hostile(fault);
  if (stored.meta === undefined) return stored.json ?? null;
  const { json, meta } = stored;
  return orHostile("values that contradict its annotations", () =>
    superjson.deserialize({ json, meta: { values: meta.values as never, v: 1 } }),
  );
}

/**
 * Checks that text has no U+0000 and no lone surrogate: PostgreSQL cannot store them, so both engines refuse them
 * (D-039).
 */
export function isStorable(text: string): boolean {
  return text.isWellFormed() && !text.includes("\u0000");
}

function orHostile<Value>(content: string, read: () => Value): Value {
  try {
    return read();
  } catch {
    throw hostile(content);
  }
}

function serialize(value: unknown): ReturnType<typeof superjson.serialize> {
  try {
    return superjson.serialize(value);
  } catch (error) {
    throw refused(String((error as Error).message));
  }
}

/**
 * Checks the bounds of text before it is parsed, in one pass that allocates nothing (D-057). Returns the excess in
 * words, or undefined.
 */
function outOfTextBounds(text: string, depthMax: number, keysMax: number): string | undefined {
  let [depth, keys, digits] = [0, 0, 0];
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) {
      for (at++; at < text.length && text.charCodeAt(at) !== quote; at++) if (text.charCodeAt(at) === backslash) at++;
    } else if (code === openBrace || code === openBracket) {
      if (++depth > depthMax) return `more than ${depthMax} levels`;
    } else if (code === closeBrace || code === closeBracket) depth--;
    // Each key or item has a comma before it, except for the first in its object or list.
    else if (code === comma && ++keys > keysMax) return `more than ${keysMax} keys`;
    digits = code >= zero && code <= nine ? digits + 1 : 0;
    if (digits > jsonNumberLength) return `a number of more than ${jsonNumberLength} digits`;
  }
  return undefined;
}

const [quote, backslash, comma, zero, nine] = [0x22, 0x5c, 0x2c, 0x30, 0x39];
const [openBracket, closeBracket, openBrace, closeBrace] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * The bits that hold `jsonNumberLength` decimal digits and a sign. Checked first, because counting the digits of a
 * longer bigint is slow.
 */
const bigintBits = Math.ceil(jsonNumberLength * Math.log2(10)) + 1;

/**
 * Checks the bounds of a value. Walks without recursion, so that depth cannot exhaust the stack, and visits each object.
 * Returns what JSON cannot contain, in words, or undefined.
 */
function outOfBounds(
  value: unknown,
  depthMax: number,
  keysMax: number,
  visit: (object: object) => void = () => undefined,
): string | undefined {
  const open: { value: unknown; depth: number }[] = [{ value, depth: 0 }];
  let keys = 0;
  for (let top = open.pop(); top !== undefined; top = open.pop()) {
    if (typeof top.value === "function" || typeof top.value === "symbol") return `a ${typeof top.value}`;
    if (typeof top.value === "bigint" && BigInt.asIntN(bigintBits, top.value) !== top.value)
      return `a number of more than ${jsonNumberLength} digits`;
    if (typeof top.value === "string" && !isStorable(top.value)) return "text with U+0000 or a lone surrogate";
    if (typeof top.value !== "object" || top.value === null) continue;
    if (!isRestorable(top.value)) return types.isDate(top.value) ? "an invalid Date" : named(kindOf(top.value));
    if (Object.hasOwn(top.value, "__proto__")) return "a __proto__ key";
    if (top.depth > depthMax) return `more than ${depthMax} levels`;
    visit(top.value);
    const children = childrenOf(top.value);
    keys += children.length;
    if (keys > keysMax) return `more than ${keysMax} keys`;
    for (const child of children) open.push({ value: child, depth: top.depth + 1 });
  }
  return undefined;
}

/**
 * Checks whether an object is of a kind that superjson restores. It writes unknown kinds as plain objects and an invalid
 * Date as null.
 */
function isRestorable(value: object): boolean {
  if (types.isDate(value)) return !Number.isNaN(value.getTime());
  return Array.isArray(value) || types.isMap(value) || types.isSet(value) || isPlainObject(value) || isUrl(value);
}

/** Checks whether superjson recognizes a restorable object. It asks for the classes of its own realm. */
function isRecognized(value: object): boolean {
  if (Array.isArray(value) || value instanceof Date || value instanceof Map || value instanceof Set) return true;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null || value instanceof URL;
}

/** Copies a value into objects of this realm. Recursive, so its bounds must have been checked. */
function recognizable(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(recognizable);
  if (types.isDate(value)) return new Date(value.getTime());
  if (types.isMap(value)) return new Map([...value].map(([key, child]) => [recognizable(key), recognizable(child)]));
  if (types.isSet(value)) return new Set([...value].map(recognizable));
  if (isUrl(value)) return new URL(value.href);
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, recognizable(child)]));
}

/** Returns the name of a kind with its article. */
function named(kind: string): string {
  return `${/^[AEIO]/i.test(kind) ? "an" : "a"} ${kind}`;
}

/** Returns the name of an object's class, or else of its kind. */
function kindOf(value: object): string {
  const { name } = (value.constructor ?? {}) as { name?: unknown };
  return typeof name === "string" && name !== "" ? name : Object.prototype.toString.call(value).slice(8, -1);
}

function childrenOf(value: object): unknown[] {
  if (types.isMap(value)) return [...value.keys(), ...value.values()];
  if (types.isSet(value)) return [...value];
  if (Array.isArray(value)) return value;
  // A key that cannot be stored replaces its value, so that it is refused as text.
  return Object.entries(value).map(([key, child]) => (isStorable(key) ? child : key));
}

/**
 * Checks superjson's annotations: a node is [kind] or [kind, paths], and `paths`, which is the root of a tree too, maps
 * paths to nodes. Every path must exist in the data, because superjson would create the missing values, at any length.
 * None may lead through a value that a node before it annotates: superjson counts through a Map or Set for each step, so
 * the time would grow with the square of the text.
 */
function unrestorableMeta(json: unknown, values: unknown): string | undefined {
  if (values === undefined) return undefined;
  const open: { value: unknown; node: unknown }[] = [{ value: json, node: values }];
  const annotated = new Set<unknown>();
  for (let top = open.pop(); top !== undefined; top = open.pop()) {
    const { value, node } = top;
    // Only strings are printed: an object with its own toString would throw.
    if (Array.isArray(node) && !restorable.has(node[0]))
      return typeof node[0] === "string" ? named(node[0]) : "a kind that is not a string";
    if (Array.isArray(node) && node[0] === "bigint") {
      if (typeof value !== "string") return "a bigint that is not a string";
      if (value.replace("-", "").length > jsonNumberLength) return `a number of more than ${jsonNumberLength} digits`;
    }
    const paths = Array.isArray(node) ? (node[1] ?? {}) : node;
    if (paths === null || typeof paths !== "object" || Array.isArray(paths)) return "a malformed tree of paths";
    for (const [path, child] of Object.entries(paths)) {
      if (!Array.isArray(child)) return "a malformed tree of paths";
      let at: unknown = value;
      for (const key of splitPath(path)) {
        if (at === null || typeof at !== "object" || !Object.hasOwn(at, key)) return "a path that leads nowhere";
        if (at !== value && annotated.has(at)) return "a path through a value that has an annotation";
        at = (at as Record<string, unknown>)[key];
      }
      if (typeof at === "object" && at !== null) annotated.add(at);
      open.push({ value: at, node: child });
    }
  }
  return undefined;
}

/**
 * Splits a superjson path into keys. Keys are joined with dots; a backslash escapes a dot or a backslash within a key.
 */
function splitPath(path: string): string[] {
  if (!path.includes("\\")) return path.split(".");
  const keys = [""];
  for (const [token] of path.matchAll(/\\.|./gsu)) {
    if (token === ".") keys.push("");
    else keys[keys.length - 1] += token.length > 1 && token.startsWith("\\") ? token.slice(1) : token;
  }
  return keys;
}

function refused(content: string): StoreError {
  return new StoreError("invalid_input", `JSON cannot contain ${content}`);
}

function hostile(content: string): StoreError {
  return new StoreError("corrupt", `stored JSON was not written by this package: it contains ${content}`);
}
