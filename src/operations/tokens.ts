// Tokens: the credentials of accounts. The secret of a token exists on the caller's thread only (sealedOperation). The
// store gets its SHA-256, so neither a message nor the database can leak it. A token covers no scope that the token
// under whose authority it was created (createdBy) does not cover, and reaches no row that that one does not.
import { z } from "zod";
import { after } from "../clock.ts";
import type { Context } from "../context.ts";
import { type Details, StoreError, tokenErrors } from "../errors.ts";
import { bounds } from "../limits.ts";
import type { AccountRow } from "../model/accounts.ts";
import { boolean, integer, list as listOf, nullable, oneOf, page, record, text } from "../model/codec.ts";
import { filledText, Id, listInput, Moment, Name, NewId, Reason, Sha256, Version } from "../model/fields.ts";
import { newId } from "../model/ids.ts";
import { isOpen } from "../model/sessions.ts";
import {
  formatScopes,
  type MintedToken,
  missingScopes,
  Principal,
  parseScopes,
  Scopes,
  Token,
  type TokenRow,
} from "../model/tokens.ts";
import { createSecret, formatToken, PublicId, parseToken, type Secret, sameHash } from "../model/tokenText.ts";
import { type Scope, scopes as scopeNames, tokenKinds } from "../model/vocabulary.ts";
import { fail, operation, sealedOperation } from "../operation.ts";
import { change, changeEach, first, forUpdate, one, sql, step } from "../sql.ts";
import { insertAccount, lockAccountByName, requireEnabled } from "./accounts.ts";
import { findAuthority, type ReachField, reachFields, requireAuthority } from "./authority.ts";
import { changedFields } from "./changeDetail.ts";
import { invalidTransition, notFound } from "./failures.ts";
import { filter, listPage } from "./paging.ts";
import { getRow, lockRow } from "./rows.ts";
import { operationScopes } from "./scopes.ts";
import {
  insertToken,
  keepSession,
  lockWithAccounts,
  parseRepositoryIds,
  requireLive,
  type TokenOfAccount,
} from "./tokenState.ts";
import { requireVersion } from "./versions.ts";

/** The part of a new token that is sent. */
const sealedFields = { publicId: PublicId, secretSha256: Sha256 };
const Kind = z.enum(tokenKinds);
const TtlMs = z.int().min(1_000).max(315_360_000_000);
const GraceMs = z.int().min(0).max(2_592_000_000);

const RepositoryIds = z.array(Id).min(1).max(32);
const mintErrors = [
  "not_found",
  "scope_missing",
  "out_of_reach",
  "invalid_transition",
  "token_revoked",
  "token_expired",
  "conflict",
] as const;

const Minted = record({ token: Token });
type Minted = { readonly token: Token };

/**
 * Attaches the secret to the returned token. A reply that is stored under an idempotency key contains the token of
 * the first call, which the secret generated for a repeated call does not belong to.
 */
function withSecret({ token }: Minted, localPart: unknown): MintedToken {
  const secret = localPart as Secret;
  return { token, secret: token.publicId === secret.publicId ? formatToken(token.kind, secret) : undefined };
}

/**
 * Creates a token for an account, under the authority of another token. The secret is generated and hashed on the
 * caller's thread, and is returned only this once.
 *
 * Input    createdBy: the token under whose authority the new one is created; it must cover tokens:write and all of
 *          scopes. scopes: at least one, from the closed list. repositoryIds: the token reaches only these, at most 32, with
 *          their sessions; by default, and at most, those of createdBy. Not with the scope admin. A token that createdBy
 *          reaches only one session with reaches that one. ttlMs: the lifetime; by default, and at most, the remaining
 *          lifetime of createdBy; unlimited by default if createdBy never expires. kind: personal (its secret begins with
 *          dsp_) or runner (dsr_)
 * Returns  { token: Token, secret: text or undefined }
 * Result   secret: the text to pass to tokens.verify; undefined in a reply that is repeated for an idempotency key
 * Fails    not_found | scope_missing { missing } | out_of_reach | invalid_transition when the account is disabled | token_revoked
 *          or token_expired for createdBy | conflict { reason: "name" } when the account has a token of this name that is
 *          neither revoked nor rotated nor expired | conflict { reason: "exists" }
 * Effect   one row of tokens, one row of changes
 * Cost     at most 7 statements by key
 */
export const mint = sealedOperation({
  access: "write",
  publicInput: z.strictObject({
    id: NewId,
    accountId: Id,
    kind: Kind.default("personal"),
    name: Name,
    scopes: Scopes,
    repositoryIds: RepositoryIds.optional(),
    ttlMs: TtlMs.optional(),
    createdBy: Id,
  }),
  input: z.strictObject({
    id: Id,
    accountId: Id,
    kind: Kind,
    name: Name,
    scopes: Scopes,
    repositoryIds: RepositoryIds.optional(),
    ttlMs: TtlMs.optional(),
    createdBy: Id,
    ...sealedFields,
  }),
  seal({ scopes, ...input }) {
    const { secret, sealed } = createSecret();
    return { wireInput: { ...input, scopes: parseScopes(scopes), ...sealed }, localPart: secret };
  },
  open: withSecret,
  output: Minted,
  errors: mintErrors,
  *run(input, context) {
    const { now } = context;
    const creator = yield* lockWithAccounts(input.createdBy, input.accountId);
    requireEnabled(creator.accounts.get(input.accountId) as AccountRow);
    requireLive(creator, now);
    requireCovered(["tokens:write", ...parseScopes(input.scopes)], creator);
    const limits = { repositoryIds: input.repositoryIds, sessionId: creator.session_id };
    const repositoryIds = yield* reachedRepositories({ ...limits, scopes: input.scopes }, creator);
    return { token: yield* insertMinted({ ...input, ...limits, repositoryIds }, creator, context) };
  },
});

/**
 * Creates a token that reaches one session, and ends with it: for a tunnel, or for the agent that works in the session. It is
 * a token of the account of createdBy, which needs no tokens:write. Call it together with sessions.create in `atomically` to
 * get it at once.
 *
 * Input    createdBy: as in tokens.mint. ttlMs: the lifetime, if the token ends before its session. name: by default the id
 *          of the session
 * Returns  { token: Token, secret: text or undefined }
 * Result   as in tokens.mint
 * Fails    as tokens.mint | scope_missing when the session is of another account, and createdBy does not cover sessions:any
 *          | invalid_transition when the session has ended | conflict { reason: "limit" } when it has 100 tokens already
 * Effect   one row of tokens, one row of changes
 * Cost     at most 9 statements by key
 */
export const mintForSession = sealedOperation({
  access: "write",
  publicInput: z.strictObject({
    id: NewId,
    sessionId: Id,
    kind: Kind.default("personal"),
    name: Name.optional(),
    scopes: Scopes,
    ttlMs: TtlMs.optional(),
    createdBy: Id,
  }),
  input: z.strictObject({
    id: Id,
    sessionId: Id,
    kind: Kind,
    name: Name.optional(),
    scopes: Scopes,
    ttlMs: TtlMs.optional(),
    createdBy: Id,
    ...sealedFields,
  }),
  seal({ scopes, ...input }) {
    const { secret, sealed } = createSecret();
    return { wireInput: { ...input, scopes: parseScopes(scopes), ...sealed }, localPart: secret };
  },
  open: withSecret,
  output: Minted,
  errors: mintErrors,
  *run(input, context) {
    const { sessionId, scopes } = input;
    // Sessions come before accounts and tokens in the order of locks: the end of a session ends its tokens.
    const session = (yield* keepSession(sessionId)) ?? notFound("session", sessionId);
    const creator = yield* lockWithAccounts(input.createdBy);
    requireLive(creator, context.now);
    requireCovered(parseScopes(scopes), creator);
    if (session.account_id !== null && session.account_id !== creator.account_id)
      requireCovered(["sessions:any"], creator);
    if (creator.session_id !== null && creator.session_id !== sessionId) outOfReach("session", { sessionId });
    const repositoryIds = yield* reachedRepositories({ sessionId, scopes }, creator);
    if (repositoryIds !== null && !repositoryIds.split(" ").includes(session.repository_id))
      outOfReach("repositories", { sessionId });
    if (!isOpen(session.state))
      invalidTransition(
        "session",
        session.state,
        `session ${sessionId} is ${session.state}, and its tokens have ended with it`,
      );
    const last = yield* first(sql`
      SELECT id FROM tokens WHERE session_id = ${sessionId} LIMIT 1 OFFSET ${bounds.sessionTokensMax - 1}`);
    if (last !== undefined)
      fail("conflict", { reason: "limit" }, `session ${sessionId} has ${bounds.sessionTokensMax} tokens already`);
    const token = { ...input, accountId: creator.account_id, name: input.name ?? sessionId, repositoryIds };
    return { token: yield* insertMinted({ ...token, sessionId }, creator, context) };
  },
});

/** Inserts a token that does not outlive the one under whose authority it is created. */
const insertMinted = step(function* (
  token: Omit<Parameters<typeof insertToken>[0], "expiresAt"> & { readonly ttlMs?: number | undefined },
  creator: TokenRow,
  context: Context,
) {
  const wanted = token.ttlMs === undefined ? null : after(context.now, token.ttlMs);
  return yield* insertToken({ ...token, expiresAt: earliest(wanted, creator.expires_at) }, "mint", context);
});

/** Fails with `scope_missing` unless the token covers the scopes. */
function requireCovered(needed: readonly Scope[], creator: TokenRow): void {
  const missing = missingScopes([...new Set(needed)], parseScopes(creator.scopes));
  if (missing.length === 0) return;
  const message = `creating this token needs ${missing.join(", ")}, which token ${creator.id} does not cover`;
  fail("scope_missing", { missing }, message);
}

/** Returns the repositories that a new token reaches, as they are stored. Fails when those are not within reach of its creator. */
const reachedRepositories = step(function* (
  {
    repositoryIds,
    sessionId,
    scopes,
  }: { repositoryIds?: readonly string[] | undefined; sessionId: string | null; scopes: string },
  creator: TokenRow,
) {
  const own = parseRepositoryIds(creator.repository_ids);
  const ids = repositoryIds === undefined ? own : [...new Set(repositoryIds)].sort();
  if ((ids !== null || sessionId !== null) && scopes === "admin")
    fail(
      "invalid_input",
      { field: "scopes" },
      "scopes: admin reaches everything, so a token with limits cannot have it",
    );
  for (const id of ids ?? []) {
    if (own !== null && !own.includes(id)) outOfReach("repositories", { repositoryId: id });
    yield* getRow("repository", id);
  }
  return ids === null ? null : ids.join(" ");
});

function outOfReach(limit: "repositories" | "session", named: Details): never {
  fail("out_of_reach", { limit, ...named }, "createdBy is limited to less than the new token would reach");
}

/** Returns the earlier of two moments; null stands for never. */
function earliest(moment: Date | null, otherMs: number | null): Date | null {
  if (otherMs === null) return moment;
  return new Date(Math.min(moment?.getTime() ?? otherMs, otherMs));
}

/**
 * Verifies a token and returns its account and scopes. Text without the shape and checksum of a token is refused on the
 * caller's thread; of other text only the public id and the hash of the secret are sent. The time of use is
 * written later, in a batch with others; the first use about a second later.
 *
 * Input    token: the secret that mint, rotate or bootstrapAdmin returned. scopes: the scopes that the token must cover
 * Result   { tokenId, kind, scopes, expiresAt, account: { id, name, kind } }
 * Fails    token_malformed | token_unknown | token_revoked, also when the account is disabled
 *          | token_expired { expiredAt } | scope_missing { missing }
 * Cost     1 statement by unique index; lane urgent
 */
export const verify = sealedOperation({
  access: "read",
  lane: "urgent",
  follows: ["accounts"],
  publicInput: z.strictObject({ token: z.string(), scopes: Scopes.optional() }),
  input: z.strictObject({ kind: Kind, ...sealedFields, scopes: Scopes.optional() }),
  seal: ({ token, scopes }) => ({
    wireInput: { ...parseToken(token), scopes: scopes === undefined ? undefined : parseScopes(scopes) },
  }),
  output: Principal,
  errors: ["token_malformed", "token_unknown", "token_revoked", "token_expired", "scope_missing"],
  *run({ kind, publicId, secretSha256, scopes }, { now, used }) {
    const row = yield* first<TokenOfAccount>(sql`
      SELECT
        tokens.*,
        accounts.name AS account_name,
        accounts.kind AS account_kind,
        accounts.disabled_at AS account_disabled_at
      FROM tokens JOIN accounts ON accounts.id = tokens.account_id
      WHERE tokens.public_id = ${publicId}`);
    if (row === undefined || !sameHash(row.secret_sha256, secretSha256) || row.kind !== kind) fail("token_unknown");
    requireLive(row, now);
    const missing = missingScopes(scopes === undefined ? [] : parseScopes(scopes), parseScopes(row.scopes));
    if (missing.length > 0) fail("scope_missing", { missing }, `the token does not cover ${missing.join(", ")}`);
    used(row.id, row.last_used_at === null);
    const account = { id: row.account_id, name: row.account_name, kind: row.account_kind };
    const { kind: kindOfRow, repository_ids: repositoryIds, session_id: sessionId, expires_at: expiresAt } = row;
    return { tokenId: row.id, kind: kindOfRow, scopes: row.scopes, repositoryIds, sessionId, expiresAt, account };
  },
});

/**
 * Answers whether a token may run an operation on rows: whether it is live, covers the scopes of the operation, reaches the
 * rows, and, for an operation that commands a session, whether that is of the token's account or the token covers
 * sessions:any. A call with the option `tokenId` is checked in the same way in its own transaction.
 *
 * Input    operation: its name, such as "sessions.cancel". sessionId, commandId, artifactId, debugSessionId, requestId
 *          (of a debugger), worktreeId, repositoryId: the rows that its input names. One that does not exist is refused to nobody
 * Result   { allowed, code, message, missing }: code is why not: token_unknown, token_revoked, token_expired, scope_missing
 *          or out_of_reach, and null when allowed. missing: the scopes that it lacks
 * Cost     at most 7 statements by key
 */
export const check = operation({
  access: "read",
  input: z.strictObject({
    tokenId: Id,
    operation: filledText(100),
    ...(Object.fromEntries(reachFields.map((field) => [field, Id.optional()])) as Record<
      ReachField,
      z.ZodOptional<typeof Id>
    >),
  }),
  output: record({
    allowed: boolean,
    code: nullable(oneOf(tokenErrors)),
    message: nullable(text),
    missing: listOf(oneOf(scopeNames)),
  }),
  errors: [],
  *run({ operation: name, ...rows }, { now }) {
    if (!Object.hasOwn(operationScopes, name)) fail("invalid_input", {}, `operation: there is no operation ${name}`);
    const authority = yield* findAuthority(rows.tokenId, name, { ...rows, createdBy: rows.tokenId }, now);
    try {
      requireAuthority(authority);
      return { allowed: 1, code: null, message: null, missing: [] };
    } catch (error) {
      const code = tokenErrors.find((one) => error instanceof StoreError && error.code === one);
      if (code === undefined) throw error;
      const { message, details } = error as StoreError;
      return { allowed: 0, code, message, missing: (details.missing as Scope[] | undefined) ?? [] };
    }
  },
});

/**
 * Replaces a token with a new one of the same account, name, kind, scopes and limits. The old token keeps working for a grace
 * period, so that its users can change over.
 *
 * Input    graceMs: the time for which the old token keeps working, though not beyond its own expiry. ttlMs: the
 *          lifetime of the new token (default: the lifetime that the old one had); it may outlive the old one
 * Returns  { token: Token, secret: text or undefined }
 * Result   the new token and its secret, as in tokens.mint
 * Fails    not_found | token_revoked | token_expired | conflict { reason: "rotated", rotatedTo }
 *          | conflict { reason: "version" | "exists" }
 * Effect   a new row of tokens, and the expiry of the old one; one row of changes for each
 */
export const rotate = sealedOperation({
  access: "write",
  publicInput: z.strictObject({
    tokenId: Id,
    id: NewId,
    graceMs: GraceMs.default(3_600_000),
    ttlMs: TtlMs.optional(),
    expectedVersion: Version.optional(),
  }),
  input: z.strictObject({
    tokenId: Id,
    id: Id,
    graceMs: GraceMs,
    ttlMs: TtlMs.optional(),
    expectedVersion: Version.optional(),
    ...sealedFields,
  }),
  seal(input) {
    const { secret, sealed } = createSecret();
    return { wireInput: { ...input, ...sealed }, localPart: secret };
  },
  open: withSecret,
  output: Minted,
  errors: ["not_found", "token_revoked", "token_expired", "conflict"],
  *run(input, context) {
    const { now, changed, counted } = context;
    const unlocked = yield* first<TokenRow>(sql`SELECT session_id FROM tokens WHERE id = ${input.tokenId}`);
    if (unlocked?.session_id != null) yield* keepSession(unlocked.session_id);
    const before = yield* lockWithAccounts(input.tokenId);
    if (before.rotated_to !== null) {
      const message = `token ${before.id} was already rotated to ${before.rotated_to}`;
      fail("conflict", { reason: "rotated", rotatedTo: before.rotated_to }, message);
    }
    requireVersion(before, input.expectedVersion);
    requireLive(before, now, "an expired token cannot be rotated: create a new one, which may have the same name");
    const lifeMs = input.ttlMs ?? (before.expires_at === null ? undefined : before.expires_at - before.created_at);
    const graceUntil = now.getTime() + input.graceMs;
    const oldUntil = new Date(before.expires_at === null ? graceUntil : Math.min(before.expires_at, graceUntil));
    // A token has its name until rotated_to is set, so that must happen before the new token takes the name; but the
    // new token, to which rotated_to refers, does not exist yet. So the old token refers to itself in between.
    yield* change(sql`
      UPDATE tokens SET
        rotated_to = ${before.id},
        expires_at = ${oldUntil},
        version = version + 1,
        updated_at = ${now}
      WHERE id = ${before.id}`);
    counted("token", "live", "rotated");
    changed({
      entity: "token",
      id: before.id,
      op: "rotate",
      version: before.version + 1,
      detail: {
        rotatedTo: input.id,
        ...changedFields({ expiresAt: "time" }, before, { expires_at: oldUntil.getTime() }),
      },
    });
    const { account_id, name, kind, scopes, repository_ids, session_id, created_by } = before;
    const { publicId, secretSha256 } = input;
    const expiresAt = lifeMs === undefined ? null : after(now, lifeMs);
    const token = yield* insertToken(
      {
        id: input.id,
        accountId: account_id,
        name,
        kind,
        scopes,
        repositoryIds: repository_ids,
        sessionId: session_id,
        createdBy: created_by,
        expiresAt,
        publicId,
        secretSha256,
      },
      "mint",
      context,
    );
    yield* change(sql`UPDATE tokens SET rotated_to = ${input.id} WHERE id = ${before.id}`);
    return { token };
  },
});

/**
 * Revokes a token from the next call on. Repeating the call changes nothing: the first time and reason stay.
 *
 * Fails    not_found | conflict { reason: "version" }
 * Effect   one row of tokens, one row of changes
 */
export const revoke = operation({
  access: "write",
  input: z.strictObject({ tokenId: Id, reason: Reason.optional(), expectedVersion: Version.optional() }),
  output: Token,
  errors: ["not_found", "conflict"],
  *run({ tokenId, reason, expectedVersion }, { now, changed, counted }) {
    const before = yield* lockRow("token", tokenId);
    if (before.revoked_at !== null) return before;
    requireVersion(before, expectedVersion);
    const row = yield* one<TokenRow>(sql`
      UPDATE tokens SET
        revoked_at = ${now},
        revoked_reason = ${reason ?? null},
        version = version + 1,
        updated_at = ${now}
      WHERE id = ${tokenId}
      RETURNING *`);
    counted("token", before.rotated_to === null ? "live" : "rotated", "revoked");
    changed({
      entity: "token",
      id: tokenId,
      op: "revoke",
      version: row.version,
      detail: { reason },
    });
    return row;
  },
});

/**
 * Lists tokens, including revoked ones; optionally only those of one account. The rows contain neither
 * secrets nor their hashes.
 *
 * Cost     1 statement along an index, at most `limit` rows
 */
export const list = operation({
  access: "read",
  input: listInput("token", { accountId: Id.optional() }),
  output: page(Token),
  errors: [],
  *run(input) {
    return yield* listPage("token", input, {
      filters: { account: filter(sql`account_id`, input.accountId) },
      indexes: [["account"]],
    });
  },
});

/**
 * Creates the first admin token, and its account unless one with this name exists. Of two simultaneous calls one
 * succeeds.
 *
 * Input    id: the id of the token. accountName, name: the names of the account and of the token. ttlMs: the lifetime
 *          (default: unlimited)
 * Returns  { token: Token, secret: text or undefined }
 * Result   as in tokens.mint
 * Fails    conflict { reason: "admin_exists" } while a live admin token exists | conflict { reason: "name" }
 *          | invalid_transition when the account is disabled
 * Effect   one row of tokens, perhaps one of accounts; one row of changes for each
 */
export const bootstrapAdmin = sealedOperation({
  access: "write",
  publicInput: z.strictObject({
    id: NewId,
    accountName: Name.default("admin"),
    name: Name.default("bootstrap"),
    ttlMs: TtlMs.optional(),
  }),
  input: z.strictObject({
    id: Id,
    accountId: Id,
    accountName: Name,
    name: Name,
    ttlMs: TtlMs.optional(),
    ...sealedFields,
  }),
  seal(input) {
    const { secret, sealed } = createSecret();
    return { wireInput: { ...input, accountId: newId(), ...sealed }, localPart: secret };
  },
  open: withSecret,
  output: Minted,
  errors: ["conflict", "invalid_transition"],
  *run(input, context) {
    const { now } = context;
    // Simultaneous calls have no token to lock, so they lock a row that always exists.
    yield* first(sql`SELECT value FROM store_meta WHERE key = 'store_id' ${forUpdate}`);
    const live = yield* first(sql`
      SELECT tokens.id
      FROM tokens JOIN accounts ON accounts.id = tokens.account_id
      WHERE tokens.scopes = 'admin' AND tokens.revoked_at IS NULL
        AND (tokens.expires_at IS NULL OR tokens.expires_at > ${now})
        AND accounts.disabled_at IS NULL
      ORDER BY tokens.created_at LIMIT 1`);
    if (live !== undefined)
      fail("conflict", { reason: "admin_exists" }, "an admin token exists already: mint other tokens with it");
    const account =
      (yield* lockAccountByName(input.accountName)) ??
      (yield* insertAccount(input.accountId, input.accountName, "human", context));
    requireEnabled(account);
    const { id, name, publicId, secretSha256 } = input;
    const expiresAt = input.ttlMs === undefined ? null : after(now, input.ttlMs);
    const token = {
      id,
      accountId: account.id,
      kind: "personal",
      name,
      scopes: formatScopes(["admin"]),
      repositoryIds: null,
      sessionId: null,
      createdBy: null,
      expiresAt,
    } as const;
    return { token: yield* insertToken({ ...token, publicId, secretSha256 }, "bootstrap", context) };
  },
});

/** The maximum number of uses that one call records. */
export const tokenUsesMax = 500;

/**
 * Records the times at which tokens were last used. The server calls it; no port reaches it.
 *
 * Effect   last_used_at of each token; no row of changes
 */
export const recordUse = operation({
  access: "write",
  lane: "background",
  input: z.strictObject({ uses: z.array(z.strictObject({ tokenId: Id, at: Moment })).max(tokenUsesMax) }),
  output: record({ recorded: integer }),
  errors: [],
  *run({ uses }) {
    // The rows are locked in the order of their ids, so that two processes that record the same tokens do not deadlock.
    const ordered = uses.toSorted((left, right) => (left.tokenId < right.tokenId ? -1 : 1));
    const recorded = yield* changeEach(
      ordered.map(
        ({ tokenId, at }) => sql`
          UPDATE tokens SET last_used_at = ${at}
          WHERE id = ${tokenId} AND (last_used_at IS NULL OR last_used_at < ${at})`,
      ),
    );
    return { recorded };
  },
});
