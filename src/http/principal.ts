// The sender of a request: the bearer token, the scopes that it covers, and the parts of an input that follow from it.
import { StoreError } from "../errors.ts";
import type { Principal } from "../model/tokens.ts";
import type { Store } from "../storeTypes.ts";
import { covers, type OperationName, operationScopes } from "./access.ts";
import { authenticate } from "./authenticate.ts";
import { RefusedToken, RequestError } from "./problems.ts";
import type { WrongTokens } from "./wrongTokens.ts";

/** Returns the principal of a request. Fails with a StoreError or a RequestError, whose headers name the challenge. */
export type Identify = (request: Request, address: string) => Promise<Principal>;

/** Returns a function that verifies the bearer token of a request, at each request: a revoked token is refused at once. */
export function bearer(store: Pick<Store, "tokens">, wrong: WrongTokens): Identify {
  const check = authenticate(store);
  return async (request, address) => {
    wrong.check(address);
    const result = await check(request);
    if (result.ok) return result.principal;
    const headers = { "www-authenticate": result.wwwAuthenticate };
    if (result.code === undefined) throw new RequestError("unauthenticated", undefined, headers);
    wrong.add(address);
    throw new RefusedToken(new StoreError(result.code), headers);
  };
}

/** Fails with `scope_missing` unless the principal may call the operation. */
export function requireScope({ scopes }: Principal, operation: OperationName): void {
  const needed = operationScopes[operation];
  if (needed === null)
    throw new StoreError("unknown_operation", `${operation} cannot be called over HTTP: open the store itself`);
  if (!covers(scopes, needed))
    throw new StoreError("scope_missing", `the token does not cover ${needed}`, {
      operation,
      details: { missing: [needed] },
    });
}

/**
 * Fills in what follows from the token, and refuses what would give a caller the authority of another one. A token that
 * covers `admin` may name others, except as the authority behind a new token, which is always its own.
 */
export function asCaller(operation: OperationName, input: Record<string, unknown>, principal: Principal) {
  const { tokenId, account, scopes } = principal;
  const own = (field: string, value: unknown) => {
    if (input[field] !== undefined && input[field] !== value)
      throw new StoreError("invalid_input", `${field}: is the caller's own, so leave it out`, { operation });
    return { ...input, [field]: value };
  };
  switch (operation) {
    case "tokens.mint":
      return own("createdBy", tokenId);
    case "tokens.rotate":
    case "tokens.revoke":
      // Rotating returns a secret with the scopes of the token that is rotated.
      if (!scopes.includes("admin") && input.tokenId !== tokenId)
        throw new StoreError("scope_missing", "only a token with the scope admin can do this to another one", {
          operation,
          details: { missing: ["admin"] },
        });
      return input;
    case "sessions.create":
      if (scopes.includes("admin")) return { tokenId, requestedBy: account.name, ...input };
      return { requestedBy: account.name, ...own("tokenId", tokenId) };
    default:
      return input;
  }
}
