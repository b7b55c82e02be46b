// Authenticates standard Request and Headers objects by bearer token, for any framework:
// https://www.rfc-editor.org/rfc/rfc6750
import { type ErrorCode, StoreError, storeError } from "../errors.ts";
import type { Principal } from "../model/tokens.ts";
import type { Scope } from "../model/vocabulary.ts";
import { present } from "../present.ts";
import type { Store } from "../storeTypes.ts";

export interface AuthenticateOptions {
  /** The scopes that the token must cover. Without any, every valid token is accepted. */
  readonly scopes?: readonly Scope[];
  /** The realm in WWW-Authenticate. Defaults to "debug-server-db". */
  readonly realm?: string;
}

export type Authentication =
  | { readonly ok: true; readonly principal: Principal }
  | {
      readonly ok: false;
      /** 401 without a token, or with an invalid one; 403 with a valid token that does not cover the scopes. */
      readonly status: 401 | 403;
      /** The code of the failure; undefined when the request has no bearer token. */
      readonly code: ErrorCode | undefined;
      /** The value of the WWW-Authenticate header. */
      readonly wwwAuthenticate: string;
      /** Returns a new standard Response with status, header and a JSON body. */
      response(): Response;
    };

/** An operation, and the rows that the request names. */
export type Asked = Omit<Parameters<Store["tokens"]["check"]>[0], "tokenId">;

/**
 * Returns a function that checks the bearer token of a request, and, if it is told, whether the token may do this to these
 * rows (`tokens.check`). It returns the principal, or the refusal to respond with. When the store cannot verify the token, it
 * throws the store's error, which says nothing about the token.
 */
export function authenticate(
  store: { readonly tokens: Pick<Store["tokens"], "verify" | "check"> },
  { scopes = [], realm = "debug-server-db" }: AuthenticateOptions = {},
): (request: Request | Headers, asked?: Asked) => Promise<Authentication> {
  return async (request, asked) => {
    const header = ("headers" in request ? request.headers : request).get("authorization");
    const token = header === null ? undefined : bearerOf(header);
    if (token === undefined) return refusal(401, undefined, challenge({ realm }), "a bearer token is required");
    try {
      const principal = await store.tokens.verify(scopes.length === 0 ? { token } : { token, scopes: [...scopes] });
      if (asked !== undefined) {
        const { code, message, missing } = await store.tokens.check({ ...asked, tokenId: principal.tokenId });
        if (code !== null) throw storeError(code, { missing }, message ?? undefined);
      }
      return { ok: true, principal };
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (error.code === "scope_missing" || error.code === "out_of_reach") {
        const scope = ((error.details.missing as Scope[] | undefined) ?? scopes).join(" ");
        const message = error.code === "out_of_reach" ? error.message : "the token does not cover the required scopes";
        return refusal(
          403,
          error.code,
          challenge({ realm, error: "insufficient_scope", ...present({ scope }) }),
          message,
        );
      }
      const description = descriptions[error.code];
      if (description === undefined) throw error;
      return refusal(
        401,
        error.code,
        challenge({ realm, error: "invalid_token", error_description: description }),
        description,
      );
    }
  };
}

const descriptions: Partial<Record<ErrorCode, string>> = {
  token_malformed: "the token is malformed",
  token_unknown: "the token is unknown",
  token_expired: "the token has expired",
  token_revoked: "the token was revoked",
};

/** Returns the text after "Bearer", well formed or not; undefined for another scheme. */
function bearerOf(header: string): string | undefined {
  const [scheme = "", ...rest] = header.trim().split(/ +/);
  return scheme.toLowerCase() === "bearer" ? rest.join(" ") : undefined;
}

/** Formats a challenge with quoted values: https://www.rfc-editor.org/rfc/rfc9110#section-11.2 */
function challenge(parameters: Readonly<Record<string, string>>): string {
  const quoted = Object.entries(parameters).map(
    ([name, value]) => `${name}="${value.replace(/[^\t\x20-\x7e]/g, "?").replace(/["\\]/g, "\\$&")}"`,
  );
  return `Bearer ${quoted.join(", ")}`;
}

function refusal(
  status: 401 | 403,
  code: ErrorCode | undefined,
  wwwAuthenticate: string,
  message: string,
): Authentication {
  const response = () =>
    Response.json(
      { error: code ?? "unauthenticated", message },
      { status, headers: { "www-authenticate": wwwAuthenticate, "cache-control": "no-store" } },
    );
  return { ok: false, status, code, wwwAuthenticate, response };
}
