// Bearer tokens on the standard Request and Headers, for whatever framework: https://www.rfc-editor.org/rfc/rfc6750

import { type ErrorCode, StoreError } from "../errors.ts";
import type { Principal } from "../model/tokens.ts";
import type { Scope } from "../model/vocabulary.ts";
import type { Store } from "../storeTypes.ts";

export interface AuthenticateOptions {
  /** What the token must cover, all of it. None: any valid token. */
  readonly scopes?: readonly Scope[];
  /** What the credentials are for, in WWW-Authenticate; "debug-server-db" unless given. */
  readonly realm?: string;
}

export type Authentication =
  | { readonly ok: true; readonly principal: Principal }
  | {
      readonly ok: false;
      /** 401: no token, or one that does not count. 403: a good token that does not cover the scopes. */
      readonly status: 401 | 403;
      /** Of the failure; undefined when the request brought no bearer token at all. */
      readonly code: ErrorCode | undefined;
      /** The value of the header. */
      readonly wwwAuthenticate: string;
      /** All of it, for a framework that takes a standard Response. A new one each time. */
      response(): Response;
    };

/**
 * Makes a check of requests. It answers who asks, or what to refuse with; a store that cannot answer makes it throw what the store threw, which is no
 * answer about the token.
 */
export function authenticate(
  store: { readonly tokens: Pick<Store["tokens"], "verify"> },
  { scopes = [], realm = "debug-server-db" }: AuthenticateOptions = {},
): (request: Request | Headers) => Promise<Authentication> {
  return async (request) => {
    const header = (request instanceof Headers ? request : request.headers).get("authorization");
    const token = header === null ? undefined : bearerOf(header);
    if (token === undefined) return refusal(401, undefined, challenge({ realm }), "a bearer token is needed");
    try {
      return {
        ok: true,
        principal: await store.tokens.verify(scopes.length === 0 ? { token } : { token, scopes: [...scopes] }),
      };
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (error.code === "scope_missing") {
        return refusal(
          403,
          error.code,
          challenge({ realm, error: "insufficient_scope", scope: scopes.join(" ") }),
          "the token does not cover what is asked for",
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

/** Of another scheme there is no bearer token; what follows "Bearer" is one, well formed or not. */
function bearerOf(header: string): string | undefined {
  const [scheme = "", ...rest] = header.trim().split(/ +/);
  return scheme.toLowerCase() === "bearer" ? rest.join(" ") : undefined;
}

/** https://www.rfc-editor.org/rfc/rfc9110#section-11.2: values are quoted strings. */
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
