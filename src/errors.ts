// The one error class of the package, and the closed list of its codes. Knows no thread, database or schema.

/**
 * The effect of a call that failed, as far as it is known.
 *
 * - `not_run`: the call never ran, or it only reads; nothing changed.
 * - `rolled_back`: the call ran, and everything it did was undone.
 * - `unknown`: the answer was lost on its way. Read the state, or repeat the call with the same ids.
 */
export type Outcome = "not_run" | "rolled_back" | "unknown";

/**
 * The meaning of each code, and what its receiver can do. `unless` names the failures that are not retryable although
 * their code is. docs/guide/errors.md prints them.
 */
export const errorCodes = {
  invalid_input: { retryable: false, means: "the input violates a bound or a rule", mend: "correct the call" },
  unknown_operation: {
    retryable: false,
    means: "there is no such operation, or this port may not call it",
    mend: "correct the name, or connect with this operation",
  },
  not_found: { retryable: false, means: "no row has this id", mend: "check the id" },
  conflict: {
    retryable: false,
    means: "the row differs from what the call expects; details.reason says how",
    mend: "read the row again, then decide",
  },
  invalid_transition: {
    retryable: false,
    means: "the state of the row does not allow this call; details.state is the state",
    mend: "read the row again, then decide",
  },
  lease_lost: {
    retryable: false,
    means:
      "the lease has ended, a newer one has replaced it, or the store has ended the command by force; details.currentFence is the latest fencing token: if it is the caller's own, nobody else was granted the lease, and it ran out, was released, or its command ended",
    mend: "stop using what the lease protected",
  },
  capacity_exhausted: {
    retryable: true,
    means: "no worktree is free and no more are allowed; details counts those in use and those in quarantine",
    unless: "no lease can end: then restore or evict worktrees, or raise maxWorktrees",
    mend: "let the call wait (`waitMs`), or retry after details.earliestExpiryAt",
  },
  log_gap: {
    retryable: false,
    means: "the bytes before this offset are missing",
    mend: "send again from details.expectedOffset",
  },
  log_sealed: { retryable: false, means: "the command has finished and its log is closed", mend: "stop appending" },
  feed_truncated: {
    retryable: false,
    means:
      "changes after this cursor have been removed, or the store was restored and the cursor is after its newest change",
    mend: "read a new snapshot and continue from its cursor",
  },
  token_malformed: {
    retryable: false,
    means: "the text is not a token: its form or its checksum is wrong",
    mend: "copy the whole token",
  },
  token_unknown: {
    retryable: false,
    means: "this store has no token with this secret",
    mend: "use a token of this store",
  },
  token_expired: {
    retryable: false,
    means: "the token has expired; details.expiredAt is the time",
    mend: "rotate tokens before they expire",
  },
  token_revoked: {
    retryable: false,
    means: "the token was revoked, or its account was disabled",
    mend: "request a new token",
  },
  scope_missing: {
    retryable: false,
    means: "the token does not cover the scopes in details.missing",
    mend: "use a token with these scopes",
  },
  out_of_reach: {
    retryable: false,
    means: "the token is limited to other repositories, or to one session; details.limit says to which",
    mend: "use a token that reaches this row",
  },
  idempotency_mismatch: {
    retryable: false,
    means: "the idempotency key was used for a different request",
    mend: "create a new key for each request",
  },
  constraint: {
    retryable: false,
    means: "the database refused the row",
    mend: "report a bug: the operation accepted a row that a constraint of the schema refuses",
  },
  busy: {
    retryable: true,
    means:
      "another process held a lock, or a row that the call needs, for too long, or the database server could not be reached",
    mend: "check outcome, then retry; run one server per file",
  },
  overloaded: { retryable: true, means: "too many calls are waiting", mend: "retry after details.retryAfterMs" },
  deadline_exceeded: {
    retryable: true,
    means: "the call did not finish in the time it was given",
    mend: "check outcome, then retry with more time",
  },
  aborted: { retryable: false, means: "the caller's signal fired", mend: "check outcome" },
  closed: {
    retryable: false,
    means: "the store is closed, or its port or thread has ended",
    mend: "open or attach again; check outcome",
  },
  storage_full: {
    retryable: true,
    means: "the disk is full, or a quota or the size limit of the file has been reached",
    mend: "free space, then retry; the file is intact",
  },
  file_lost: {
    retryable: false,
    means:
      "the database file was deleted, moved or replaced while the store had it open; details.reason is `gone`, `replaced` or `wal`",
    mend: "end the server and put the file back, or restore a backup; until then reads and backups show what the lost file holds",
  },
  read_only: {
    retryable: false,
    means: "the database, its folder, its server or the connection is read-only",
    mend: "make it writable, or connect to the primary, or use an operation instead of SQL; reads work",
  },
  io_error: {
    retryable: true,
    means:
      "the disk or the file system failed while it read or wrote, or the log archive failed or did not answer; then details.reason is `log_archive`",
    mend: "check outcome, then retry; if it goes on, look for the cause in the logs of the system, and replace the disk",
  },
  corrupt: {
    retryable: false,
    means:
      "the database file is damaged, or an object of the log archive is damaged or missing; then details.reason is `log_archive`, and details.uri names it",
    mend: "restore a backup, or the object",
  },
  incompatible: {
    retryable: false,
    means: "this version cannot work with the file, its schema, or the version of the engine",
    mend: "follow the message",
  },
  internal: {
    retryable: false,
    means: "a bug in this package; the server's log has the cause",
    mend: "report a bug, with the cause",
  },
} as const satisfies Record<string, { retryable: boolean; unless?: string; means: string; mend: string }>;

export type ErrorCode = keyof typeof errorCodes;

/** The codes with which the body of any operation may fail, besides those that the operation declares. */
export const bodyErrors = [
  "invalid_input",
  "constraint",
  "busy",
  "deadline_exceeded",
  "storage_full",
  "file_lost",
  "read_only",
  "io_error",
  "corrupt",
  "incompatible",
  "internal",
] as const satisfies readonly ErrorCode[];

/** The codes with which a call under the authority of a token fails that the token may not make. */
export const tokenErrors = [
  "token_unknown",
  "token_revoked",
  "token_expired",
  "scope_missing",
  "out_of_reach",
] as const satisfies readonly ErrorCode[];

/** The codes of failures that the server reports as an event, because people have to act on them. */
export const faults: ReadonlySet<ErrorCode> = new Set([
  "internal",
  "constraint",
  "corrupt",
  "io_error",
  "incompatible",
]);

/** The codes with which any call may fail on its way to the body or back. */
export const callErrors = ["overloaded", "aborted", "closed"] as const satisfies readonly ErrorCode[];

/** Plain data that both structured clone and JSON carry unchanged. */
export type Details = Readonly<Record<string, unknown>>;

export interface StoreErrorOptions {
  readonly outcome?: Outcome;
  readonly details?: Details | undefined;
  /** True if the same call may succeed later. By default, this follows from the code. */
  readonly retryable?: boolean | undefined;
  readonly operation?: string | undefined;
  readonly cause?: unknown;
}

/** The class of every failure that leaves this package. Switch on `code`, never on `message`. */
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
    this.retryable = options.retryable ?? errorCodes[code].retryable;
    this.details = options.details ?? {};
    this.operation = options.operation;
  }

  /** Returns plain data for a response or a log line, without the stack and the cause. */
  toJSON(): Record<string, unknown> {
    const { code, message, outcome, retryable, details, operation } = this;
    return { code, message, outcome, retryable, details, ...(operation === undefined ? {} : { operation }) };
  }
}

/** Creates an error for stubs and tests: `throw storeError("capacity_exhausted")`. */
export function storeError(code: ErrorCode, details?: Details, message?: string): StoreError {
  return new StoreError(code, message, { details });
}

/**
 * A failure as it crosses threads: structured clone does not preserve classes, but it preserves codes. `retryable` is
 * there only when it does not follow from the code.
 */
export type WireFailure = readonly [
  code: ErrorCode,
  message: string,
  outcome: Outcome,
  details: Details,
  retryable?: boolean,
];

export function toWireFailure(
  error: StoreError,
  outcome: Outcome = error.outcome,
  details: Details = error.details,
): WireFailure {
  const { code, message, retryable } = error;
  const failure = [code, message, outcome, details] as const;
  return retryable === errorCodes[code].retryable ? failure : [...failure, retryable];
}

/** Creates the error again on the caller's side, so that its stack names the caller (D-017). */
export function fromWireFailure(
  [code, message, outcome, details, retryable]: WireFailure,
  operation: string | undefined,
): StoreError {
  return new StoreError(code, message, { outcome, details, retryable, operation });
}
