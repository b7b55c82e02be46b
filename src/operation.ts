// The vocabulary of operations: what an operation is, how one is defined, and how its input travels. No I/O.
import type { z } from "zod";
import type { Caller, EnvelopeKey } from "./caller.ts";
import type { Context } from "./context.ts";
import { type Details, type ErrorCode, StoreError } from "./errors.ts";
import { bounds } from "./limits.ts";
import type { Codec } from "./model/codec.ts";
import type { BlockAddress, ExamineDepth, Examined, StoredChunk } from "./model/logBlocks.ts";
import { quickCheck, unsure } from "./model/quickCheck.ts";
import { storedForm } from "./model/storedForm.ts";
import type { Body } from "./sql.ts";

export type Access = "read" | "write";
/**
 * The priority of a call among those of its client: urgent calls run first, background calls last. Each lane has its share
 * of the client's time (D-012).
 */
export type Lane = "urgent" | "normal" | "background";
/**
 * The most that a call reads: a few rows, a page with bounds, or as much as the store holds. Reads of pages and of the
 * whole store may run on a reader, beside the writes (D-115).
 */
export type Extent = "rows" | "page" | "whole";

/** One operation as plain data: its contract, its body, and how its input and result travel. */
export interface Operation<Input = unknown, Output = unknown, Item = never> {
  readonly access: Access;
  readonly lane: Lane;
  /** The entities, besides its own, whose earlier calls it must not overtake when it is urgent. */
  readonly follows: readonly string[];
  /** The codes that the body may fail with, besides those of every operation. */
  readonly errors: readonly ErrorCode[];
  /** The fields of the input in the order in which they travel. */
  readonly keys: readonly string[];
  /** The schema of the caller's input. */
  readonly inputSchema: z.ZodObject;
  readonly output: Codec<unknown>;
  /**
   * Splits the caller's input into the part to send and the part that stays on the caller's thread for `open`. Runs on
   * the caller's thread before `encode`. Fails with `invalid_input`.
   */
  seal(publicInput: Input): Sealed<unknown>;
  /** Completes the decoded output with the local part. Runs on the caller's thread. */
  open(output: unknown, localPart: unknown): Output;
  /**
   * Validates the input, fills in defaults and encodes it on the caller's thread, as a new list. Fails with
   * `invalid_input`.
   */
  encode(wireInput: unknown): unknown[];
  /** Checks the bounds again on an input that has arrived (D-009), and decodes it. Fails with `invalid_input`. */
  decode(wire: unknown): never;
  run(input: never, context: Context): Body<unknown>;
  /**
   * Returns one name for everything that the call reads and writes, if there is one. Calls with different names touch
   * no common row (D-043).
   */
  touches(input: never): string | undefined;
  /**
   * Returns the largest size of the result in bytes, or 0 where a result is at most one row. `limits.resultBytes` bounds
   * the sum over the calls of a client in one group.
   */
  resultBytes(input: never): number;
  /** Returns the most that the call reads. On a reader, its body can neither wait nor record the use of a token. */
  extent(input: never): Extent;
  /** True when the body reads `changes`, whose rows are written last in a transaction. */
  readonly readsChanges: boolean;
  /** True when the body shows the state of the server, which a reader must be told. */
  readonly showsServer: boolean;
  /**
   * True when calls may be parked, depending on their input. Such a call travels alone, so that no answer waits for it.
   */
  readonly waits: boolean;
  /** Returns the time for which a call with this input may be parked, in milliseconds. */
  waitMs(input: never): number;
  /**
   * Present on operations that leave something behind when their caller stops waiting: returns the call that a client
   * then makes to take it back.
   */
  readonly givenUp: ((input: never) => FollowingCall) | undefined;
  /**
   * The field with the id of the row that the call creates, when that call waits: a repetition with the same idempotency
   * key has to find the row while the first call still waits, and no answer is stored yet.
   */
  readonly idOfKey: string | undefined;
  /** Present on operations that a client turns into an iteration over pages, finite or endless. */
  readonly stream: Stream<Input, Output, Item> | undefined;
  /** Present on operations that work in steps: the client calls again with the returned input until there is none. */
  readonly again: ((input: Input, output: Output) => Input | undefined) | undefined;
  /** Present on operations whose neighbouring calls a client may join into one; works on encoded inputs. */
  readonly joining: Joining<readonly unknown[]> | undefined;
}

// biome-ignore lint/suspicious/noExplicitAny: an operation is invariant in its input; only `any` admits every one.
export type AnyOperation = Operation<any, any, any>;

/** A call that follows another one: the name of its operation and its input. */
export type FollowingCall = readonly [name: string, input: object];

/** Operations by entity and verb. */
export type OperationTable = Readonly<Record<string, Readonly<Record<string, AnyOperation>>>>;

/** A call whose input has been checked. */
export interface Call {
  readonly name: string;
  readonly operation: AnyOperation;
  readonly input: never;
  readonly caller: Caller;
  /** The time for which the call may be parked. */
  readonly waitMs: number;
  /** The blocks of archived logs that were fetched for this call, by name. */
  readonly blocks?: ReadonlyMap<string, readonly StoredChunk[]> | undefined;
  /** The blocks that were examined for this call. */
  readonly examined?: Examined | undefined;
  /** The idempotency key of all calls of the job; only its first call carries one. */
  readonly envelopeKey?: EnvelopeKey | undefined;
}

/** The further conditions under which a parked call runs again. */
export interface Parked {
  /** The time after which it runs again by itself. */
  readonly againMs?: number | undefined;
  /** The kinds of topics of which a touched one wakes one of the calls that wait for this kind (D-102). */
  readonly kinds?: readonly string[] | undefined;
}

/**
 * The result of a body that found nothing yet. The call is parked and runs again after a commit that touched one of its
 * topics (D-013); when its wait is over, `atTimeout` is the answer.
 */
export class NotYet<Result> {
  readonly topics: readonly string[];
  readonly atTimeout: Result;
  readonly parked: Parked;
  constructor(topics: readonly string[], atTimeout: Result, parked: Parked = {}) {
    this.topics = topics;
    this.atTimeout = atTimeout;
    this.parked = parked;
  }
}

/**
 * The result of a body that found only what other transactions have locked, which is no proof that there is nothing
 * (D-105). The call is put back and runs again soon, whether it waits or not. When that takes too long, it fails with
 * `busy`.
 */
export class Held extends NotYet<StoreError> {
  constructor(topics: readonly string[], what: string) {
    super(topics, new StoreError("busy", `other transactions have locked ${what} for too long`));
  }
}

/** The cause with which a body ends that needs blocks of archived logs (D-119). */
export class BlocksNeeded {
  readonly blocks: readonly BlockAddress[];
  /** The depth to which they are examined, when the body needs their faults and not their contents. */
  readonly depth: ExamineDepth | undefined;
  constructor(blocks: readonly BlockAddress[], depth: ExamineDepth | undefined) {
    this.blocks = blocks;
    this.depth = depth;
  }
}

/**
 * Ends the body, so that it runs again with these blocks in its context. It ends with a failure, which undoes all calls
 * of its job. Where there is no archive, that failure is the answer. With a depth the body runs again with the faults of
 * the blocks, or with the knowledge that there is no archive.
 */
export function endForBlocks(blocks: readonly BlockAddress[], depth?: ExamineDepth): never {
  throw new StoreError("incompatible", "the log is in an archive: open the store with `logArchive`", {
    cause: new BlocksNeeded(blocks, depth),
    details: { reason: "log_archive" },
  });
}

/** Joins neighbouring calls into one (D-007). Each of them gets the joined answer, so it must be true of each. */
export interface Joining<Input> {
  /** The codes with which the joined call may fail although a part would succeed: then each part is sent by itself. */
  readonly separateOn: readonly ErrorCode[];
  /** Checks whether `next` continues where `last` ends, in a run of calls that begins with `first`. */
  follows(next: Input, last: Input, first: Input): boolean;
  join(run: readonly Input[]): Input;
}

/** An input split in two: `wireInput` travels, `localPart` never leaves the caller's thread. */
export interface Sealed<WireInput> {
  readonly wireInput: WireInput;
  readonly localPart?: unknown;
}

/** The two functions that keep a part of a call on the caller's thread (D-049). */
export interface Sealing<PublicInput, WireInput, Output, Result> {
  /** Splits an input that has passed the schema. */
  seal(publicInput: PublicInput): Sealed<WireInput>;
  /** Completes the answer with the local part. Without it, the answer is returned as it arrives. */
  open?(output: Output, localPart: unknown): Result;
}

/** Turns the answers of an operation into an iteration: the client calls again until there is no next input. */
export interface Stream<Input, Output, Item> {
  items(page: Output): readonly Item[];
  /** Returns the input of the next page, or undefined when the iteration has ended. */
  next(input: Input, page: Output): Input | undefined;
}

interface Definition<Schema extends z.ZodObject, Output, Raw, Item> {
  readonly access: Access;
  readonly lane?: Lane;
  readonly follows?: readonly string[];
  readonly input: Schema;
  readonly output: Codec<Output, Raw>;
  readonly errors: readonly ErrorCode[];
  readonly touches?: (input: z.output<Schema>) => string;
  readonly resultBytes?: (input: z.output<Schema>) => number;
  /** Without it, a list reads a page, and any other operation a few rows. */
  readonly extent?: (input: z.output<Schema>) => Extent;
  readonly readsChanges?: boolean;
  readonly showsServer?: boolean;
  run(input: z.output<Schema>, context: Context): Body<NoInfer<Raw> | NotYet<NoInfer<Raw> | StoreError>>;
  readonly waitMs?: (input: z.output<Schema>) => number;
  readonly givenUp?: (input: z.output<Schema>) => FollowingCall;
  readonly idOfKey?: keyof z.input<Schema> & string;
  readonly stream?: Stream<z.input<Schema>, Output, Item>;
  readonly again?: (input: z.input<Schema>, output: Output) => z.input<Schema> | undefined;
  readonly joining?: Joining<z.output<Schema>>;
}

/** Defines an operation. */
export function operation<Schema extends z.ZodObject, Output, Raw, Item = never>(
  definition: Definition<Schema, Output, Raw, Item>,
): Operation<z.input<Schema>, Output, Item> {
  const {
    access,
    lane = "normal",
    follows = [],
    input,
    output,
    errors,
    run,
    touches,
    resultBytes,
    extent,
    readsChanges = false,
    showsServer = false,
    waitMs,
    givenUp,
    idOfKey,
    stream,
    again,
    joining,
  } = definition;
  const keys = Object.keys(input.shape);
  const isList = keys.includes("cursor");
  const parseInput = parser(() => input);
  const parseStored = parser(() => storedForm(input));
  const wireOf = (value: unknown): unknown[] => {
    const wire: unknown[] = new Array(keys.length);
    for (let i = 0; i < keys.length; i++) wire[i] = (value as Record<string, unknown>)[keys[i] as string];
    return wire;
  };
  const inputOf = (wire: readonly unknown[]): Record<string, unknown> => {
    const value: Record<string, unknown> = {};
    for (let i = 0; i < wire.length; i++) if (wire[i] !== undefined) value[keys[i] as string] = wire[i];
    return value;
  };
  return {
    access,
    lane,
    follows,
    errors,
    keys,
    inputSchema: input,
    output: output as Codec<unknown>,
    seal: (value) => ({ wireInput: value }),
    open: (value) => value as Output,
    encode: (value) => wireOf(parseInput(value)),
    decode(wire) {
      if (!Array.isArray(wire) || wire.length > keys.length)
        throw new StoreError("invalid_input", `input: expected a list of at most ${keys.length} values`);
      return parseStored(inputOf(wire)) as never;
    },
    run: run as Operation["run"],
    touches: (touches ?? (() => undefined)) as Operation["touches"],
    resultBytes: (resultBytes ?? (() => (isList ? bounds.pageBytes : 0))) as Operation["resultBytes"],
    extent: (extent ?? (() => (isList ? "page" : "rows"))) as Operation["extent"],
    readsChanges,
    showsServer,
    waits: waitMs !== undefined,
    waitMs: (waitMs ?? (() => 0)) as Operation["waitMs"],
    givenUp: givenUp as Operation["givenUp"],
    idOfKey,
    stream: stream as Stream<z.input<Schema>, Output, Item> | undefined,
    again,
    joining: joining && {
      separateOn: joining.separateOn,
      follows: (next, last, first) =>
        joining.follows(inputOf(next) as never, inputOf(last) as never, inputOf(first) as never),
      join: (run) => wireOf(joining.join(run.map((wire) => inputOf(wire) as never))),
    },
  };
}

/**
 * Defines an operation that keeps a part of its `publicInput` on the caller's thread. `input` is the schema of the part
 * that is sent.
 */
export function sealedOperation<Public extends z.ZodObject, Schema extends z.ZodObject, Output, Raw, Result = Output>(
  definition: Definition<Schema, Output, Raw, never> & { readonly publicInput: Public } & Sealing<
      z.output<Public>,
      z.input<Schema>,
      Output,
      Result
    >,
): Operation<z.input<Public>, Result> {
  const { publicInput, seal, open, ...rest } = definition;
  const parsePublic = parser(() => publicInput);
  const sent = operation(rest) as unknown as Operation<z.input<Public>, Result>;
  return {
    ...sent,
    inputSchema: publicInput,
    seal: (input) => seal(parsePublic(input) as z.output<Public>),
    open: open === undefined ? sent.open : (output, localPart) => open(output as Output, localPart),
  };
}

/**
 * Returns the function that checks a value against the schema. It fails with `invalid_input`. The schema is asked for
 * when the first value is checked, because a thread calls few of the operations that it loads.
 */
function parser(schemaOf: () => z.ZodType): (value: unknown) => unknown {
  let schema: z.ZodType | undefined;
  let check: ((value: unknown) => unknown) | undefined;
  return (value) => {
    schema ??= schemaOf();
    check ??= quickCheck(schema);
    const accepted = check(value);
    return accepted === unsure ? parse(schema, value) : accepted;
  };
}

function parse(schema: z.ZodType, value: unknown): unknown {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issues = result.error.issues.map(({ path, message }) => ({ path: path.join("."), message }));
  const [head] = issues;
  const where = head?.path === "" || head === undefined ? "input" : head.path;
  throw new StoreError("invalid_input", `${where}: ${head?.message ?? "invalid"}`, {
    details: { issues: issues.slice(0, 20) },
  });
}

/** Ends the body with an expected failure, and undoes all that the body did. */
export function fail(code: ErrorCode, details?: Details, message?: string): never {
  throw new StoreError(code, message, { details });
}
