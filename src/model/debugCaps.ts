// Bounds what a debugger reports before it is sent to the store: text is made storable, secrets are masked, and what is
// too large is cut and marked as cut. Runs on the caller's thread.
import { types } from "node:util";
import { bounds } from "../limits.ts";
import type { Breakpoint, Scope, Source, StackFrame, Thread, Variable } from "./debugProtocol.ts";
import { type Masking, masked } from "./masking.ts";
import { isPlainObject } from "./plainObject.ts";

const {
  debugThreads,
  debugFrames,
  debugScopes,
  debugVariables,
  debugVariableDepth,
  debugTextLength,
  debugOutputLength,
  debugStopBytes,
} = bounds;

/**
 * Replaces U+0000 and lone surrogates, which programs print and the store refuses, and cuts the text to `lengthMax`.
 */
export function storable(text: string, lengthMax: number = debugTextLength): string {
  return text.slice(0, lengthMax).toWellFormed().replaceAll("\u0000", "\u2400");
}

interface StoredThread {
  readonly threadId: number;
  readonly name: string;
  readonly frames: readonly StackFrame[];
  readonly frameIds: number[];
  readonly sourcePath?: string;
  readonly line?: number;
  readonly omittedFrames: number;
  readonly cut: boolean;
}

/** Cuts threads and frames to their bounds. Keeps the first ones, in the order of the input. */
export function capThreads(threads: readonly Thread[], masking: Masking): StoredThread[] {
  const budget = new Budget();
  return threads.slice(0, debugThreads).map((thread) => {
    budget.cut = false;
    const frames = capFrames(thread.frames, budget, masking);
    const omittedFrames = Math.max(thread.totalFrames ?? 0, thread.frames.length) - frames.length;
    const [top] = frames;
    return {
      threadId: thread.id,
      name: masking.text(storable(thread.name)),
      frames,
      frameIds: frames.map(({ id }) => id),
      ...(top?.source?.path ? { sourcePath: top.source.path, line: top.line } : {}),
      omittedFrames,
      cut: budget.cut || omittedFrames > 0,
    };
  });
}

/** The bytes that one call may still store, and whether anything was left out. */
class Budget {
  #left: number = debugStopBytes;
  cut = false;

  /** Reserves room for a value. Returns false when it does not fit; then the caller must not store it. */
  take(value: object): boolean {
    // A little more than the text, so that the number of values is bounded too.
    const bytes = Buffer.byteLength(JSON.stringify(value)) + 24;
    if (bytes > this.#left) {
      // Nothing fits from here on, so that no smaller value is stored after one that was left out.
      this.#left = 0;
      return false;
    }
    this.#left -= bytes;
    return true;
  }
}

function capFrames(frames: readonly StackFrame[], budget: Budget, masking: Masking): StackFrame[] {
  const storedFrames: StackFrame[] = [];
  for (const { scopes: _, omittedScopes: __, ...frame } of frames.slice(0, debugFrames)) {
    const stored: StackFrame = {
      ...storableFields(frame, masking),
      ...(frame.source === undefined ? {} : { source: storableSource(frame.source) }),
    };
    if (!budget.take(stored)) break;
    storedFrames.push(stored);
  }
  // The contents come after all frames, so that one large frame does not push out the others.
  return storedFrames.map((frame, index) => {
    const scopes = frames[index]?.scopes;
    return scopes === undefined ? frame : { ...frame, ...capScopes(scopes, budget, masking) };
  });
}

function capScopes(
  scopes: readonly Scope[],
  budget: Budget,
  masking: Masking,
): Pick<StackFrame, "scopes" | "omittedScopes"> {
  const storedScopes: Scope[] = [];
  for (const { variables, omittedVariables: _, ...scope } of scopes.slice(0, debugScopes)) {
    const stored: Scope = {
      ...storableFields(scope, masking),
      ...(scope.source === undefined ? {} : { source: storableSource(scope.source) }),
    };
    if (!budget.take(stored)) break;
    storedScopes.push(
      variables === undefined
        ? stored
        : { ...stored, ...capVariables(variables, budget, masking, 1, masking.isEnvironment(scope.name)) },
    );
  }
  return { scopes: storedScopes, ...omitted("omittedScopes", scopes.length - storedScopes.length, budget) };
}

function capVariables(
  variables: readonly Variable[],
  budget: Budget,
  masking: Masking,
  depth: number,
  inEnvironment: boolean,
): Pick<Scope, "variables" | "omittedVariables"> {
  const storedVariables: Variable[] = [];
  for (const variable of depth > debugVariableDepth ? [] : variables.slice(0, debugVariables)) {
    const { variables: parts, omittedVariables: _, masked: __, valueLength: ___, ...plain } = variable;
    const stored =
      inEnvironment || masking.isSecret(plain.name) || plain.evaluateName?.split(/[.[\]"'()]+/).some(masking.isSecret)
        ? maskedVariable(plain, masking)
        : cappedVariable(plain, masking, budget);
    if (!budget.take(stored)) break;
    const isEnvironment = masking.isEnvironment(plain.name) || masking.isEnvironment(plain.evaluateName ?? "");
    // An environment keeps the names of its variables, but not its summary text.
    const parent = isEnvironment ? { ...stored, value: masked, masked: true } : stored;
    storedVariables.push(
      parts === undefined || (parent.masked === true && !isEnvironment)
        ? parent
        : { ...parent, ...capVariables(parts, budget, masking, depth + 1, isEnvironment) },
    );
  }
  return {
    variables: storedVariables,
    ...omitted("omittedVariables", variables.length - storedVariables.length, budget),
  };
}

/** Returns a secret variable without its value, and without any reference that leads to the value. */
function maskedVariable({ name, type }: Variable, masking: Masking): Variable {
  return {
    name: masking.text(storable(name)),
    value: masked,
    ...(type === undefined ? {} : { type: storable(type) }),
    variablesReference: 0,
    masked: true,
  };
}

/** Returns a variable with its value cut to `debugTextLength`. */
function cappedVariable(variable: Variable, masking: Masking, budget: Budget): Variable {
  const { presentationHint, ...plain } = variable;
  const stored: Variable = {
    ...storableFields(plain, masking),
    ...(presentationHint === undefined ? {} : { presentationHint: storableHint(presentationHint) }),
  };
  if (variable.value.length <= debugTextLength) return stored;
  budget.cut = true;
  return { ...stored, valueLength: variable.value.length };
}

function storableHint({
  kind,
  attributes,
  visibility,
  lazy,
}: NonNullable<Variable["presentationHint"]>): NonNullable<Variable["presentationHint"]> {
  return {
    ...(kind === undefined ? {} : { kind: storable(kind, 100) }),
    ...(attributes === undefined ? {} : { attributes: attributes.map((attribute) => storable(attribute, 100)) }),
    ...(visibility === undefined ? {} : { visibility: storable(visibility, 100) }),
    ...(lazy === undefined ? {} : { lazy }),
  };
}

/** Returns the count of omitted values under its name, and marks the thread as cut; nothing when the count is 0. */
function omitted<Name extends string>(name: Name, count: number, budget: Budget): { [Key in Name]?: number } {
  if (count <= 0) return {};
  budget.cut = true;
  return { [name]: count } as { [Key in Name]?: number };
}

/** Makes all strings of a flat object storable and masks them. */
function storableFields<Value extends object>(value: Value, masking: Masking): Value {
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      name,
      typeof field === "string" ? masking.text(storable(field)) : field,
    ]),
  ) as Value;
}

/** Makes a source storable. Paths are not masked, because a reader needs the whole path to find the file. */
function storableSource(source: Source): Source {
  return Object.fromEntries(
    Object.entries(source).map(([name, field]) => [name, typeof field === "string" ? storable(field, 4_096) : field]),
  ) as Source;
}

export function capBreakpoint(breakpoint: Breakpoint, masking: Masking): Breakpoint {
  const { source, ...plain } = breakpoint;
  return { ...storableFields(plain, masking), ...(source === undefined ? {} : { source: storableSource(source) }) };
}

/**
 * Bounds the body of an event. Long strings are cut; if the body is still too large, only its first short scalar fields
 * are kept.
 */
export function capBody(body: unknown, masking: Masking): { readonly body: unknown; readonly cut: boolean } {
  let cut = false;
  const shorten = (value: unknown): unknown => {
    if (typeof value === "string") {
      cut ||= value.length > debugOutputLength;
      return storable(value, debugOutputLength);
    }
    if (Array.isArray(value)) return value.map(shorten);
    if (types.isMap(value)) return new Map([...value].map(([name, child]) => [shorten(name), shorten(child)]));
    if (types.isSet(value)) return new Set([...value].map(shorten));
    if (!isPlainObject(value)) return value;
    return Object.fromEntries(Object.entries(value).map(([name, child]) => [storable(name), shorten(child)]));
  };
  const whole = masking.data(shorten(body));
  if (Buffer.byteLength(JSON.stringify(whole, spelledOut) ?? "") <= bounds.debugEventBytes) return { body: whole, cut };
  const scalars = Object.entries(whole as object).filter(
    ([, value]) => typeof value !== "object" && (typeof value !== "string" || value.length <= debugTextLength),
  );
  return { body: Object.fromEntries(scalars.slice(0, 20)), cut: true };
}

/** Replaces what JSON leaves out or refuses, so that the size of the text is about that of what is stored. */
export function spelledOut(_name: string, value: unknown): unknown {
  if (types.isMap(value) || types.isSet(value)) return [...value];
  return typeof value === "bigint" ? String(value) : value;
}
