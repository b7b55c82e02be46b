// The sender of a request: the scopes that it covers, and the parts of an input that follow from its token.
import { type ErrorCode, StoreError } from "../errors.ts";
import type { Principal } from "../model/tokens.ts";
import type { Scope } from "../model/vocabulary.ts";
import { isOfOwner, neededScopes, ownTokenFields } from "../operations/scopes.ts";
import type { Store } from "../storeTypes.ts";
import { covers, type OperationName, operationScopes } from "./access.ts";
import { authenticate } from "./authenticate.ts";
import { RefusedToken, RequestError } from "./problems.ts";
import type { WrongTokens } from "./wrongTokens.ts";

/** The sender of a request. */
export interface Identity {
  readonly scopes: readonly Scope[];
  /** The name in audit rows. With the scope `admin`, a caller may name another one. */
  readonly actor?: string | undefined;
  /** The token of the store, if there is one. Without it, the sender reaches all rows that its scopes cover. */
  readonly tokenId?: string | undefined;
  /** The limits of the token: the store checks them with each call. */
  readonly repositoryIds?: readonly string[] | null | undefined;
  readonly sessionId?: string | null | undefined;
}

/** The connection on which a request came. */
export interface ConnectionInfo {
  /** The address of the client, or of the last proxy before this server. */
  readonly remoteAddress?: string | undefined;
  /** True when the client waits for `100 Continue`, and gets it once the body is read. */
  readonly awaitsContinue?: boolean;
  /** True when something else has read the body of the request. */
  readonly bodyWasRead?: boolean;
}

/**
 * Returns the address of the client behind this number of proxies, each of which appends the address that it sees to
 * X-Forwarded-For. What a client itself has written there stands before those, and is not read.
 */
export function clientAddress(
  { headers }: Request,
  { remoteAddress }: ConnectionInfo,
  proxies: number,
): string | undefined {
  if (proxies === 0) return remoteAddress;
  const forwarded = (headers.get("x-forwarded-for") ?? "").split(",").map((part) => part.trim());
  return forwarded.at(-proxies) || remoteAddress;
}

/**
 * Returns the sender of a request, or undefined when the request says nothing about its sender, which is answered with 401.
 * Fails with a RequestError or a StoreError to refuse it otherwise. Must not read the body.
 */
export type Identify = (
  request: Request,
  connection: ConnectionInfo,
) => Promise<(Identity & Partial<Principal>) | undefined> | (Identity & Partial<Principal>) | undefined;

/** Returns the sender of a request as `identify` tells it. Fails with `unauthenticated`, or as `identify` refuses it. */
export async function identified(
  identify: Identify,
  request: Request,
  connection: ConnectionInfo,
): Promise<Identity & Partial<Principal>> {
  let identity: Awaited<ReturnType<Identify>>;
  try {
    identity = await identify(request, connection);
  } catch (cause) {
    if (cause instanceof StoreError || cause instanceof RequestError || cause instanceof RefusedToken) throw cause;
    throw new RequestError("identify_failed", undefined, {}, { cause });
  }
  if (identity !== undefined) return identity;
  throw new RequestError("unauthenticated");
}

/** The codes of tokens that were valid once: who has one guesses nothing, and may go on to send it for long. */
const wereValid: readonly (ErrorCode | undefined)[] = ["token_expired", "token_revoked"];

/**
 * Returns a function that verifies the bearer token of a request, at each request: a revoked token is refused at once. A
 * valid token is accepted from every address, whatever others have sent from there; a new one may have to wait.
 */
export function bearer(store: Pick<Store, "tokens">, wrong: WrongTokens): Identify {
  const check = authenticate(store);
  return async (request, { remoteAddress = "" }) => {
    const token = request.headers.get("authorization");
    const verify = () => check(request);
    const result = token === null ? await verify() : await wrong.verified(remoteAddress, token, verify, request.signal);
    if (result.ok) return { ...result.principal, actor: result.principal.account.name };
    const headers = { "www-authenticate": result.wwwAuthenticate };
    if (result.code === undefined) throw new RequestError("unauthenticated", undefined, headers);
    if (!wereValid.includes(result.code)) wrong.add(remoteAddress);
    throw new RefusedToken(new StoreError(result.code), headers);
  };
}

/** Fails with `scope_missing` unless the sender may call the operation. */
export function requireScope({ scopes }: Identity, operation: OperationName): void {
  const needed = operationScopes[operation];
  if (needed === null)
    throw new StoreError("unknown_operation", `${operation} cannot be called over HTTP: open the store itself`);
  if (!covers(scopes, needed)) throw missing(operation, [needed], "");
}

/** Fails with `scope_missing` unless the sender may also do what the fields of its input ask for. */
function requireFieldScopes({ scopes }: Identity, operation: OperationName, input: Record<string, unknown>): void {
  const lacked = (neededScopes(operation, input) ?? []).filter(
    ({ scope, field }) => field !== undefined && !covers(scopes, scope),
  );
  if (lacked.length === 0) return;
  const fields = lacked.map(({ field }) => field);
  const why = `, which ${fields.join(" and ")} ${fields.length > 1 ? "need" : "needs"}`;
  throw missing(
    operation,
    lacked.map(({ scope }) => scope),
    why,
  );
}

function missing(operation: OperationName, lacked: readonly Scope[], why: string): StoreError {
  return new StoreError("scope_missing", `the token does not cover ${lacked.join(" and ")}${why}`, {
    operation,
    details: { missing: lacked },
  });
}

/**
 * Returns the token under whose authority the store has to run a call of the sender, or undefined if what is known of the
 * sender suffices: its token reaches everything, and the call does not command a session that may be another account's.
 */
export function authorityOf(identity: Identity, operation: OperationName): string | undefined {
  const { tokenId, scopes, repositoryIds = null, sessionId = null } = identity;
  const isLimited = sessionId !== null || repositoryIds !== null;
  return isLimited || (isOfOwner(operation) && !covers(scopes, "sessions:any")) ? tokenId : undefined;
}

/**
 * Checks the fields of an input, fills in what follows from the token, and refuses what would give a caller the authority
 * of another one. A sender that covers `admin` may name others: it can be an API that acts for its own clients.
 */
export function asCaller(
  operation: OperationName,
  input: Record<string, unknown>,
  identity: Identity,
): Record<string, unknown> {
  requireFieldScopes(identity, operation, input);
  const { tokenId, actor, scopes } = identity;
  const isAdmin = scopes.includes("admin");
  const own = (field: string, value: unknown) => {
    if (!isAdmin && input[field] !== undefined && input[field] !== value)
      throw new StoreError("invalid_input", `${field}: is the caller's own, so leave it out`, { operation });
    return input[field] === undefined && value !== undefined ? { ...input, [field]: value } : input;
  };
  if (operation === "debug.request") return own("requestedBy", actor);
  const field = ownTokenFields[operation];
  if (field === undefined) return input;
  if (operation === "tokens.rotate" || operation === "tokens.revoke") {
    if (!isAdmin && input[field] !== tokenId)
      throw new StoreError("scope_missing", "only a token with the scope admin can do this to another one", {
        operation,
        details: { missing: ["admin"] },
      });
    return input;
  }
  const isUnnamed = operation === "sessions.create" && actor !== undefined && input.requestedBy === undefined;
  return { ...own(field, tokenId), ...(isUnnamed ? { requestedBy: actor } : {}) };
}
