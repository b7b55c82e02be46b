// The one error class of the package and the closed list of its codes. Knows no thread, no database and no schema.

/**
 * What is known about the effect of a call that failed.
 *
 * - `not_run`: the call never ran, or it only reads; nothing changed.
 * - `rolled_back`: it ran and all it did was undone.
 * - `unknown`: the answer was lost on its way; look, or repeat with the same ids.
 */
export type Outcome = "not_run" | "rolled_back" | "unknown";

/** What each code means and what its receiver can do; the table in docs/guide/errors.md is printed from here. */
export const errorCodes = {
  invalid_input: { retryable: false, means: "the input breaks a bound or a rule", mend: "correct the call" },
  unknown_operation: {
    retryable: false,
    means: "no such operation, or this port may not reach it",
    mend: "correct the name, or connect with it",
  },
  not_found: { retryable: false, means: "no row has this id", mend: "look the id up again" },
  conflict: {
    retryable: false,
    means: "the row is not what the call expected; details.reason says how",
    mend: "read the row again and decide",
  },
  invalid_transition: {
    retryable: false,
    means: "the state does not allow it; details.state is the state",
    mend: "read the row again and decide",
  },
  lease_lost: {
    retryable: false,
    means: "somebody else holds, or held, a newer lease; details.currentFence",
    mend: "stop touching what the lease protected",
  },
  lease_expired: {
    retryable: false,
    means: "the lease ran out before the call",
    mend: "reserve or claim anew; renew sooner",
  },
  capacity_exhausted: {
    retryable: true,
    means: "every worktree is in use and no more are allowed",
    mend: "retry after details.earliestExpiryAt",
  },
  log_gap: {
    retryable: false,
    means: "bytes before this offset are missing",
    mend: "send again from details.expectedOffset",
  },
  log_sealed: { retryable: false, means: "the command has finished and its log is closed", mend: "stop appending" },
  feed_truncated: {
    retryable: false,
    means: "changes after this cursor were pruned",
    mend: "read a snapshot and go on from its cursor",
  },
  token_malformed: {
    retryable: false,
    means: "the text is no token: its shape or its checksum is wrong",
    mend: "copy the whole token",
  },
  token_unknown: {
    retryable: false,
    means: "no token of this store has this secret",
    mend: "use a token of this store",
  },
  token_expired: {
    retryable: false,
    means: "the token's time is over; details.expiredAt",
    mend: "rotate tokens before they expire",
  },
  token_revoked: {
    retryable: false,
    means: "the token was revoked, or its account disabled",
    mend: "ask for a new token",
  },
  scope_missing: {
    retryable: false,
    means: "the token does not cover details.missing",
    mend: "use a token with these scopes",
  },
  idempotency_mismatch: {
    retryable: false,
    means: "the idempotency key was used for another request",
    mend: "make a new key for each new request",
  },
  constraint: {
    retryable: false,
    means: "the database refused the row",
    mend: "report it: an operation let through what a CHECK refuses",
  },
  busy: {
    retryable: true,
    means: "another process held a lock, or the server was out of reach, for too long",
    mend: "see outcome; retry; run one server per file",
  },
  overloaded: { retryable: true, means: "too many calls are waiting", mend: "retry after details.retryAfterMs" },
  deadline_exceeded: {
    retryable: true,
    means: "the time given to the call is over",
    mend: "see outcome; retry with more time",
  },
  aborted: { retryable: false, means: "the caller's signal fired", mend: "nothing; see outcome" },
  closed: {
    retryable: false,
    means: "the store, its port or its thread is gone",
    mend: "open or attach again; see outcome",
  },
  storage_full: {
    retryable: true,
    means: "the disk or the file's size limit is full",
    mend: "free space; the file is sound",
  },
  corrupt: { retryable: false, means: "the database file is damaged", mend: "restore a backup" },
  incompatible: {
    retryable: false,
    means: "the file, its schema or SQLite is not what this version needs",
    mend: "do what the message says",
  },
  internal: { retryable: false, means: "a fault of this package; the cause is in the server's log", mend: "report it" },
} as const satisfies Record<string, { retryable: boolean; means: string; mend: string }>;

export type ErrorCode = keyof typeof errorCodes;

/** Plain data: what structured clone and JSON both carry unchanged. */
export type Details = Readonly<Record<string, unknown>>;

export interface StoreErrorOptions {
  readonly outcome?: Outcome;
  readonly details?: Details;
  readonly operation?: string;
  readonly cause?: unknown;
}

/** Every failure that leaves this package. Switch on `code`, never on `message`. */
export class StoreError extends Error {
  override readonly name = "StoreError";
  readonly code: ErrorCode;
  readonly outcome: Outcome;
  readonly retryable: boolean;
  readonly details: Details;
  readonly operation: string | undefined;

  constructor(code: ErrorCode, message?: string, options: StoreErrorOptions = {}) {
    super(message ?? errorCodes[code].means, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.outcome = options.outcome ?? "not_run";
    this.retryable = errorCodes[code].retryable;
    this.details = options.details ?? {};
    this.operation = options.operation;
  }

  /** Plain data for a response or a log line; neither stack nor cause. */
  toJSON(): Record<string, unknown> {
    const { code, message, outcome, retryable, details, operation } = this;
    return { code, message, outcome, retryable, details, ...(operation === undefined ? {} : { operation }) };
  }
}

/** Short form for stubs and tests: `throw storeError("capacity_exhausted")`. */
export function storeError(code: ErrorCode, details?: Details, message?: string): StoreError {
  return new StoreError(code, message, details === undefined ? {} : { details });
}

/** A failure as it crosses threads: classes do not survive structured clone, codes do. */
export type WireFailure = readonly [code: ErrorCode, message: string, outcome: Outcome, details: Details];

export function toWireFailure(error: StoreError, outcome: Outcome = error.outcome): WireFailure {
  return [error.code, error.message, outcome, error.details];
}

/** Rebuilds the error on the caller's side, so that its stack names the caller (D-017). */
export function fromWireFailure([code, message, outcome, details]: WireFailure, operation: string): StoreError {
  return new StoreError(code, message, { outcome, details, operation });
}
