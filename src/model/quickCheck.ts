// A quick check of inputs: a small interpreter for the plain forms of Zod schemas. It only ever accepts what the schema
// accepts, with the same result. In every other case it is unsure, and Zod decides and explains (D-108).
import type { z } from "zod";

/** The result of a check that leaves the decision to Zod. */
export const unsure: unique symbol = Symbol("unsure");

/**
 * Returns a check that returns what the schema makes of a value, or `unsure`. The schema is read when the first value is
 * checked.
 */
export function quickCheck(schema: z.ZodType): (value: unknown) => unknown {
  let plan: Plan | undefined;
  return (value) => {
    plan ??= planOf(schema as unknown as Schema);
    return run(plan, value);
  };
}

/** The part of Zod's schemas that is read here: https://zod.dev/packages/core */
interface Schema {
  readonly _zod: {
    readonly def: Readonly<Record<string, unknown>> & { readonly type: string; readonly checks?: readonly Check[] };
    readonly traits: ReadonlySet<string>;
    readonly values?: ReadonlySet<unknown>;
    readonly optin?: string | undefined;
  };
}

interface Check {
  readonly _zod: {
    readonly def: Readonly<Record<string, unknown>> & {
      readonly check: string;
      readonly when?: (payload: Payload) => boolean;
    };
    check(payload: Payload): unknown;
  };
}

interface Payload {
  value: unknown;
  readonly issues: unknown[];
}

/** A way to check a value. All plans have the same fields, so that the code that reads them stays small and fast. */
interface Plan {
  readonly kind:
    | "any"
    | "text"
    | "number"
    | "boolean"
    | "words"
    | "absent"
    | "default"
    | "null"
    | "list"
    | "object"
    | "record"
    | "pipe"
    | "unknown";
  /** The bounds of a number, or of the length of a text or a list. */
  readonly min: number;
  readonly max: number;
  readonly isInteger: boolean;
  readonly pattern: RegExp | undefined;
  readonly words: ReadonlySet<unknown> | undefined;
  /** The names of an object's fields, and their plans. */
  readonly names: readonly string[];
  readonly known: ReadonlySet<string> | undefined;
  readonly fields: readonly Plan[];
  /** The plan of what is wrapped: of an item, of the value of a record, of the first side of a pipe. */
  readonly inner: Plan | undefined;
  /** The plan of the keys of a record, or of the second side of a pipe. */
  readonly second: Plan | undefined;
  readonly schema: Schema;
  /** The checks that only Zod knows, such as refinements. */
  readonly checks: readonly Check[];
}

type GrowingPlan = { -readonly [Key in keyof Plan]: Plan[Key] } & { checks: Check[] };

function planOf(schema: Schema): Plan {
  const { def, traits, values } = schema._zod;
  const plan: GrowingPlan = {
    kind: "unknown",
    min: Number.NEGATIVE_INFINITY,
    max: Number.POSITIVE_INFINITY,
    isInteger: false,
    pattern: undefined,
    words: undefined,
    names: [],
    known: undefined,
    fields: [],
    inner: undefined,
    second: undefined,
    schema,
    checks: [],
  };
  const checks = [...(traits.has("$ZodCheck") ? [schema as unknown as Check] : []), ...(def.checks ?? [])];
  if (def.coerce === true) return plan;
  switch (def.type) {
    case "any":
    case "custom":
      plan.kind = "any";
      break;
    case "string":
      plan.kind = "text";
      break;
    case "number":
      plan.kind = "number";
      break;
    case "boolean":
      plan.kind = "boolean";
      break;
    case "enum":
    case "literal":
      plan.kind = "words";
      plan.words = values;
      break;
    case "nullable":
      plan.kind = "null";
      plan.inner = planOf(def.innerType as Schema);
      break;
    case "optional":
      // An absent value of a schema with a default below is Zod's to decide.
      plan.kind = (def.innerType as Schema)._zod.optin === "defaulted" ? "unknown" : "absent";
      plan.inner = planOf(def.innerType as Schema);
      break;
    case "default":
      plan.kind = "default";
      plan.inner = planOf(def.innerType as Schema);
      break;
    case "array":
      plan.kind = "list";
      plan.inner = planOf(def.element as Schema);
      break;
    case "record":
      plan.kind = (def.keyType as Schema)._zod.values === undefined && def.mode === undefined ? "record" : "unknown";
      plan.inner = planOf(def.valueType as Schema);
      plan.second = planOf(def.keyType as Schema);
      break;
    case "pipe":
      plan.kind = "pipe";
      plan.inner = planOf(def.in as Schema);
      plan.second = planOf(def.out as Schema);
      break;
    case "object": {
      const shape = def.shape as Readonly<Record<string, Schema>>;
      plan.kind = (def.catchall as Schema | undefined)?._zod.def.type === "never" ? "object" : "unknown";
      plan.names = Object.keys(shape);
      plan.known = new Set(plan.names);
      plan.fields = plan.names.map((name) => planOf(shape[name] as Schema));
      break;
    }
  }
  for (const check of checks) addCheck(plan, check);
  return plan;
}

/** Adds a check to a plan: as a bound or a pattern if nothing before it may change the value, else as it is. */
function addCheck(plan: GrowingPlan, check: Check): void {
  if (plan.checks.length > 0 || !addBound(plan, check._zod.def)) plan.checks.push(check);
}

/** Adds what a check asks for to the bounds of a plan. Returns false when they cannot express it. */
function addBound(plan: GrowingPlan, { check, inclusive, ...def }: Check["_zod"]["def"]): boolean {
  const isSized = plan.kind === "text" || plan.kind === "list";
  const isNumber = plan.kind === "number";
  if (isSized && check === "min_length") plan.min = Math.max(plan.min, def.minimum as number);
  else if (isSized && check === "max_length") plan.max = Math.min(plan.max, def.maximum as number);
  else if (isNumber && check === "greater_than" && inclusive === true)
    plan.min = Math.max(plan.min, def.value as number);
  else if (isNumber && check === "less_than" && inclusive === true) plan.max = Math.min(plan.max, def.value as number);
  else if (isNumber && check === "number_format" && def.format === "safeint") plan.isInteger = true;
  else if (plan.kind === "text" && check === "string_format" && def.format === "regex" && plan.pattern === undefined) {
    const pattern = def.pattern as RegExp;
    // A pattern that keeps a state between calls is Zod's to reset.
    if (pattern.global || pattern.sticky) return false;
    plan.pattern = pattern;
  } else return false;
  return true;
}

function run(plan: Plan, value: unknown): unknown {
  const accepted = accept(plan, value);
  if (accepted === unsure || plan.checks.length === 0) return accepted;
  const payload: Payload = { value: accepted, issues: [] };
  for (const { _zod } of plan.checks) {
    if (_zod.def.when !== undefined && !_zod.def.when(payload)) continue;
    // A check that answers later is Zod's to wait for.
    if (_zod.check(payload) instanceof Promise || payload.issues.length > 0) return unsure;
  }
  return payload.value;
}

function accept(plan: Plan, value: unknown): unknown {
  switch (plan.kind) {
    case "text":
      return typeof value === "string" && isWithin(plan, value.length) && (plan.pattern?.test(value) ?? true)
        ? value
        : unsure;
    case "number":
      return typeof value === "number" &&
        (plan.isInteger ? Number.isSafeInteger(value) : Number.isFinite(value)) &&
        isWithin(plan, value)
        ? value
        : unsure;
    case "absent":
      return value === undefined ? undefined : run(plan.inner as Plan, value);
    case "default":
      if (value === undefined) return plan.schema._zod.def.defaultValue;
      return run(plan.inner as Plan, value);
    case "words":
      return plan.words?.has(value) ? value : unsure;
    case "any":
      return value;
    case "null":
      return value === null ? null : run(plan.inner as Plan, value);
    case "boolean":
      return typeof value === "boolean" ? value : unsure;
    case "object":
      return acceptObject(plan, value);
    case "list":
      return acceptList(plan, value);
    case "record":
      return acceptRecord(plan, value);
    case "pipe":
      return acceptPipe(plan, value);
    default:
      return unsure;
  }
}

function isWithin({ min, max }: Plan, size: number): boolean {
  return size >= min && size <= max;
}

function acceptObject({ names, known, fields }: Plan, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return unsure;
  const input = value as Readonly<Record<string, unknown>>;
  for (const key in input) if (!known?.has(key)) return unsure;
  const result: Record<string, unknown> = {};
  for (let index = 0; index < names.length; index++) {
    const name = names[index] as string;
    const field = run(fields[index] as Plan, input[name]);
    if (field === unsure) return unsure;
    if (field !== undefined || name in input) result[name] = field;
  }
  return result;
}

function acceptList(plan: Plan, value: unknown): unknown {
  if (!Array.isArray(value) || !isWithin(plan, value.length)) return unsure;
  const result: unknown[] = new Array(value.length);
  for (let index = 0; index < value.length; index++) {
    const item = run(plan.inner as Plan, value[index]);
    if (item === unsure) return unsure;
    result[index] = item;
  }
  return result;
}

function acceptRecord({ inner, second }: Plan, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return unsure;
  const result: Record<string, unknown> = {};
  for (const key of Reflect.ownKeys(value)) {
    if (typeof key === "symbol" || key === "__proto__") return unsure;
    const item = run(inner as Plan, (value as Readonly<Record<string, unknown>>)[key]);
    if (item === unsure || run(second as Plan, key) !== key) return unsure;
    result[key] = item;
  }
  return result;
}

function acceptPipe({ inner, second, schema }: Plan, value: unknown): unknown {
  const first = run(inner as Plan, value);
  if (first === unsure) return unsure;
  const transform = schema._zod.def.transform as ((value: unknown, payload: Payload) => unknown) | undefined;
  if (transform === undefined) return run(second as Plan, first);
  const payload: Payload = { value: first, issues: [] };
  const transformed = transform(first, payload);
  if (transformed instanceof Promise || payload.issues.length > 0) return unsure;
  return run(second as Plan, transformed);
}
