// The events that a store reports besides the answers to calls, and the level at which each is logged.
import type { StoreError } from "./errors.ts";
import { messageOf } from "./model/realms.ts";
import type { ReapedIds } from "./model/reaped.ts";
import type { RetentionKind } from "./model/vocabulary.ts";

/** An event of the store that belongs to no call. */
export type StoreEvent =
  | { readonly type: "opened"; readonly epoch: number }
  /** A bug in this package, or damage to the database. The caller received the code, but not the cause. */
  | { readonly type: "fault"; readonly code: string; readonly message: string; readonly cause: string | undefined }
  | ({ readonly type: "reaped" } & ReapedIds)
  /**
   * A pass of the pruner has ended: the number of rows that went, by kind, and the consumers of the change feed that keep
   * rows beyond their time. A consumer that stays behind is reported once.
   */
  | {
      readonly type: "pruned";
      readonly rows: Readonly<Partial<Record<RetentionKind, number>>>;
      readonly heldBy: readonly string[];
    }
  | { readonly type: "message_refused"; readonly reason: string }
  /** A client sent nothing but messages that are no calls, so its port was closed. */
  | { readonly type: "client_cut_off"; readonly refused: number }
  /** A log has moved to the log archive. `logBytes` is its size with what was dropped from it. */
  | { readonly type: "log_archived"; readonly uri: string; readonly logBytes: number; readonly objectBytes: number }
  | FileEvent
  /** A reader has ended by itself. Its reads run again on another one. */
  | { readonly type: "reader_died"; readonly message: string }
  | { readonly type: "thread_died"; readonly message: string };

/** An event of the file of a SQLite database. */
export type FileEvent =
  /**
   * Another server has the same file open, in this process or in another one: move to PostgreSQL, or serve the file
   * once. `pid` and `host` are as the other server sees them, so two containers may have the same.
   */
  | { readonly type: "second_server"; readonly pid: number; readonly host: string }
  /**
   * The file, its -wal or its -shm was deleted, moved or replaced while the store had it open. Writes fail with
   * `file_lost` from now on, and the store is not ready.
   */
  | { readonly type: "file_lost"; readonly path: string; readonly reason: "gone" | "replaced" | "wal" }
  /**
   * Somebody has read one old state of the database for so long that its -wal file has grown large. It grows until they
   * are done. `readers` names them; it is empty where the system does not tell.
   */
  | {
      readonly type: "wal_pinned";
      readonly path: string;
      readonly walBytes: number;
      readonly readers: readonly WalReader[];
    }
  /**
   * The file was created without auto_vacuum, by another program, so it never gives space back by itself: run
   * debug-server-db maintenance compact.
   */
  | { readonly type: "vacuum_off"; readonly path: string };

/** A process that reads an old state of the database. */
export interface WalReader {
  /** `self`: this process. `backup`: a process that writes a backup. */
  readonly kind: "self" | "backup" | "process";
  readonly pid: number;
  /** The name of its program; null when that is hidden. */
  readonly command: string | null;
}

/** Builds the event that reports a fault with its cause. */
export function faultEvent({ code, message, cause }: StoreError): StoreEvent {
  return { type: "fault", code, message, cause: describe(cause) };
}

function describe(cause: unknown): string | undefined {
  const { stack } = (cause ?? {}) as { readonly stack?: unknown };
  if (typeof stack === "string") return stack;
  return cause === undefined ? undefined : messageOf(cause);
}

/** A logger, such as pino, as far as the store uses it. */
export interface Logger {
  info(details: object, message: string): void;
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
}

const levels: Record<StoreEvent["type"], keyof Logger> = {
  opened: "info",
  reaped: "info",
  pruned: "info",
  log_archived: "info",
  message_refused: "warn",
  client_cut_off: "error",
  second_server: "warn",
  wal_pinned: "warn",
  vacuum_off: "warn",
  file_lost: "error",
  reader_died: "error",
  fault: "error",
  thread_died: "error",
};

/** Returns the level at which an event is logged. */
export function levelOf({ type }: StoreEvent): keyof Logger {
  return levels[type];
}

export function logEvent(logger: Logger, event: StoreEvent): void {
  const { type, ...details } = event;
  logger[levelOf(event)](details, titleOf(event));
}

/** Returns an event as one line of text, and the cause of a fault, which has several. */
export function summaryOf(event: StoreEvent): { readonly text: string; readonly cause: string | undefined } {
  const { type: _, cause, ...details } = { cause: undefined, ...event };
  const parts = Object.entries(details).map(([name, value]) =>
    name === "message" ? String(value) : `${name} ${typeof value === "string" ? value : JSON.stringify(value)}`,
  );
  return { text: [titleOf(event), ...parts].join(": "), cause };
}

function titleOf({ type }: StoreEvent): string {
  return `debug-server-db: ${type.replaceAll("_", " ")}`;
}
