// The text of a token, which its holder presents.
//
//   dsp_ or dsr_ (personal, runner), public id (10), secret (32), CRC32 of all before it (6); base62
//
// The text is created, parsed and hashed on the caller's thread. Only the public id and the SHA-256 of the secret are
// sent and stored, so no other thread, log, error, audit row or file ever holds a secret (D-049).
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { crc32 } from "node:zlib";
import { z } from "zod";
import { StoreError } from "../errors.ts";
import type { TokenKind } from "./vocabulary.ts";

const prefixes = { personal: "dsp_", runner: "dsr_" } as const;
const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const lengths = { prefix: 4, publicId: 10, secret: 32, checksum: 6 } as const;
const shape = /^ds[pr]_[0-9A-Za-z]{48}$/;

export const PublicId = z.string().regex(/^[0-9A-Za-z]{10}$/, { error: "must be 10 letters and digits" });

/** The part of a token that may be sent to another thread. */
export interface SealedToken {
  readonly publicId: string;
  readonly secretSha256: string;
}

/** The part of a token that stays on the thread that created it. */
export interface Secret {
  readonly publicId: string;
  readonly secret: string;
}

/** Creates the public id and the secret of a new token, and the part of both that may be sent. */
export function createSecret(): { readonly secret: Secret; readonly sealed: SealedToken } {
  const publicId = randomText(lengths.publicId);
  const secret = randomText(lengths.secret);
  return { secret: { publicId, secret }, sealed: { publicId, secretSha256: sha256Of(secret) } };
}

/** Formats the text of a token, which is shown once. */
export function formatToken(kind: TokenKind, { publicId, secret }: Secret): string {
  const head = `${prefixes[kind]}${publicId}${secret}`;
  return `${head}${checksumOf(head)}`;
}

/**
 * Parses the text of a token. Fails with `token_malformed` when its form or checksum is wrong. Does not check that the
 * token exists.
 */
export function parseToken(text: string): SealedToken & { readonly kind: TokenKind } {
  const head = text.slice(0, -lengths.checksum);
  if (!shape.test(text) || checksumOf(head) !== text.slice(-lengths.checksum)) throw new StoreError("token_malformed");
  const publicId = head.slice(lengths.prefix, lengths.prefix + lengths.publicId);
  const kind = head.startsWith(prefixes.personal) ? "personal" : "runner";
  return { kind, publicId, secretSha256: sha256Of(head.slice(lengths.prefix + lengths.publicId)) };
}

/** Returns the first characters of a token, by which people recognize theirs. */
export function hintOf(kind: TokenKind, publicId: string): string {
  return `${prefixes[kind]}${publicId.slice(0, 4)}`;
}

/** Compares two hashes in constant time. */
export function sameHash(left: string, right: string): boolean {
  const [a, b] = [Buffer.from(left), Buffer.from(right)];
  return a.length === b.length && timingSafeEqual(a, b);
}

function sha256Of(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}

function checksumOf(head: string): string {
  let value = crc32(head);
  let digits = "";
  while (digits.length < lengths.checksum) {
    digits = alphabet.charAt(value % 62) + digits;
    value = Math.floor(value / 62);
  }
  return digits;
}

/**
 * Returns random text in which all characters are equally likely: bytes beyond the last multiple of 62 are discarded.
 */
function randomText(length: number): string {
  let result = "";
  while (result.length < length) {
    for (const byte of randomBytes(length))
      if (byte < 248 && result.length < length) result += alphabet.charAt(byte % 62);
  }
  return result;
}
