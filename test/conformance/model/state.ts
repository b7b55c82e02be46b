// The state of the model: plain rows in memory, in the form in which the store returns them, with times as whole ticks.
// The rules of the entities are in the files beside this one. They are written from the documentation of the
// operations, without their code: what both say independently is tested.
import type { ErrorCode, Store } from "../../../src/index.ts";
import { defaultRetention } from "../../../src/model/retention.ts";
import type { Stored } from "./keys.ts";

/**
 * The unit of time in the model. All times that steps ask for are multiples of it, and a run takes less real time than
 * one tick. So which of two times comes first follows from their ticks, although the clock of a store also goes on by
 * itself.
 */
export const tickMs = 600_000;

/** The time of waiting that one step of priority is worth: more than a run takes, and less than a tick. */
export const priorityStepMs = 60_000;

/** The limits of the tested store that are times, in whole ticks. */
export const limits = {
  stopGraceMs: 2 * tickMs,
  runnerGoneMs: 5 * tickMs,
  idempotencyMs: 8 * tickMs,
  fileGraceMs: tickMs,
} as const;

type Awaited1<Call extends (...args: never[]) => unknown> = NonNullable<Awaited<ReturnType<Call>>>;
/** A row as the store returns it, with ticks in place of times. */
type InTicks<Value> = {
  [Key in keyof Value]: Value[Key] extends Date ? number : Value[Key] extends Date | null ? number | null : Value[Key];
};
type RowOf<Entity extends keyof Store> = Store[Entity] extends { get: infer Get extends (...args: never[]) => unknown }
  ? InTicks<Awaited1<Get>>
  : never;

export type Repository = RowOf<"repositories">;
export type Runner = RowOf<"runners">;
export type Account = RowOf<"accounts">;
export type Artifact = RowOf<"artifacts">;
export type Patch = RowOf<"patches">;
export type Attempt = InTicks<Awaited1<Store["commands"]["attempts"]>[number]>;
/** The part of a row that the store keeps and does not return. The answers of the model leave it out. */
export type Worktree = RowOf<"worktrees"> & {
  readonly hidden: {
    /** The fencing tokens under which the facts were reported. */
    readonly commitFence: number | null;
    readonly environmentFence: number | null;
    readonly endedFrom: string | null;
  };
};
/** `readyFrom`: the time from which the head of the queue counts as waiting, when a runner may claim it. */
export type Session = RowOf<"sessions"> & { readonly hidden: { readonly readyFrom: number | null } };
/** `confirmedFence`: the fencing token that its runner has shown with a heartbeat. */
export type Command = RowOf<"commands"> & { readonly hidden: { readonly confirmedFence: number } };

/** `hasGivenUpName`: another token has its name. */
export type Token = InTicks<Awaited1<Store["tokens"]["mint"]>["token"]> & {
  readonly hidden: { readonly hasGivenUpName: boolean };
};

export type DiscardedFile = InTicks<Awaited1<Store["files"]["claim"]>["files"][number]>;

export interface Chunk {
  readonly offset: number;
  readonly stream: string;
  readonly at: number;
  readonly text: string;
}

/** A row of the change feed, without its number, its detail and the caller, which the feed of a step adds. */
export interface Change {
  readonly entity: string;
  readonly entityId: string;
  readonly op: string;
  readonly entityVersion: number;
  readonly fence: number | null;
  readonly sessionId: string | null;
  /** The ids of what retention has removed: of all steps of a call together, which stand in the model as one row. */
  readonly ids?: readonly string[];
}

/** A registered consumer of the change feed. The store chooses its id, so it has its name in place of one. */
export type Consumer = Omit<InTicks<Awaited1<Store["changes"]["consumers"]>["consumers"][number]>, "lag" | "lagMs">;

/** The change feed: the number up to which it was pruned, and the times of the rows after that. */
export interface Feed {
  readonly floor: number;
  readonly times: readonly number[];
}

/** The number of rows of a kind that retention has removed so far. */
export interface Pruned {
  readonly rows: number;
  readonly version: number;
  readonly at: number;
}

/** A failure that the contract asks for. Its details are some of those of the store's error. */
export class Failure extends Error {
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>>;
  /** True for a call that found nothing yet: what it did on the way, such as ending expired leases, stays. */
  readonly keepsChanges: boolean;
  constructor(code: ErrorCode, details: Readonly<Record<string, unknown>> = {}, keepsChanges = false) {
    super(code);
    this.code = code;
    this.details = details;
    this.keepsChanges = keepsChanges;
  }
}

/** Decides what the contract leaves open: which of several rows that are equally good the store takes. */
export interface Choices {
  of<Row extends { readonly id: string }>(candidates: readonly Row[]): Row | undefined;
}

const tables = [
  "files",
  "patches",
  "repositories",
  "runners",
  "worktrees",
  "sessions",
  "commands",
  "attempts",
  "logs",
  "artifacts",
  "accounts",
  "tokens",
  "consumers",
  "pruned",
  "marks",
] as const;

export class State {
  now = 0;
  /** True once the clock was set back: from then on the order of waiting is not checked. */
  wasSetBack = false;
  repositories: ReadonlyMap<string, Repository> = new Map();
  runners: ReadonlyMap<string, Runner> = new Map();
  worktrees: ReadonlyMap<string, Worktree> = new Map();
  sessions: ReadonlyMap<string, Session> = new Map();
  commands: ReadonlyMap<string, Command> = new Map();
  /** The attempts of each command, the first one first. */
  attempts: ReadonlyMap<string, readonly Attempt[]> = new Map();
  /** The logs of attempts, by the id of the command and the number of the attempt. */
  logs: ReadonlyMap<string, readonly Chunk[]> = new Map();
  artifacts: ReadonlyMap<string, Artifact> = new Map();
  files: ReadonlyMap<string, DiscardedFile> = new Map();
  patches: ReadonlyMap<string, Patch> = new Map();
  accounts: ReadonlyMap<string, Account> = new Map();
  tokens: ReadonlyMap<string, Token> = new Map();
  consumers: ReadonlyMap<string, Consumer> = new Map();
  pruned: ReadonlyMap<string, Pruned> = new Map();
  /** The number of marks in the log of each session. */
  marks: ReadonlyMap<string, number> = new Map();
  retention: InTicks<Awaited1<Store["maintenance"]["retention"]>> = {
    ...defaultRetention,
    version: 0,
    updatedAt: null,
  };
  /** The calls with idempotency keys that have run, by operation, actor and key. */
  keys: ReadonlyMap<string, Stored> = new Map();
  /** The ids of tokens, by those of their secrets that an answer has shown. */
  secrets: ReadonlyMap<string, string> = new Map();
  changes: readonly Change[] = [];
  feed: Feed = { floor: 0, times: [] };
  choices: Choices = { of: ([first]) => first };

  /** Returns a copy. Rows and tables are never changed in place, so it shares them. */
  copy(): State {
    return Object.assign(new State(), this);
  }

  put<Table extends (typeof tables)[number]>(
    table: Table,
    key: string,
    row: State[Table] extends ReadonlyMap<string, infer Row> ? Row : never,
  ): void {
    (this as Record<string, unknown>)[table] = new Map<string, unknown>(this[table]).set(key, row);
  }

  remove(table: (typeof tables)[number], key: string): void {
    const rows = new Map<string, unknown>(this[table]);
    rows.delete(key);
    (this as Record<string, unknown>)[table] = rows;
  }

  /** Keeps the secret of a new token, which only the answer tells. */
  learn(answer: unknown): void {
    const { token, secret } = (answer ?? {}) as { readonly token?: { readonly id: string }; readonly secret?: string };
    if (token !== undefined && secret !== undefined) this.secrets = new Map(this.secrets).set(secret, token.id);
  }

  change(entity: string, row: { id: string; version: number; fence?: number | null }, op: string, sessionId?: string) {
    const { id: entityId, version: entityVersion, fence = null } = row;
    this.announce({ entity, entityId, op, entityVersion, fence: fence ?? null, sessionId: sessionId ?? null });
  }

  /** Adds a change to the feed, which may have several rows of it. */
  announce(change: Change, rows = 1): void {
    this.changes = [...this.changes, change];
    const { floor, times } = this.feed;
    this.feed = { floor, times: [...times, ...Array<number>(rows).fill(this.now)] };
  }
}

/** Returns the row of this id, or fails with `not_found`. */
export function get<Row>(rows: ReadonlyMap<string, Row>, entity: string, id: string): Row {
  const row = rows.get(id);
  if (row === undefined) throw new Failure("not_found", { entity, id });
  return row;
}

export function requireVersion(row: { readonly version: number }, expected: number | undefined): void {
  if (expected !== undefined && expected !== row.version)
    throw new Failure("conflict", { reason: "version", currentVersion: row.version });
}

export function requireState(entity: string, row: { readonly state: string }, states: readonly string[]): void {
  if (!states.includes(row.state)) throw new Failure("invalid_transition", { entity, state: row.state });
}

/** Returns the rows that have the smallest value. */
export function smallest<Row>(rows: readonly Row[], keyOf: (row: Row) => number): readonly Row[] {
  const least = Math.min(...rows.map(keyOf));
  return rows.filter((row) => keyOf(row) === least);
}

/** Returns the rows in an order that the contract leaves open. */
export function inAnyOrder<Row extends { readonly id: string }>(state: State, rows: readonly Row[]): readonly Row[] {
  const next = state.choices.of(rows);
  return next === undefined
    ? []
    : [
        next,
        ...inAnyOrder(
          state,
          rows.filter((row) => row !== next),
        ),
      ];
}

export const stamped = (now: number) => ({ version: 1, createdAt: now, updatedAt: now });

/** Returns the row with these changes, its version raised. */
export function raised<Row extends { readonly version: number }>(row: Row, changes: Partial<Row>, now: number): Row {
  return { ...row, ...changes, version: row.version + 1, updatedAt: now };
}
