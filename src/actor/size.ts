// How much memory an input takes, roughly.

/** No input is nested deeper; JSON travels as text. */
const depthMax = 16;

/**
 * Roughly what a value takes in memory; strings and bytes are what can be large. Counts no further than `max`, because
 * a cyclic value and a sparse array have no end.
 */
export function sizeOf(value: unknown, max: number, depth = 0): number {
  if (typeof value === "string") return value.length;
  if (value instanceof Uint8Array) return value.byteLength;
  if (typeof value !== "object" || value === null) return 8;
  const items: readonly unknown[] = Array.isArray(value) ? value : Object.values(value);
  if (depth > depthMax || items.length * 8 > max) return Number.POSITIVE_INFINITY;
  let sum = 16;
  for (const one of items) {
    sum += sizeOf(one, max - sum, depth + 1);
    if (sum > max) break;
  }
  return sum;
}
