// Which fields a stored reply has, in which order: told by a hash, because another release may have others (D-055).
import { createHash } from "node:crypto";
import type { AnyCodec } from "./codec.ts";

/** Sixteen hexadecimal digits that differ when the results of these operations do, in their fields, the order of these, or their kinds. */
export function shapeOf(outputs: readonly AnyCodec[]): string {
  return createHash("sha256").update(outputs.map(description).join("\n")).digest("hex").slice(0, 16);
}

const descriptions = new WeakMap<AnyCodec, string>();

function description(output: AnyCodec): string {
  const known = descriptions.get(output);
  if (known !== undefined) return known;
  const made = output.describe(() => undefined);
  descriptions.set(output, made);
  return made;
}
