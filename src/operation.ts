// The vocabulary of operations: what an operation is, what its body is given, and how its input and result travel. No I/O.
import { z } from "zod";
import { type Details, type ErrorCode, StoreError } from "./errors.ts";
import { bounds, type Limits } from "./limits.ts";
import type { Codec } from "./model/codec.ts";
import { Json } from "./model/fields.ts";
import { isStorable, parseJson } from "./model/json.ts";
import type { Body } from "./sql.ts";

export type Access = "read" | "write";
/** Urgent calls go before a client's other calls; background calls after everybody's. */
export type Lane = "urgent" | "normal" | "background";

/** One row of the audit log and change feed, for one row changed. */
export interface Change {
  readonly entity: string;
  readonly id: string;
  readonly op: string;
  readonly version: number;
  readonly fence?: number | undefined;
  readonly sessionId?: string | null | undefined;
  /** Plain JSON data, small; never a secret. */
  readonly detail?: Details | undefined;
}

/** What the serving side knows of itself; for maintenance.stats and health. */
export interface ServerState {
  readonly counts: Readonly<Record<string, number>>;
  readonly lanes: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** How full the fullest queue is, of 1. */
  readonly queueFullness: number;
  readonly lastWrite: LastWrite | undefined;
  /** Of the database: what its driver can tell without asking anybody. */
  readonly database: DatabaseFacts;
}

/** The last transaction that wrote, or that could not. */
export interface LastWrite {
  readonly agoMs: number;
  readonly failed: ErrorCode | undefined;
}

export interface DatabaseFacts {
  /** The last revision that this code knows. */
  readonly schemaHead?: string;
  /** How much more can be stored; absent where only the server knows. */
  readonly leftBytes?: number;
  /** Sizes, and settings as they are really in force. */
  readonly figures?: Readonly<Record<string, number | string>>;
}

/** What a body knows besides its input. Time stands still within a transaction. */
export interface Context {
  readonly now: Date;
  readonly limits: Limits;
  readonly serverState: ServerState;
  /** Calls that wait on this topic run again after the commit. */
  wake(topic: string): void;
  /** Adds a row to `changes`, written last in the same transaction. */
  changed(change: Change): void;
  /** A token was used: written later, together with other uses, because a read cannot write. */
  used(tokenId: string): void;
}

/** Who asked, for the audit rows. */
export interface Caller {
  readonly actor: string | undefined;
  readonly requestId: string | undefined;
  /** Set when the same call made again is to have the same answer, and run once. */
  readonly idempotency: Idempotency | undefined;
}

export interface Idempotency {
  readonly key: string;
  /** SHA-256 of the caller's input before defaults, in hexadecimal. */
  readonly request: string;
}

export const nobody: Caller = { actor: undefined, requestId: undefined, idempotency: undefined };

/** All of it goes into rows, so it is text that both engines store. Fails invalid_input. */
export function checkCaller({ actor, requestId, idempotency }: Caller): void {
  for (const value of [actor, requestId] as readonly unknown[]) {
    if (value === undefined || (typeof value === "string" && value.length <= bounds.callerLength && isStorable(value)))
      continue;
    throw new StoreError(
      "invalid_input",
      `actor and requestId: expected text of at most ${bounds.callerLength} characters, without U+0000 or a lone surrogate`,
    );
  }
  if (idempotency === undefined) return;
  const { key, request } = idempotency as { key: unknown; request: unknown };
  if (typeof key !== "string" || key === "" || key.length > bounds.keyLength || !isStorable(key)) {
    throw new StoreError(
      "invalid_input",
      `idempotencyKey: expected text of 1 to ${bounds.keyLength} characters, without U+0000 or a lone surrogate`,
    );
  }
  if (typeof request !== "string" || !/^[0-9a-f]{64}$/.test(request))
    throw new StoreError("invalid_input", "idempotencyKey: expected a SHA-256 of the request");
}

/**
 * The result of a body that found nothing yet. The call is parked and runs again after a commit that touched one of its
 * topics (D-013); when its wait is over, `atTimeout` is the answer.
 */
export class NotYet<Result> {
  readonly topics: readonly string[];
  readonly atTimeout: Result;
  constructor(topics: readonly string[], atTimeout: Result) {
    this.topics = topics;
    this.atTimeout = atTimeout;
  }
}

export interface Operation<Input = unknown, Output = unknown, Item = never> {
  readonly access: Access;
  readonly lane: Lane;
  readonly errors: readonly ErrorCode[];
  /** The fields in the order in which they travel. */
  readonly keys: readonly string[];
  /** What the caller gives. */
  readonly inputSchema: z.ZodObject;
  readonly output: Codec<unknown>;
  /**
   * Splits the caller's input into the part to send and the part that stays on the caller's thread for `open`. Runs on the caller's thread
   * before `encode`. Fails with invalid_input.
   */
  seal(publicInput: Input): Sealed<unknown>;
  /** Completes the decoded output with the local part. Runs on the caller's thread. */
  open(output: unknown, localPart: unknown): Output;
  /** Validates the input in full, fills in defaults and encodes it. Runs on the caller's thread. Fails with invalid_input. */
  encode(wireInput: unknown): readonly unknown[];
  /** Before the body: the same bounds again, on what arrived (D-009). Fails invalid_input. */
  decode(wire: unknown): never;
  run(input: never, context: Context): Body<unknown>;
  /** Names all that the call reads and writes: calls with different names do not meet (D-043). Undefined when it is not so simple. */
  touches(input: never): string | undefined;
  /** How many bytes the result may have, where that is many; they are bounded per client. */
  resultBytes(input: never): number;
  /** Whether it reads `changes`, which are written last in a transaction. */
  readonly readsChanges: boolean;
  /** Whether a call may be parked, by its input; such a call travels alone, so that nothing else waits for its answer. */
  readonly waits: boolean;
  /** How long a call with this input may be parked, in milliseconds. */
  waitMs(input: never): number;
  /** Present on operations that a client turns into an endless or finite iteration over pages. */
  readonly stream: Stream<Input, Output, Item> | undefined;
  /** Present on operations that do their work in bounded steps: the client calls again while it returns an input. */
  readonly again: ((input: Input, output: Output) => Input | undefined) | undefined;
  /** Present on operations of which a client may send several calls of one tick as one. Of encoded inputs. */
  readonly joining: Joining<readonly unknown[]> | undefined;
}

/** Makes one call of calls that follow each other. Each of them is given the answer of the one, so that must be true of each. */
export interface Joining<Input> {
  /** The codes with which the joined call may fail while some of its parts would succeed: on one of them each part is sent again by itself. */
  readonly separateOn: readonly ErrorCode[];
  /** Whether `next` goes on where `last` ends, in a run of calls that `first` begins. */
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
  /** Completes the answer with the local part. */
  open(output: Output, localPart: unknown): Result;
}

export interface Stream<Input, Output, Item> {
  items(page: Output): readonly Item[];
  /** The input of the next page, or undefined when the stream has ended. */
  next(input: Input, page: Output): Input | undefined;
}

interface Definition<Schema extends z.ZodObject, Output, Raw, Item> {
  readonly access: Access;
  readonly lane?: Lane;
  readonly input: Schema;
  readonly output: Codec<Output, Raw>;
  readonly errors: readonly ErrorCode[];
  readonly touches?: (input: z.output<Schema>) => string;
  readonly resultBytes?: (input: z.output<Schema>) => number;
  readonly readsChanges?: boolean;
  run(input: z.output<Schema>, context: Context): Body<NoInfer<Raw> | NotYet<NoInfer<Raw> | StoreError>>;
  readonly waitMs?: (input: z.output<Schema>) => number;
  readonly stream?: Stream<z.input<Schema>, Output, Item>;
  readonly again?: (input: z.input<Schema>, output: Output) => z.input<Schema> | undefined;
  readonly joining?: Joining<z.output<Schema>>;
}

/** Defines an operation of which a part stays on the caller's thread: `publicInput` is the caller's schema, `input` that of what is sent. */
export function sealedOperation<Public extends z.ZodObject, Schema extends z.ZodObject, Output, Raw, Result>(
  definition: Definition<Schema, Output, Raw, never> & { readonly publicInput: Public } & Sealing<
      z.output<Public>,
      z.input<Schema>,
      Output,
      Result
    >,
): Operation<z.input<Public>, Result> {
  const { publicInput, seal, open, ...rest } = definition;
  return {
    ...(operation(rest) as unknown as Operation<z.input<Public>, Result>),
    inputSchema: publicInput,
    seal: (input) => seal(parse(publicInput, input) as z.output<Public>),
    open: (output, localPart) => open(output as Output, localPart),
  };
}

export function operation<Schema extends z.ZodObject, Output, Raw, Item = never>(
  definition: Definition<Schema, Output, Raw, Item>,
): Operation<z.input<Schema>, Output, Item> {
  const {
    access,
    lane = "normal",
    input,
    output,
    errors,
    run,
    touches,
    resultBytes,
    readsChanges = false,
    waitMs,
    stream,
    again,
    joining,
  } = definition;
  const keys = Object.keys(input.shape);
  const stored = storedForm(input);
  const wireOf = (value: unknown): unknown[] => keys.map((key) => (value as Record<string, unknown>)[key]);
  const inputOf = (wire: readonly unknown[]): Record<string, unknown> => {
    const value: Record<string, unknown> = {};
    for (let i = 0; i < wire.length; i++) if (wire[i] !== undefined) value[keys[i] as string] = wire[i];
    return value;
  };
  return {
    access,
    lane,
    errors,
    keys,
    inputSchema: input,
    output: output as Codec<unknown>,
    seal: (value) => ({ wireInput: value }),
    open: (value) => value as Output,
    encode: (value) => wireOf(parse(input, value)),
    decode(wire) {
      if (!Array.isArray(wire) || wire.length > keys.length) throw new StoreError("invalid_input", "malformed input");
      return parse(stored, inputOf(wire)) as never;
    },
    run: run as Operation["run"],
    touches: (touches ?? (() => undefined)) as Operation["touches"],
    resultBytes: (resultBytes ?? (() => 0)) as Operation["resultBytes"],
    readsChanges,
    waits: waitMs !== undefined,
    waitMs: (waitMs ?? (() => 0)) as Operation["waitMs"],
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

/** The schema of what has been encoded already: every codec replaced by its output side. */
function storedForm(schema: z.ZodType): z.ZodType {
  if (schema === Json) return storedJson();
  if (schema instanceof z.ZodPipe && schema.def.out === Json) return storedJson(schema.def.in as z.ZodType);
  if (schema instanceof z.ZodPipe) return storedForm(schema.def.out as z.ZodType);
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault
  ) {
    return schema.clone({
      ...schema.def,
      innerType: storedForm(schema.def.innerType as z.ZodType),
    } as never) as z.ZodType;
  }
  if (schema instanceof z.ZodArray)
    return schema.clone({ ...schema.def, element: storedForm(schema.def.element as z.ZodType) });
  if (schema instanceof z.ZodObject) {
    const shape = Object.fromEntries(
      Object.entries(schema.shape).map(([name, field]) => [name, storedForm(field as z.ZodType)]),
    );
    return schema.clone({ ...schema.def, shape });
  }
  return schema;
}

/**
 * Text that whoever reads it later can restore, of a value of that schema: what a port sends is read by others (D-057).
 */
function storedJson(schema: z.ZodType = z.any()): z.ZodType {
  const restores = (stored: string): boolean => {
    try {
      return schema.safeParse(parseJson(stored)).success;
    } catch {
      return false;
    }
  };
  return z.string().max(bounds.jsonBytes).refine(restores, { error: "must be JSON as the client writes it" });
}

/** Ends the body with an expected failure. Nothing that it did remains. */
export function fail(code: ErrorCode, details?: Details, message?: string): never {
  throw new StoreError(code, message, details === undefined ? {} : { details });
}

/** A moment that many milliseconds from another. */
export function after(moment: Date, ms: number): Date {
  return new Date(moment.getTime() + ms);
}
