// Every number that bounds the store, in one place.
import { StoreError } from "./errors.ts";

/** Bounds of inputs. They are part of the contract, the same for every caller and engine. */
export const bounds = {
  /** One JSON column, as text. */
  jsonBytes: 256 * 1024,
  jsonDepth: 32,
  jsonKeys: 10_000,
  /** Of one number, as text; of a bigint, which takes time to read that grows with the square of its length. */
  jsonNumberLength: 1_000,
  logChunkBytes: 64 * 1024,
  logReadBytes: 1024 * 1024,
  pageRows: 50,
  pageRowsMax: 500,
  leaseMsMin: 1_000,
  leaseMsMax: 86_400_000,
  waitMsMax: 86_400_000,
  /** What one stop may hold; what goes beyond it is left out, and the place marked. */
  debugThreads: 64,
  debugFrames: 50,
  debugScopes: 10,
  /** Of one scope, or of one variable that has parts; and how deep parts have parts. */
  debugVariables: 100,
  debugVariableDepth: 4,
  /** One value, name or message of a debugger. */
  debugTextLength: 1_024,
  /** The output of one event. */
  debugOutputLength: 8_192,
  /** All threads of one call, as JSON. */
  debugStopBytes: 128 * 1024,
  /** The body of one event, as JSON. */
  debugEventBytes: 32 * 1024,
  debugBreakpoints: 1_000,
  /** Of an actor, and of a request id. */
  callerLength: 200,
  /** Of an idempotency key. */
  keyLength: 200,
} as const;

/** Settable with `openStore({ limits })`. */
export const defaultLimits = {
  /** All inputs of one message, roughly: strings and byte arrays are counted, keys are not. */
  envelopeBytes: 8 * 1024 * 1024,
  /** One attempt's log; what goes beyond it is cut out of the middle. */
  logBytes: 16 * 1024 * 1024,
  /** Calls of one client that were sent and not answered. */
  queueCalls: 10_000,
  queueBytes: 16 * 1024 * 1024,
  /** Parts of logs that one client has asked for and not been sent yet. */
  resultBytes: 64 * 1024 * 1024,
  /** Calls of one client that wait for something to happen. */
  parkedCalls: 1_000,
  /** One transaction: whichever comes first (D-003). */
  groupCalls: 512,
  groupMs: 5,
  /** Events of one debug session that are kept, and how many numbers of stops back what was seen at a stop is kept. */
  debugEvents: 1_000,
  debugStopEpochs: 200,
  /** How long a runner stays `stalled` after its heartbeats stopped before it is `gone`. */
  runnerGoneMs: 300_000,
  /** How long the answer to a call with an idempotency key is kept. */
  idempotencyMs: 86_400_000,
  /** Uses of tokens are written together, so often, and at once when so many tokens were used. */
  lastUsedFlushMs: 60_000,
  lastUsedTokens: 1_000,
  reapRows: 50,
  reapEveryMs: 1_000,
  /** When wall time and elapsed time drift apart by more than this, the clock has jumped. */
  clockJumpMs: 5_000,
  /** After a jump, what was alive before it gets this long to be renewed. */
  clockGraceMs: 30_000,
  /** SQLite's own busy timeout blocks the database thread, so it is short and the mailbox retries (D-015). */
  busyMs: 50,
  busyGiveUpMs: 10_000,
  /** While calls wait: how often to look for commits of other processes. */
  dataVersionPollMs: 200,
  /** PostgreSQL: transactions that run at once, each on a connection of its own; one connection more listens. */
  connections: 4,
  connectMs: 5_000,
  /** The longest that one statement may take. */
  statementMs: 10_000,
  /** How long a call waits for a row that another process has locked; the second while it shares a transaction with others. */
  lockMs: 2_000,
  groupLockMs: 100,
  /** Calls that wait run again this often, should a notification have been lost. */
  rewakeMs: 5_000,
  /** Not ready when less than this can still be stored, or a queue is fuller than this share of its limit, in percent (D-059). */
  leftBytesMin: 16 * 1024 * 1024,
  queuePercentMax: 90,
  /** After a write that could not be stored: how often to try again whether one can. */
  probeEveryMs: 1_000,
  /** The database thread beats so often, and is stuck when it has not for so long. */
  beatEveryMs: 250,
  stuckMs: 10_000,
  /** A call that names no `timeoutMs`; an operation that waits adds its wait. */
  callMs: 30_000,
  /** After a cancel or a deadline: how long the client waits to learn what became of the call (D-011). */
  settleGraceMs: 250,
  /** After the database thread has died, how long starting another one may take before the store counts as dead; it is tried on and on (D-019). */
  replaceMs: 30_000,
  closeMs: 10_000,
} as const;

export type Limits = { readonly [Name in keyof typeof defaultLimits]: number };

/** A longer timer fires at once: https://nodejs.org/api/timers.html#settimeoutcallback-delay-args */
export const timerMsMax = 2 ** 31 - 1;

/** A client's calls that were made and not answered. */
export interface QueueLoad {
  readonly calls: number;
  readonly bytes: number;
}

/**
 * Returns the error with which a client's queue refuses more calls, or undefined when they fit. The client checks it before it sends, and
 * the mailbox again, because a port is not trusted.
 */
export function overloadOf(
  queued: QueueLoad,
  added: QueueLoad,
  { queueCalls, queueBytes, groupCalls, groupMs }: Limits,
  operation?: string,
): StoreError | undefined {
  if (queued.calls + added.calls <= queueCalls && queued.bytes + added.bytes <= queueBytes) return undefined;
  const retryAfterMs = Math.ceil((queued.calls / groupCalls + 1) * groupMs);
  return new StoreError("overloaded", undefined, {
    details: { retryAfterMs, queuedCalls: queued.calls, queuedBytes: queued.bytes },
    ...(operation === undefined ? {} : { operation }),
  });
}

/** Fails invalid_input. */
export function checkLimits(limits: Partial<Limits> = {}): Limits {
  for (const [name, value] of Object.entries(limits)) {
    if (!(name in defaultLimits)) throw new StoreError("invalid_input", `limits: there is no limit ${name}`);
    const [least, most] = name.endsWith("Ms")
      ? [0, timerMsMax]
      : [name === "parkedCalls" ? 0 : 1, Number.MAX_SAFE_INTEGER];
    if (Number.isSafeInteger(value) && value >= least && value <= most) continue;
    throw new StoreError(
      "invalid_input",
      `limits.${name}: expected a whole number from ${least} to ${most}, not ${value}`,
    );
  }
  const all = { ...defaultLimits, ...limits };
  // Half of a log's limit is kept for its end, and must hold more than one chunk.
  if (all.logBytes < 262_144) throw new StoreError("invalid_input", "limits.logBytes: expected at least 262 144");
  return all;
}
