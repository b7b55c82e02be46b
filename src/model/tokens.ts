// Token: the credential that an account presents instead of a password, with the scopes that it grants.
import { z } from "zod";
import { type Codec, nullable, oneOf, type RawOf, record, row, text, time, type ValueOf } from "./codec.ts";
import { stamps } from "./common.ts";
import { accountKinds, type Scope, scopes, tokenKinds } from "./vocabulary.ts";

/**
 * One or more scopes. Encoded as text separated by spaces, in the order of `scopes`, without duplicates; `admin`
 * replaces all others (D-051).
 */
export const Scopes = z.codec(
  z.array(z.enum(scopes)).min(1).max(scopes.length),
  z.string().refine((stored) => isScopes(stored), { error: "must be known scopes, in the order of the list" }),
  { decode: (list) => formatScopes(list), encode: (stored) => parseScopes(stored) },
);

function isScopes(stored: string): boolean {
  const parts = parseScopes(stored);
  return parts.every((part) => scopes.includes(part)) && formatScopes(parts) === stored;
}

export function formatScopes(list: readonly Scope[]): string {
  return list.includes("admin") ? "admin" : scopes.filter((scope) => list.includes(scope)).join(" ");
}

export function parseScopes(stored: string): Scope[] {
  return stored.split(" ") as Scope[];
}

/** Returns the required scopes that the granted scopes do not cover. */
export function missingScopes(required: readonly Scope[], granted: readonly Scope[]): Scope[] {
  return granted.includes("admin") ? [] : required.filter((scope) => !granted.includes(scope));
}

/** Scopes: text in a raw row, a list in the API. */
const scopeList: Codec<Scope[], string> = {
  ...text,
  fromWire: (wire) => parseScopes(wire as string),
  describe: () => "list of scopes",
  schema: () => ({ type: "array", items: { type: "string", enum: scopes } }),
};

/** A list of ids: text in a raw row, in the order of the ids. */
const idList: Codec<string[], string> = {
  ...text,
  fromWire: (wire) => (wire as string).split(" "),
  describe: () => "list of ids",
  schema: () => ({ type: "array", items: { type: "string", format: "uuid" } }),
};

/** A token without the hash of its secret. */
export const Token = row({
  id: text,
  accountId: text,
  publicId: text,
  kind: oneOf(tokenKinds),
  name: text,
  /** The first characters of the token, by which people recognize theirs. */
  hint: text,
  scopes: scopeList,
  /** The repositories that the token reaches, with all that belongs to them; null for all. */
  repositoryIds: nullable(idList),
  /** The only session that the token reaches, and with which it ends; null for all. */
  sessionId: nullable(text),
  /** The token that issued this one (D-050); null for the first admin token. */
  createdBy: nullable(text),
  /** The token that replaces this one, which still works until `expiresAt`. */
  rotatedTo: nullable(text),
  expiresAt: nullable(time),
  revokedAt: nullable(time),
  revokedReason: nullable(text),
  /** The last use, at most about a minute late. */
  lastUsedAt: nullable(time),
  ...stamps,
});
export type Token = ValueOf<typeof Token>;
export type TokenRow = RawOf<typeof Token> & { readonly secret_sha256: string };

/** The account that a valid token stands for, with the scopes and limits of the token. */
export const Principal = record({
  tokenId: text,
  kind: oneOf(tokenKinds),
  scopes: scopeList,
  repositoryIds: nullable(idList),
  sessionId: nullable(text),
  expiresAt: nullable(time),
  account: record({ id: text, name: text, kind: oneOf(accountKinds) }),
});
export type Principal = ValueOf<typeof Principal>;

/** A token and its text. The text is returned once: it is undefined when an idempotency key is repeated. */
export interface MintedToken {
  readonly token: Token;
  readonly secret: string | undefined;
}
