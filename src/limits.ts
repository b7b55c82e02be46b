// Every number that bounds the store, and the checks of those that a caller sets.
import { StoreError } from "./errors.ts";

/** The bounds of inputs. They are part of the contract: the same for every caller and engine. */
export const bounds = {
  /** The largest JSON value of one column, as text. */
  jsonBytes: 256 * 1024,
  jsonDepth: 32,
  jsonKeys: 10_000,
  /** The longest number, as text. Reading a bigint takes time that grows with the square of its length. */
  jsonNumberLength: 1_000,
  logChunkBytes: 64 * 1024,
  logReadBytes: 1024 * 1024,
  /** The marks in the log of a session, and the longest text of one. All of them are deleted in a few steps. */
  logMarks: 1_000,
  logMarkLength: 1_000,
  /** The size of the JSON and the long texts of one page. A page of more ends earlier, after at least one row. */
  pageBytes: 1024 * 1024,
  pageRows: 50,
  /** The consumers of the change feed that a store knows: each takes a search to list, and may hold up pruning. */
  feedConsumers: 100,
  pageRowsMax: 500,
  /** The longest topic of an event of the application, and the longest id that it names. */
  topicLength: 100,
  entityIdLength: 200,
  /** The size of the detail of an event, as JSON: an event names a thing, and is copied to every reader of the feed. */
  eventBytes: 16 * 1024,
  /** The tokens that end with one session: its end ends all of them in one transaction. */
  sessionTokensMax: 100,
  leaseMsMin: 1_000,
  leaseMsMax: 86_400_000,
  waitMsMax: 86_400_000,
  /** The parts of one stop that are stored. The rest is left out, and counted where it was. */
  debugThreads: 64,
  /** The threads of a process that a debug session knows. */
  debugKnownThreads: 256,
  /** The breakpoints that one stop names, and the frames that are marked as stale one by one. */
  debugHits: 100,
  debugStaleFrames: 100,
  /** The size of the frames of all threads that are stopped, as JSON. */
  debugThreadBytes: 1024 * 1024,
  /** The names of events that a debug session counts apart; the events of further names are counted together. */
  debugEventNames: 50,
  /** The size of the capabilities of an adapter up to which an event may add some, as JSON. */
  debugCapabilityBytes: 64 * 1024,
  debugFrames: 50,
  debugScopes: 10,
  /** The variables of one scope, or of one variable that has parts, and the depth to which parts are stored. */
  debugVariables: 100,
  debugVariableDepth: 4,
  /** The longest value, name or message of a debugger. */
  debugTextLength: 1_024,
  /** The longest output of one event. */
  debugOutputLength: 8_192,
  /** The size of all threads of one call, as JSON. */
  debugStopBytes: 128 * 1024,
  /** The size of the body of one event, as JSON. */
  debugEventBytes: 32 * 1024,
  debugBreakpoints: 1_000,
  /** The breakpoints of which an adapter has reported something before they were bound. */
  debugEarlyReports: 100,
  /** The requests of one debug session that are not answered yet. All of them fail together when its adapter ends. */
  debugRequests: 100,
  /** The size of the arguments of one request, and of the body of one answer, as JSON. */
  debugArgumentBytes: 16 * 1024,
  debugAnswerBytes: 64 * 1024,
  /** The size of all breakpoints of a debug session, as JSON. */
  debugBreakpointBytes: 1024 * 1024,
  /** The longest actor and the longest request id. */
  callerLength: 200,
  /** The longest idempotency key. */
  keyLength: 200,
  /** The longest label, and the labels that one command, or one session, requires of runners. */
  labelLength: 200,
  requiredLabels: 16,
  /** The size of these labels together, because they are a part of the key of an index. */
  requiredBytes: 1_000,
  /** The sets of labels that commands which have not ended require in all. A claim may look at each of them. */
  labelSets: 100,
  /** The labels of one session, and those by which a list finds sessions. */
  sessionLabels: 32,
  filterLabels: 8,
} as const;

/** The bounds of a store with their defaults, settable with `openStore({ limits })`. */
export const defaultLimits = {
  /**
   * The size of one message, roughly: strings and bytes by their length, 8 bytes for each value, field names not at
   * all.
   */
  envelopeBytes: 8 * 1024 * 1024,
  /**
   * The time after the end of an attempt at which its log moves to the log archive. Most reads of a log come before, and
   * find it in the database.
   */
  logArchiveAfterMs: 3_600_000,
  /** The interval at which a server looks for logs to move to the log archive. */
  logArchiveEveryMs: 60_000,
  /** The time that the log archive has to answer a read; much less than `callMs`, so that the reader learns why. */
  logArchiveReadMs: 10_000,
  /**
   * The time after which the move of a log, or the deletion of its object, has failed, and may be taken over. The archive
   * has half of it to store an object.
   */
  logMoveMs: 120_000,
  /** The size of the blocks of archived logs that are kept in memory after a read, for the next page. */
  logCacheBytes: 8 * 1024 * 1024,
  /** The size of one attempt's log. Beyond it the middle of the log is cut out. */
  logBytes: 16 * 1024 * 1024,
  /** The number of calls of one client that are not answered yet. */
  queueCalls: 10_000,
  /** The size of the calls of one client that are not answered yet, counted as `envelopeBytes`. */
  queueBytes: 16 * 1024 * 1024,
  /**
   * The size that the results of one client's calls may have in one group, by estimate. Calls beyond it run in the next
   * one. Also the size of all that one transaction may return.
   */
  resultBytes: 64 * 1024 * 1024,
  /**
   * The number of statements that the calls of one `atomically` run together, besides those that record changes. A row
   * that is written takes one to three; a statement that inserts several rows counts as one for each.
   */
  transactionStatements: 2_000,
  /** The number of commands of one session that wait to be claimed. All of them end with the session, at once. */
  queuedCommands: 1_000,
  /** The number of calls of one client that wait for something to happen. */
  parkedCalls: 1_000,
  /** The number of calls after which a transaction takes no further one (D-003). */
  groupCalls: 512,
  /** The time after which a transaction takes no further call (D-003). */
  groupMs: 5,
  /** The number of events that a debug session keeps. */
  debugEvents: 1_000,
  /** The number of entries that the history of a debug session keeps. */
  debugHistory: 1_000,
  /** The number of stops of a debug session, back from the last one, whose frames and variables are kept. */
  debugStopEpochs: 200,
  /** The time for which a runner without heartbeats is `stalled` before it is `gone`. */
  runnerGoneMs: 300_000,
  /**
   * The time that a runner has to stop a command, from its timeout or cancellation; then the store ends it (D-079). Two
   * or three heartbeats, and the time to end a process.
   */
  stopGraceMs: 60_000,
  /** The time for which the answer to a call with an idempotency key is kept. */
  idempotencyMs: 86_400_000,
  /**
   * The time from which a file that is no longer needed is handed out to a collector. Longer than any transaction, so
   * that none which began before names the file again (D-111).
   */
  fileGraceMs: 60_000,
  /** The interval at which uses of tokens are written, together. */
  lastUsedFlushMs: 60_000,
  /** The number of used tokens after which their uses are written at once. */
  lastUsedTokens: 1_000,
  /** The number of rows of each kind that one pass of the reaper ends. */
  reapRows: 50,
  /** The time between two passes of the reaper; 0 turns it off. */
  reapEveryMs: 1_000,
  /** The time between two passes of the pruner, which removes what retention keeps no longer; 0 turns it off. */
  pruneEveryMs: 60_000,
  /**
   * The time for which a server that prunes keeps others of the same database from it. When it dies, another one takes
   * over after this time.
   */
  pruneLeaseMs: 30_000,
  /** The drift between wall time and elapsed time that counts as a jump of the clock, and the pause of the server. */
  clockJumpMs: 5_000,
  /** The time in which leases that were alive before a jump or a pause can be renewed. */
  clockGraceMs: 30_000,
  /** The number of idempotency keys that follow a jump or a pause, the newest first: to write millions takes too long. */
  clockKeys: 100_000,
  /**
   * The interval at which a server records that it serves, while something could expire. Two of them without such a
   * record mean, when a store is opened, that nobody served it (D-082).
   */
  servedEveryMs: 1_500,
  /**
   * The interval at which a server looks whether its SQLite file is still in its place, and whether another server has
   * opened it; 0 turns it off. Every write looks for the file too.
   */
  fileCheckEveryMs: 1_000,
  /** The size of SQLite's -wal file from which on another thread empties it (D-106). */
  walBytes: 64 * 1024 * 1024,
  /** The time without a commit after which SQLite's -wal file is emptied and cut (D-112). */
  walIdleMs: 5_000,
  /** The interval at which a server looks after its SQLite file: the WAL and the free space; 0 turns it off. */
  upkeepEveryMs: 1_000,
  /** The share of the time, in percent, in which a SQLite file may shrink while calls wait (D-113). */
  upkeepPercent: 10,
  /** The free space in a SQLite file from which on it shrinks, if that is more than a tenth of the file (D-113). */
  freeBytes: 4 * 1024 * 1024,
  /**
   * The time that reads of pages may take beside the writes, while no reader runs, before one is started (D-115). A few
   * short lists do not need a thread.
   */
  readerAfterMs: 20,
  /** The time without work after which a reader is ended; and in which the time before counts. */
  readerIdleMs: 60_000,
  /**
   * The time for which SQLite itself waits for a lock; short, because it blocks the thread. The mailbox retries
   * (D-015).
   */
  busyMs: 50,
  /** The time after which a call that waits for another process's lock fails with `busy`. */
  busyGiveUpMs: 10_000,
  /** The interval at which waiting calls look for commits of other processes. */
  dataVersionPollMs: 200,
  /** The number of PostgreSQL connections that run transactions, one at a time each. One more connection listens. */
  connections: 4,
  /** The time in which a connection to PostgreSQL must be established. */
  connectMs: 5_000,
  /** The longest time that one PostgreSQL statement may take. */
  statementMs: 10_000,
  /** The time for which a call waits for a row that another PostgreSQL transaction has locked. */
  lockMs: 2_000,
  /** The time for which a call that shares its transaction with others waits for such a row. */
  groupLockMs: 100,
  /** The interval at which waiting calls run again, in case a notification of PostgreSQL was lost. */
  rewakeMs: 5_000,
  /** The space below which the store is not ready (D-059). */
  leftBytesMin: 16 * 1024 * 1024,
  /** The fill level of a queue, in percent, from which on the store is not ready (D-059). */
  queuePercentMax: 90,
  /** The interval at which a write is tried after one could not be stored. */
  probeEveryMs: 1_000,
  /** The interval of the database thread's heartbeat. */
  beatEveryMs: 250,
  /** The time without a heartbeat after which the database thread is `stuck`. */
  stuckMs: 10_000,
  /** The deadline of a call without `timeoutMs`; the wait that its input asks for is added. */
  callMs: 30_000,
  /** The time for which a client waits, after a cancel or a deadline, to learn whether the call ran (D-011). */
  settleGraceMs: 250,
  /** The time in which a dead database thread must be replaced; after it the store counts as dead (D-019). */
  replaceMs: 30_000,
  /** The time for which closing a store waits for calls in flight. */
  closeMs: 10_000,
} as const;

export type Limits = { readonly [Name in keyof typeof defaultLimits]: number };

/**
 * The longest delay of a timer; a longer one fires at once:
 * https://nodejs.org/api/timers.html#settimeoutcallback-delay-args
 */
export const timerMsMax = 2 ** 31 - 1;

/** Fills in the defaults. Fails with `invalid_input` when a limit is unknown or out of range. */
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
  // Half of the limit is kept for the end of a log, and must hold more than one chunk.
  if (all.logBytes < 262_144)
    throw new StoreError("invalid_input", `limits.logBytes: expected at least 262144, not ${all.logBytes}`);
  return all;
}

/** Fails with `invalid_input` on a value that SQLite would take for no limit: all but whole numbers above 0. */
export function checkMaxBytes(maxBytes: number | undefined): number | undefined {
  if (maxBytes === undefined || (Number.isSafeInteger(maxBytes) && maxBytes > 0)) return maxBytes;
  throw new StoreError("invalid_input", `maxBytes: expected a whole number of at least 1, not ${maxBytes}`);
}

/** The most readers. Each is a thread, and more of them than processors win nothing. */
const readersMax = 16;

/** Fails with `invalid_input` on a number of readers that is out of range. */
export function checkReaders(readers: number): number {
  if (Number.isSafeInteger(readers) && readers >= 0 && readers <= readersMax) return readers;
  throw new StoreError("invalid_input", `readers: expected a whole number from 0 to ${readersMax}, not ${readers}`);
}
