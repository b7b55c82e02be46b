// Hashes the fields of a stored reply and their order, so that a release with other fields does not misread it (D-055).
import { createHash } from "node:crypto";
import type { AnyCodec } from "./codec.ts";

/**
 * Returns sixteen hexadecimal digits that change when the results of these operations change their fields, field order
 * or kinds.
 */
export function shapeOf(outputs: readonly AnyCodec[]): string {
  return createHash("sha256").update(outputs.map(description).join("\n")).digest("hex").slice(0, 16);
}

const descriptions = new WeakMap<AnyCodec, string>();

function description(output: AnyCodec): string {
  const known = descriptions.get(output);
  if (known !== undefined) return known;
  const described = output.describe(() => undefined);
  descriptions.set(output, described);
  return described;
}
