// UUIDv7: https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7. Made by callers, so that dependent calls need no round trip between them.
import { randomFillSync } from "node:crypto";

const random = new Uint8Array(10 * 256);
let used = random.length;

/** 48 bits of Unix milliseconds, then 74 random bits; sorts by the millisecond of its making. */
export function newId(): string {
  if (used === random.length) {
    randomFillSync(random);
    used = 0;
  }
  const time = Date.now().toString(16).padStart(12, "0");
  const tail = Buffer.from(random.buffer, used, 10).toString("hex");
  used += 10;
  const variant = ((Number.parseInt(tail[3] as string, 16) & 0x3) | 0x8).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${tail.slice(0, 3)}-${variant}${tail.slice(4, 7)}-${tail.slice(7, 19)}`;
}
