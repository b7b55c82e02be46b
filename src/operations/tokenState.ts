// The rows of tokens: creating them, locking them with their accounts, and whether they may be used.

import type { Context } from "../context.ts";
import type { AccountRow } from "../model/accounts.ts";
import type { SessionRow } from "../model/sessions.ts";
import { parseScopes, type TokenRow } from "../model/tokens.ts";
import { hintOf, type SealedToken } from "../model/tokenText.ts";
import type { AccountKind, TokenKind } from "../model/vocabulary.ts";
import { fail } from "../operation.ts";
import { all, change, first, forKeyShare, sql, step } from "../sql.ts";
import { inOrderOfIds, lockRow } from "./rows.ts";

interface NewToken extends SealedToken {
  readonly id: string;
  readonly accountId: string;
  readonly kind: TokenKind;
  readonly name: string;
  readonly scopes: string;
  readonly repositoryIds: string | null;
  readonly sessionId: string | null;
  readonly createdBy: string | null;
  readonly expiresAt: Date | null;
}

/** Inserts a token, which takes its name from an expired one. Fails with `conflict` when a live token has the name. */
export const insertToken = step(function* (token: NewToken, op: string, { now, changed, counted }: Context) {
  const { id, accountId, kind, publicId, secretSha256, name, scopes, repositoryIds, sessionId, createdBy, expiresAt } =
    token;
  // An expired token gives up its name. An index cannot know the time, so that is recorded here.
  yield* change(sql`
    UPDATE tokens SET
      name_freed_at = ${now}
    WHERE account_id = ${accountId} AND name = ${name}
      AND revoked_at IS NULL AND rotated_to IS NULL AND name_freed_at IS NULL AND expires_at <= ${now}`);
  const row = yield* first<TokenRow>(sql`
    INSERT INTO tokens (
      id,
      account_id,
      public_id,
      kind,
      name,
      secret_sha256,
      hint,
      scopes,
      repository_ids,
      session_id,
      created_by,
      expires_at,
      created_at,
      updated_at
    ) VALUES (
      ${id},
      ${accountId},
      ${publicId},
      ${kind},
      ${name},
      ${secretSha256},
      ${hintOf(kind, publicId)},
      ${scopes},
      ${repositoryIds},
      ${sessionId},
      ${createdBy},
      ${expiresAt},
      ${now},
      ${now}
    )
    ON CONFLICT (account_id, name) WHERE revoked_at IS NULL AND rotated_to IS NULL AND name_freed_at IS NULL DO NOTHING
    RETURNING *`);
  if (row === undefined) {
    const message = `account ${accountId} has a token named ${name}: revoke or rotate it, or choose another name`;
    fail("conflict", { reason: "name" }, message);
  }
  counted("token", undefined, "live");
  const limits = { repositoryIds: parseRepositoryIds(repositoryIds) ?? undefined, sessionId: sessionId ?? undefined };
  const detail = { accountId, kind, scopes: parseScopes(scopes), ...limits };
  changed({ entity: "token", id, op, version: 1, detail });
  return row;
});

/** Returns the repositories to which a token is limited, or null. */
export function parseRepositoryIds(stored: string | null): readonly string[] | null {
  return stored === null ? null : stored.split(" ");
}

/** Keeps a session from ending in another transaction, so that a token which ends with it is not created beside its end. */
export const keepSession = step(function* (id: string) {
  return yield* first<Pick<SessionRow, "state" | "account_id" | "repository_id">>(sql`
    SELECT state, account_id, repository_id FROM sessions WHERE id = ${id} ${forKeyShare}`);
});

/** Ends the tokens of a session that the caller has locked, and that ends or is deleted. */
export const endTokensOf = step(function* (sessionId: string, { now, changed }: Context) {
  const ended = yield* all<Pick<TokenRow, "id" | "version">>(sql`
    UPDATE tokens SET
      expires_at = ${now},
      version = version + 1,
      updated_at = ${now}
    WHERE session_id = ${sessionId} AND (expires_at IS NULL OR expires_at > ${now})
    RETURNING id, version`);
  for (const { id, version } of inOrderOfIds(ended))
    changed({ entity: "token", id, op: "end", version, detail: { reason: "session_ended" } });
});

/** A token with the columns of its account that decide whether it may be used. */
export type TokenOfAccount = TokenRow & {
  readonly account_name: string;
  readonly account_kind: AccountKind;
  readonly account_disabled_at: number | null;
};

/** Fails unless the token may be used now. `ifExpired` says what to do about one that has expired. */
export function requireLive(row: TokenOfAccount, now: Date, ifExpired?: string): void {
  if (row.revoked_at !== null) fail("token_revoked", { revokedAt: new Date(row.revoked_at) });
  if (row.account_disabled_at !== null)
    fail("token_revoked", { reason: "account_disabled" }, "the account is disabled");
  if (row.expires_at !== null && row.expires_at <= now.getTime())
    fail("token_expired", { expiredAt: new Date(row.expires_at) }, ifExpired);
}

/**
 * Locks a token with its account and further accounts, and returns them. Locks accounts before the token, and in the
 * order of their ids, so that calls for the same accounts do not deadlock.
 */
export const lockWithAccounts = step(function* (tokenId: string, ...accountIds: readonly string[]) {
  // A token never moves to another account, so this account is still the right one once it is locked.
  const unlocked = yield* first<Pick<TokenRow, "account_id">>(sql`SELECT account_id FROM tokens WHERE id = ${tokenId}`);
  const accounts = new Map<string, AccountRow>();
  for (const id of new Set([...accountIds, ...(unlocked === undefined ? [] : [unlocked.account_id])].sort()))
    accounts.set(id, yield* lockRow("account", id));
  const token = yield* lockRow("token", tokenId);
  const { name, kind, disabled_at } = accounts.get(token.account_id) as AccountRow;
  return { ...token, account_name: name, account_kind: kind, account_disabled_at: disabled_at, accounts };
});
