// The context of a body: its view of the transaction and of the server. Knows no operation or database.
import type { Uptime } from "./clock.ts";
import type { Details, ErrorCode } from "./errors.ts";
import type { Limits } from "./limits.ts";
import type { Distributions, Ended } from "./model/distributions.ts";
import type { Examined, StoredChunk } from "./model/logBlocks.ts";
import type { Usage } from "./model/usage.ts";
import type { CommandOutcome, UsageKind } from "./model/vocabulary.ts";

/** The view that a body has of its transaction. */
export interface Context {
  /** The time of the transaction; it stands still until the transaction ends. */
  readonly now: Date;
  readonly limits: Limits;
  readonly serverState: ServerState;
  /** The name of the caller, if the caller has one. */
  readonly actor: string | undefined;
  /** Returns the chunks in a block of an archived log, by its name, if they are at hand. */
  block(name: string): readonly StoredChunk[] | undefined;
  /** The faults of blocks that were examined for this call. */
  readonly examined?: Examined | undefined;
  /** Runs calls that wait on this topic again, after the commit. */
  wake(topic: string): void;
  /** Adds a row to `changes`, which is written last in the same transaction. */
  changed(change: Change): void;
  /**
   * Counts a row, or an amount, that was in the state `from` and is in the state `to`; undefined stands for a row that
   * did not exist before, or does not exist any more. Call it wherever such a state is written.
   */
  counted(entity: CountedEntity, from: string | undefined, to: string | undefined, amount?: number): void;
  /**
   * Records that a token was used. The use is written later, together with others, because a read cannot write; sooner if
   * no use of it is on record.
   */
  used(tokenId: string, isFirst: boolean): void;
  /** Adds what a command has used to the sums of its day, which are written last in the same transaction. */
  spent(use: Use): void;
  /** Adds to the figures of the server, once the call is committed. */
  measured(measure: Measure): void;
}

/** A time that a command has taken, in milliseconds: until it started, or from its start to its end. */
export type Measure =
  | { readonly what: "commandStart"; readonly ms: number }
  | { readonly what: "command"; readonly ms: number; readonly outcome: CommandOutcome };

/** The names of counters by state: of rows of these entities, and the bytes of sealed logs. */
export type CountedEntity =
  | "account"
  | "artifact"
  | "command"
  | "debug_request"
  | "debug_session"
  | "environment"
  | "file"
  | "log"
  | "log_bytes"
  | "patch"
  | "repository"
  | "runner"
  | "session"
  | "token"
  | "worktree";

/** An amount that is added to the counter of a state. */
export interface CountOf {
  readonly entity: CountedEntity;
  readonly state: string;
  readonly amount: number;
}

/** The use that a command has reported, and those for whom it ran. */
export interface Use {
  readonly of: readonly (readonly [kind: UsageKind, name: string])[];
  readonly at: Date;
  readonly durationMs: number;
  readonly usage: Usage;
}

/** One row of the audit log and change feed; it describes one row that changed. */
export interface Change {
  readonly entity: string;
  readonly id: string;
  readonly op: string;
  readonly version: number;
  readonly fence?: number | undefined;
  readonly sessionId?: string | null | undefined;
  /** Plain JSON data, small; never a secret. */
  readonly detail?: Details | undefined;
  /** The detail as the text of a JSON column, in place of `detail`. */
  readonly storedDetail?: string | undefined;
}

/** The server's figures about itself, for `maintenance.stats` and `maintenance.health`. */
export interface ServerState {
  readonly counts: Readonly<Record<string, number>>;
  readonly lanes: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly distributions: Distributions;
  readonly ended: Ended;
  /** The fill level of the fullest queue, from 0 to 1. */
  readonly queueFullness: number;
  readonly lastWrite: LastWrite | undefined;
  readonly database: DatabaseFacts;
  readonly uptime: Uptime | undefined;
}

/** The last transaction that wrote, or that failed to. */
export interface LastWrite {
  readonly agoMs: number;
  readonly failed: ErrorCode | undefined;
}

/** The state of the database as its driver knows it without a query. */
export interface DatabaseFacts {
  /** The newest schema revision that this code knows. */
  readonly schemaHead?: string;
  /** The reason why the database file takes no writes, as `details.reason` of their failure; null when it does. */
  readonly fileProblem?: string | null;
  /** The number of bytes that can still be stored; absent where only the database's server knows it. */
  readonly leftBytes?: number;
  /** Sizes, and settings as the database reports them. */
  readonly figures?: Readonly<Record<string, number | string>>;
}
