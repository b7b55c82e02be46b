// Cursors of lists: the position of a row, as a short text that only the list that made it accepts again. So that both
// engines refuse the same cursors, every text that is accepted holds a time and an id that both of them can store.
import { createHash } from "node:crypto";

/** The position of a row in a list: its time in milliseconds, or its sequence number, and its id. */
export interface Position {
  readonly at: number;
  readonly id: string;
}

/** The fields of a list's input that may differ from page to page. */
const freeFields = new Set(["limit", "cursor", "since", "until"]);

/** The last millisecond that a Date, both engines and four digits of a year hold. */
export const timeMsMax = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

const tagBytes = 6;
const atBytes = 6;
const idBytes = 16;

/** Formats the cursor of a position in the list that `input` asks for. */
export function formatCursor(list: string, input: object, { at, id }: Position): string {
  const cursor = Buffer.alloc(tagBytes + atBytes + idBytes);
  tagOf(list, input).copy(cursor);
  cursor.writeUIntBE(at, tagBytes, atBytes);
  cursor.write(id.replaceAll("-", ""), tagBytes + atBytes, "hex");
  return cursor.toString("base64url");
}

/** Returns the position of a cursor, or undefined unless the same list made it, with the same order and filters. */
export function parseCursor(list: string, input: object, text: string): Position | undefined {
  const cursor = Buffer.from(text, "base64url");
  if (cursor.length !== tagBytes + atBytes + idBytes || cursor.toString("base64url") !== text) return undefined;
  const at = cursor.readUIntBE(tagBytes, atBytes);
  if (at > timeMsMax || !cursor.subarray(0, tagBytes).equals(tagOf(list, input))) return undefined;
  const id = cursor.toString("hex", tagBytes + atBytes);
  return { at, id: id.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-") };
}

/** Returns the first bytes of a hash of the list, its order and its filters. */
function tagOf(list: string, input: object): Buffer {
  const fields = Object.entries(input)
    .filter(([name, value]) => value !== undefined && !freeFields.has(name))
    .map(([name, value]) => [name, name === "order" ? value : valuesOf(value)] as const)
    .toSorted(([left], [right]) => (left < right ? -1 : 1));
  return createHash("sha256")
    .update(JSON.stringify([list, fields]))
    .digest()
    .subarray(0, tagBytes);
}

/** Returns the values of a filter that takes one or several, each once and in a fixed order. */
export function valuesOf<Value>(filter: Value | readonly Value[]): readonly Value[] {
  return Array.isArray(filter) ? [...new Set<Value>(filter)].toSorted() : [filter as Value];
}
