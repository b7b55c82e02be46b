// Failures as HTTP responses: problem details for machines, by https://www.rfc-editor.org/rfc/rfc9457
import { type ErrorCode, errorCodes, StoreError } from "../errors.ts";

/** The status with which each code is answered. */
export const statusOf: Readonly<Record<ErrorCode, number>> = {
  invalid_input: 400,
  token_malformed: 401,
  token_unknown: 401,
  token_expired: 401,
  token_revoked: 401,
  scope_missing: 403,
  out_of_reach: 403,
  unknown_operation: 404,
  not_found: 404,
  conflict: 409,
  invalid_transition: 409,
  lease_lost: 409,
  log_gap: 409,
  log_sealed: 409,
  feed_truncated: 410,
  idempotency_mismatch: 422,
  constraint: 500,
  corrupt: 500,
  incompatible: 500,
  internal: 500,
  aborted: 503,
  busy: 503,
  capacity_exhausted: 503,
  closed: 503,
  file_lost: 503,
  io_error: 503,
  overloaded: 503,
  read_only: 503,
  deadline_exceeded: 504,
  storage_full: 507,
};

/** A failure as the body of a response, with the type application/problem+json. */
export interface Problem {
  /** "urn:debug-server-db:error:" and the code, or "about:blank" for what only this API refuses. */
  readonly type: string;
  /** The meaning of the code. */
  readonly title: string;
  readonly status: number;
  /** The description of this case. */
  readonly detail: string;
  /** The code of the store, or of this API. */
  readonly code: ErrorCode | RequestFault;
  /** The effect of the call, see `StoreError`. */
  readonly outcome: StoreError["outcome"];
  readonly retryable: boolean;
  readonly operation?: string;
  readonly details: StoreError["details"];
  readonly requestId?: string;
}

/** The faults of a request that no call of the store has. */
export const requestFaults = {
  unauthenticated: { status: 401, means: "the request does not say who sends it: it has no bearer token" },
  origin_refused: { status: 403, means: "a browser has sent the request for a page of another origin" },
  no_such_path: { status: 404, means: "there is nothing at this path" },
  method_not_allowed: { status: 405, means: "this path has another method" },
  not_acceptable: { status: 406, means: "the operation has no result of the type that Accept names" },
  identify_failed: { status: 500, means: "the function identify of this server has failed" },
  body_read_before: {
    status: 500,
    means: "the body was read before: mount the handler before what parses bodies, such as express.json()",
  },
  body_too_large: { status: 413, means: "the body is too large" },
  range_not_satisfiable: { status: 416, means: "the range starts past the end of the file" },
  unsupported_media_type: { status: 415, means: "the body has another type or encoding than the operation takes" },
  too_many_bodies: { status: 503, means: "too many bytes of requests arrive at a time" },
  too_many_wrong_tokens: { status: 429, means: "too many requests with wrong tokens came from this address" },
} as const satisfies Record<string, { readonly status: number; readonly means: string }>;
export type RequestFault = keyof typeof requestFaults;

/**
 * A request that is refused before it reaches the store. A function `identify` throws one to refuse a request, such as
 * `new RequestError("unauthenticated", "log in first", { "www-authenticate": "Bearer" })`.
 */
export class RequestError extends Error {
  override readonly name: string = "RequestError";
  readonly fault: RequestFault;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    fault: RequestFault,
    detail?: string,
    headers: Readonly<Record<string, string>> = {},
    options: ErrorOptions = {},
  ) {
    super(detail ?? requestFaults[fault].means, options);
    this.fault = fault;
    this.headers = headers;
  }
}

const typeOf = (code: ErrorCode) => `urn:debug-server-db:error:${code}`;

/** Describes a failure. The message of one that is no StoreError stays here: it may say anything. */
export function problemOf(failure: unknown, requestId?: string): Problem {
  if (failure instanceof RefusedToken) return problemOf(failure.refusal, requestId);
  const ids = requestId === undefined ? {} : { requestId };
  if (failure instanceof RequestError) {
    const { status, means } = requestFaults[failure.fault];
    const { fault: code, message: detail } = failure;
    return {
      type: "about:blank",
      title: means,
      status,
      detail,
      code,
      outcome: "not_run",
      retryable: status === 429 || status === 503,
      details: {},
      ...ids,
    };
  }
  const error = failure instanceof StoreError ? failure : new StoreError("internal", undefined, { outcome: "unknown" });
  const { code, message, outcome, retryable, details, operation } = error;
  return {
    type: typeOf(code),
    title: errorCodes[code].means,
    status: statusOf[code],
    detail: message,
    code,
    outcome,
    retryable,
    ...(operation === undefined ? {} : { operation }),
    details,
    ...ids,
  };
}

/** A token that was refused, with the challenge that its response has to name. */
export class RefusedToken extends Error {
  readonly refusal: StoreError;
  readonly headers: Readonly<Record<string, string>>;

  constructor(refusal: StoreError, headers: Readonly<Record<string, string>>) {
    super(refusal.message);
    this.refusal = refusal;
    this.headers = headers;
  }
}

/** The time after which a retryable call may be repeated, in seconds, unless the error names one. */
const retryAfterSeconds = 1;

/** Returns the response for a failure. */
export function problemResponse(failure: unknown, requestId: string): Response {
  const problem = problemOf(failure, requestId);
  const headers = new Headers({ "content-type": "application/problem+json", "cache-control": "no-store" });
  const afterMs = Number(problem.details.retryAfterMs);
  if (problem.retryable)
    headers.set("retry-after", String(Number.isFinite(afterMs) ? Math.ceil(afterMs / 1_000) : retryAfterSeconds));
  if (problem.code === "scope_missing")
    headers.set(
      "www-authenticate",
      `Bearer error="insufficient_scope", scope="${[problem.details.missing].flat().join(" ")}"`,
    );
  if (failure instanceof RequestError || failure instanceof RefusedToken)
    for (const [name, value] of Object.entries(failure.headers)) headers.set(name, value);
  return new Response(JSON.stringify(problem), { status: problem.status, headers });
}
