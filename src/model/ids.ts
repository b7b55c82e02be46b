// Ids: UUIDv7 (https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7). Callers create them, so that dependent
// calls need no round trip between them (D-018).

import { createHash, randomFillSync } from "node:crypto";
import { realTime } from "../realTime.ts";

/** The form of an id: a UUID of any version, in lower case. */
export const idPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Random bytes for 256 ids, because one large request is faster than many small ones. */
const random = new Uint8Array(10 * 256);
let usedBytes = random.length;

let lastMs = 0;
let sequence = 0;

/**
 * Returns a new UUIDv7: 48 bits of Unix milliseconds, a 12-bit sequence that starts at random in its lower half, and 62
 * random bits. Ids that one thread creates sort in order of creation, so rows of the same millisecond are listed in
 * that order.
 */
export function newId(): string {
  if (usedBytes === random.length) {
    randomFillSync(random);
    usedBytes = 0;
  }
  const tail = Buffer.from(random.buffer, usedBytes, 10).toString("hex");
  usedBytes += 10;
  const nowMs = realTime.now();
  // Counts on from the last id while the clock stands still or after it went back, so that the order holds.
  if (nowMs > lastMs) {
    lastMs = nowMs;
    sequence = Number.parseInt(tail.slice(0, 3), 16) >> 1;
  } else if (++sequence > 0xfff) {
    lastMs++;
    sequence = 0;
  }
  const time = lastMs.toString(16).padStart(12, "0");
  const variant = ((Number.parseInt(tail[3] as string, 16) & 0x3) | 0x8).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${sequence.toString(16).padStart(3, "0")}-${variant}${tail.slice(4, 7)}-${tail.slice(7, 19)}`;
}

/** Returns the id that follows from a text: a UUIDv8 (https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-8). */
export function idFrom(text: string): string {
  const hash = createHash("sha256").update(text).digest("hex");
  const variant = ((Number.parseInt(hash[16] as string, 16) & 0x3) | 0x8).toString(16);
  return `${hash.slice(0, 8)}-${hash.slice(8, 12)}-8${hash.slice(13, 16)}-${variant}${hash.slice(17, 20)}-${hash.slice(20, 32)}`;
}
